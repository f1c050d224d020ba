"""Stands for Rasa as a child of ours: what it understands, and whether it loads at all, is said by its model.

A model is an archive as Rasa packs one; its `metadata.json` is what `make_model` says of it. Answers begin with the
model's file name. Run with what `bot.engine.serve` is run with.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path

from ruamel.yaml import YAML

from tests.bot.fake_rasa import FakeRasa, said

ROOT = Path(__file__).parents[2]
SURE = YAML(typ="safe").load(ROOT / "data" / "sure.yml")["sure"]


def make_model(path: Path, *, broken: bool = False, strange: bool = False, **mistakes: str) -> Path:
    """Write a model; a `strange` one says things that ours never would."""
    content = json.dumps({"broken": broken, "strange": strange, "mistakes": mistakes}).encode()
    member = tarfile.TarInfo("metadata.json")
    member.size = len(content)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(content))
    return path


def main() -> None:
    """Serve until standard input ends."""
    port, model = int(sys.argv[sys.argv.index("--port") + 1]), Path(sys.argv[sys.argv.index("--model") + 1])
    with tarfile.open(model) as archive:
        own = json.load(archive.extractfile("metadata.json"))
    rasa = FakeRasa(port, os.environ["RASA_TOKEN"])
    if own["broken"]:
        rasa.status = (409, None)

    def parsed(text: str) -> dict[str, object]:
        if own["strange"]:
            return {"intent": {"name": None}}
        topic = own["mistakes"].get(text) or SURE[text]
        intent = topic.partition("/")[0]
        selector = {intent: {"response": {"intent_response_key": topic}}} if "/" in topic else {}
        return {"intent": {"name": intent}, "response_selector": selector}

    def answer(request: dict[str, object]) -> list[dict[str, object]]:
        with Path(os.environ["HEARD"]).open("a") as heard:
            heard.write(f"{model.name} {request['sender']}\n")
        return said(f"{model.name}: {request['message']}")

    rasa.parsed, rasa.answer = parsed, answer
    rasa.start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
