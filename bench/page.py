"""Renders docs/performance.md and its picture from the results of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.figures import ROOT, Figures
from bench.plot import draw

TEMPLATE = "performance.md.j2"

NOT_MEASURED = "–"


def write(results: Figures, folder: Path = ROOT / "docs") -> None:
    """Write both files; what was not measured is shown as such.

    Raises:
        SystemExit: there are no results.
    """
    if not results:
        raise SystemExit("there are no results: run `make bench` first")
    (folder / "performance.md").write_text(render(results), encoding="utf-8")
    (folder / "performance.svg").write_text(draw(results), encoding="utf-8")


def render(results: Figures) -> str:
    """The page as Markdown."""
    files = FileSystemLoader(Path(__file__).parent)
    environment = Environment(  # noqa: S701 - Markdown, from our own figures
        loader=files, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )

    def figure(name: str, unit: str = "") -> str:
        return _shown(results.get(name), unit)

    def each(name: str, unit: str = "") -> str:
        """A figure by process, in one cell."""
        found = results.get(name) or {}
        return ", ".join(f"{label} {_shown(value, unit)}" for label, value in found.items()) or _shown(None, "")

    return environment.get_template(TEMPLATE).render(figure=figure, each=each, results=results)


def _shown(value: Any, unit: str) -> str:
    if value is None or value == []:
        return NOT_MEASURED
    text = (
        " → ".join(map(str, value))
        if isinstance(value, list)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
    return f"{text} {unit}".strip()
