"""Human titles of topics, from the trainers' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from handoff.errors import HandoffError


class TopicFileInvalid(HandoffError):
    """A file under data/ cannot be used; the message says which and where."""


def read_titles(folder: Path) -> dict[str, dict[str, str]]:
    """Topic ("case/delay") to its title in each language ({"ru": ..., "en": ...}), of every file below a folder.

    Raises:
        TopicFileInvalid: with file and place.
    """
    titles: dict[str, dict[str, str]] = {}
    for path in sorted(folder.rglob("*.yml")):
        try:
            content: Any = YAML(typ="safe").load(path)
        except YAMLError as error:
            raise TopicFileInvalid(f"{path}: not readable as YAML: {error}") from error
        for intent in (content or {}).get("nlu") or []:
            title = (intent.get("metadata") or {}).get("title")
            if "/" in intent.get("intent", "") and title:
                titles[intent["intent"]] = {language: str(text) for language, text in title.items()}
    return titles
