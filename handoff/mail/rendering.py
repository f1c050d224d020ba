"""Fills the templates of letters and pages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context
from markupsafe import Markup, escape

from handoff.words import TEMPLATES


def render(language: str, name: str, facts: dict[str, Any]) -> str:
    """A template of templates/<language>, or of the folder above, which all languages share."""
    return _environment(language).get_template(name).render(facts)


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([TEMPLATES / language, TEMPLATES]),
        undefined=StrictUndefined,
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["lines"] = _lines
    environment.filters["columns"] = _columns
    environment.globals["plain"] = _plain
    return environment


@pass_context
def _plain(context: Context, name: str) -> str:
    """A plain-text part inside a page: as a string, so that the page escapes it, which `include` would not."""
    return context.environment.get_template(name).render(context.get_all()).strip()


def _lines(text: str) -> Markup:
    """Text with its line breaks, as HTML."""
    return Markup("<br>\n").join(escape(line) for line in text.splitlines())


def _columns(pairs: Sequence[tuple[str, str]]) -> str:
    """Labels and values as lines of plain text, the values below each other; a pair without a value is left out."""
    shown = [(f"{label}:", value) for label, value in pairs if value]
    width = max((len(label) for label, _ in shown), default=0)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in shown)
