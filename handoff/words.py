"""Words in the customers' languages that letters and promises are put together from (mail/templates/words.yml)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

#: Letters, pages and their words, one folder per language.
TEMPLATES = Path(__file__).parent / "mail" / "templates"


def words(language: str) -> dict[str, Any]:
    """The words of one language, "ru" or "en"."""
    spoken: dict[str, Any] = _read()[language]
    return spoken


@cache
def _read() -> dict[str, Any]:
    read: dict[str, Any] = YAML(typ="safe").load(TEMPLATES / "words.yml")
    return read
