"""The page and its picture hold what was measured, and say so where nothing was."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from bench import page
from bench.plot import draw

POINTS = [
    {"at_s": 10.0 * n, "p50_s": 0.05, "p95_s": 0.2, "engine_mb": 300, "service_mb": 200, "bench_mb": 80}
    for n in range(1, 61)
]


def test_a_run_that_measured_nothing_makes_a_page_that_says_so(tmp_path: Path):
    """A part that broke leaves its figures null; the page must still be written."""
    page.write({"turn_p50_ms": None, "problems": {"turns": "no engine"}}, tmp_path)

    written = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "| a training, as `make train` does it | – |" in written
    assert "`bench.turns`: no engine" in written
    ElementTree.parse(tmp_path / "performance.svg")


def test_figures_stand_where_they_belong():
    """Numbers in a table without a mistake in the names of the figures."""
    written = page.render({"turn_p50_ratio": 6.7, "sustained_memory_mb": {"engine": [300, 310, 311]}, "lost": 0})

    assert "**6.7**" in written
    assert "engine 300 → 310 → 311" in written
    assert "| lost / doubled / still waiting a minute after the end | 0 / – / – |" in written


def test_the_picture_has_bars_and_lines():
    """One bar for each kind of turn that was measured, a line for each series."""
    drawn = draw({"turn_stock_c1_p50_ms": 39.0, "turn_new_c1_p50_ms": 6.5, "sustained_series": POINTS})

    picture = ElementTree.fromstring(drawn)
    shapes = [element.tag.rpartition("}")[2] for element in picture]
    assert shapes.count("rect") == 1 + 2
    thick = [element for element in picture if element.get("stroke-width") == "2"]
    assert len(thick) == 5
