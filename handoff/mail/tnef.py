"""Opens winmail.dat, the form in which Outlook hides text and files from every other program.

The library believes every length and count it reads, so a few bytes could keep it busy for hours or fill the memory.
It therefore runs in a process of its own, with limits: `python -m handoff.mail.tnef` reads winmail.dat and writes JSON.
"""

from __future__ import annotations

import base64
import json
import logging
import resource
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from typing import Any

from handoff.mail.charsets import decoded

TYPES = ("application/ms-tnef", "application/vnd.ms-tnef")

MAX_CPU_S = 2
MAX_PATIENCE_S = 30
MAX_MEMORY_BYTES = 1024 * 1024 * 1024


def opened(content: bytes) -> Message | None:
    """The same as a multipart message with text and files, None if it cannot be opened."""
    command = [sys.executable, "-m", "handoff.mail.tnef"]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=MAX_PATIENCE_S, check=True)  # noqa: S603
    except subprocess.SubprocessError:
        return None
    parts = json.loads(done.stdout)
    if not parts:
        return None
    holder = Message()
    holder["Content-Type"] = "multipart/mixed"
    for kind, name, packed in parts:
        part = Message()
        part["Content-Type"] = kind if name else f"{kind}; charset=utf-8"
        part["Content-Transfer-Encoding"] = "base64"
        if name:
            part.add_header("Content-Disposition", "attachment", filename=name)
        part.set_payload(packed)
        holder.attach(part)
    return holder


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    from tnefparse import TNEF

    logging.disable()
    tnef = TNEF(sys.stdin.buffer.read(), do_checksum=False)
    parts = [(kind, name, base64.b64encode(content).decode()) for kind, name, content in _parts(tnef)]
    sys.stdout.write(json.dumps(parts))


def _parts(tnef: Any) -> Iterator[tuple[str, str, bytes]]:
    """Type, file name ("" for text) and content of everything that is in it."""
    for kind, body in (("text/plain", tnef.body), ("text/html", tnef.htmlbody)):
        text = _words(body, tnef.codepage)
        if text.strip("\0 \r\n"):
            yield kind, "", text.encode()
            break
    for number, file in enumerate(tnef.attachments, 1):
        if file.data:
            try:
                name = _words(file.long_filename(), tnef.codepage)
            except UnicodeDecodeError:  # the library takes the short name for UTF-8
                name = _words(file._name, tnef.codepage)
            yield "application/octet-stream", name.strip("\0 ") or f"file-{number}", file.data


def _words(value: Any, codepage: str | None) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return decoded(value, codepage or "") if isinstance(value, bytes) else str(value or "")


if __name__ == "__main__":
    _main()
