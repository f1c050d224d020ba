"""`support classify`: what the assistant understands of a text, as in a chat."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import typer

from bot.cli.common import Refused
from bot.engine.serve import QUIET
from bot.engine_process import MODEL, PYTHON, ROOT
from bot.inbox import plain_words
from handoff.identifiers import ADDRESS, mask_address


def classify() -> None:
    """Read JSON lines {"text": ...} and write language, route, topic and confidence of each, in the same order."""
    messages = [json.loads(line) for line in sys.stdin if line.strip()]
    if not PYTHON.exists() or not MODEL.exists():
        raise Refused("the engine or its model is missing: run `make train`")
    # What the gateway would do to a text before Rasa sees it; no address is kept here.
    words = [plain_words(ADDRESS.sub(lambda m: f"{mask_address(m.group())}#0", str(m["text"]))) for m in messages]
    child = subprocess.run(  # noqa: S603 - our own engine
        [str(PYTHON), "-m", "bot.engine.classify", str(MODEL)],
        input="\n".join(json.dumps(text) for text in words),
        env=os.environ | QUIET,
        text=True,
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    if child.returncode:
        raise Refused(f"the engine could not read the model:\n{child.stderr[-2000:]}")
    for message, found in zip(messages, child.stdout.splitlines(), strict=True):
        typer.echo(json.dumps({"text": message["text"], **json.loads(found)}, ensure_ascii=False))
