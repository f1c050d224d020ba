"""What all benchmarks share: percentiles, and how a part hands over what it measured."""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

RESULTS = ROOT / "bench" / "results.json"

#: Names and values; None where something was not measured.
Figures = dict[str, Any]


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that `share` percent of all do not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]


def milliseconds(seconds: float | None) -> float | None:
    """Rounded to tenths."""
    return None if seconds is None else round(seconds * 1000, 1)


def median_ms(seconds: Sequence[float]) -> float | None:
    """The median in milliseconds; None of none."""
    return milliseconds(statistics.median(seconds)) if seconds else None


def ratio(above: float | None, below: float | None) -> float | None:
    """How many times `below`; None if either is unknown."""
    return round(above / below, 2) if above and below else None


def read_results() -> Figures:
    """The results of the last run; empty if there was none."""
    if not RESULTS.exists():
        return {}
    found: Figures = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def show(figures: Mapping[str, Any]) -> None:
    """Print the result of a part, the only thing on its standard output."""
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


def tell(text: str) -> None:
    """Say on standard error what is being done: some parts take minutes."""
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()
