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
from bot.inbox import clean_text, plain_words
from handoff.identifiers import ADDRESS, mask_address, spell_out
from handoff.mail.reading import storable


def classify() -> None:
    """Read JSON lines {"text": ...} and write language, route, topic and confidence of each, in the same order."""
    texts = [_text(number, line) for number, line in enumerate(sys.stdin, 1) if line.strip("\ufeff \t\r\n")]
    if not PYTHON.exists() or not MODEL.exists():
        raise Refused("the engine or its model is missing: run `make train`")
    # What the gateway would do to a text before Rasa sees it; no address is kept here.
    words = [
        plain_words(ADDRESS.sub(lambda m: f"{mask_address(m.group())}#0", spell_out(clean_text(storable(text)))))
        for text in texts
    ]
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
    for text, found in zip(texts, child.stdout.splitlines(), strict=True):
        typer.echo(json.dumps({"text": storable(text), **json.loads(found)}, ensure_ascii=False))


def _text(number: int, line: str) -> str:
    try:
        text = json.loads(line.lstrip("\ufeff"))["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise Refused(f'line {number}: write {{"text": "..."}}, one JSON object a line; nothing was classified')
    return text
