"""Draws the figures as one SVG: ours against the stock in bars, the sustained load and its memory over time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from bench.figures import Figures

WIDTH, HEIGHT = 860, 660
OURS, STOCK, SECOND, GRID, INK = "#1f5fa8", "#b9bec6", "#e08a1e", "#e3e6ea", "#222"

#: Where lines are drawn: left, right.
LEFT, RIGHT = 60, WIDTH - 130

Point = tuple[float, float]


def draw(results: Figures) -> str:
    """The picture; a panel without figures says so."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="13" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_bars(results, "p50_ms", "c1", "One turn of Rasa, median in ms (less is better)", 20),
        *_bars(results, "per_s", "c32", "Turns a second, 32 in flight (more is better)", WIDTH // 2 + 10),
        *_over_time(results),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bars(results: Figures, figure: str, in_flight: str, title: str, left: int) -> Iterator[str]:
    names = {"stock": "rasa init", "new": "new texts", "life": "as in life", "repeated": "repeated"}
    values = {label: results.get(f"turn_{kind}_{in_flight}_{figure}") for kind, label in names.items()}
    yield _text(left, 24, title, weight="bold")
    longest = max((value for value in values.values() if value), default=1)
    for place, (label, value) in enumerate(values.items()):
        y = 40 + 30 * place
        yield _text(left + 72, y + 15, label, anchor="end")
        if value is None:
            yield _text(left + 80, y + 15, "not measured")
            continue
        width = 240 * value / longest
        yield f'<rect x="{left + 80}" y="{y}" width="{width:.1f}" height="21" fill="{STOCK if place == 0 else OURS}"/>'
        yield _text(left + 86 + width, y + 15, f"{value:.1f}")


def _over_time(results: Figures) -> Iterator[str]:
    series = results.get("sustained_series") or []
    rate, seconds = results.get("sustained_msgs_per_s"), results.get("sustained_seconds")
    yield _text(
        20, 200, f"{rate} messages a second for {seconds} s: from a customer's message to his answer, in s", "bold"
    )
    yield _text(20, 440, "Memory of each process in MB", "bold")
    if not series:
        yield _text(LEFT, 300, "not measured")
        return
    waits = {"95 % within": ("p95_s", SECOND), "half within": ("p50_s", OURS)}
    yield from _lines(series, waits, 215, 180, limit=1.0)
    memory = {"engine": ("engine_mb", OURS), "service": ("service_mb", SECOND), "bench": ("bench_mb", STOCK)}
    yield from _lines(series, memory, 455, 160)
    yield _text(RIGHT, HEIGHT - 8, "minutes", anchor="end")


def _lines(
    series: Sequence[Figures], shown: dict[str, tuple[str, str]], top: int, height: int, limit: float = 0.0
) -> Iterator[str]:
    """Lines over minutes with a scale from 0 to the highest value, or to just above the limit if that is higher."""
    last = max(point["at_s"] for point in series)
    values = [point[name] for point in series for name, _ in shown.values() if point.get(name) is not None]
    step = _step(max([1.05 * limit, *values]))
    highest = step * math.ceil(max([1.05 * limit, *values]) / step)

    def x(at_s: float) -> float:
        return LEFT + (RIGHT - LEFT) * at_s / last

    def y(value: float) -> float:
        return top + height * (1 - value / highest)

    for number in range(round(highest / step) + 1):
        value = number * step
        yield _line([(LEFT, y(value)), (RIGHT, y(value))], GRID)
        yield _text(LEFT - 8, y(value) + 4, f"{round(value, 6):g}", anchor="end")
    for minute in range(int(last // 60) + 1):
        yield _text(x(60 * minute), top + height + 18, str(minute), anchor="middle")
    if limit:
        yield _line([(LEFT, y(limit)), (RIGHT, y(limit))], "#c0392b", 'stroke-dasharray="5 4"')
        yield _text(RIGHT + 8, y(limit) + 4, f"aim: {limit:.0f} s")
    taken = [y(limit)] if limit else []
    for label, (name, colour) in shown.items():
        points = [(x(point["at_s"]), y(point[name])) for point in series if point.get(name) is not None]
        if points:
            yield _line(points, colour, 'stroke-width="2"')
            # Labels of lines that end side by side stand one above the other.
            place = points[-1][1]
            while any(abs(place - other) < 15 for other in taken):
                place -= 15
            taken.append(place)
            yield _text(RIGHT + 8, place + 4, label, colour=colour)


def _step(highest: float) -> float:
    """1, 2 or 5 times a power of ten, so that four to ten of them reach the highest value."""
    power = 10.0 ** math.floor(math.log10(highest / 4))
    return float(f"{max(factor * power for factor in (1, 2, 5) if factor * power <= highest / 4):g}")


def _line(points: Sequence[Point], colour: str, more: str = "") -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" {more}/>'


def _text(x: float, y: float, text: str, weight: str = "normal", anchor: str = "start", colour: str = INK) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}"'
    return f"<text {where}>{escape(text)}</text>"
