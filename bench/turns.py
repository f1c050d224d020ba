"""Measures one turn of Rasa over REST, ours against what `rasa init` sets up, with 1, 8 and 32 in flight.

    python -m bench.turns

Both servers run, and they are asked in turn, block by block, so that whatever else the machine does meets both. Ours is
asked three kinds of texts, since it keeps what it has read: `new` ones that it never saw, texts drawn as in `life`
(`bench.texts`), and the same few `repeated`. The ratios of the contract are those of the repeated ones, because the
default is asked the same few as well, its own examples; the others are given beside them, for the default keeps nothing
and would be as quick with new texts. Ours are whole messages of customers, 45 characters in the median; the default's
are two words. A conversation has five turns on both sides, and each turn is answered by one text without an action.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import aiohttp

from bench.engines import Engine, StockMissing, our_engine, stock_conversations, stock_engine
from bench.figures import Figures, milliseconds, percentile, ratio, show, tell
from bench.processes import peak_mb
from bench.texts import Drawn, answered_by_a_text, never_seen

IN_FLIGHT = (1, 8, 32)

#: Each block runs as long; each kind has so many blocks.
BLOCK_S, ROUNDS = 3.0, 4

TURNS = 5
REPEATED = 20

#: Blocks before the clock counts: the first turns load what later ones find loaded.
WARM_UP_S = 3.0

Conversations = Iterator[list[str]]
Kinds = dict[str, tuple[Engine, Conversations]]


async def play(
    engine: Engine, conversations: Conversations, in_flight: int, seconds: float
) -> tuple[list[float], float]:
    """Play conversations, so many at once, until the time is over; seconds of each turn, and turns a second."""
    times: list[float] = []
    begun = time.perf_counter()

    async def customer(http: aiohttp.ClientSession) -> None:
        while time.perf_counter() - begun < seconds:
            sender = f"web:{uuid4().hex}"
            for text in next(conversations):
                times.append(await say(http, engine, sender, text))

    # A connection is kept from turn to turn, as the service keeps its own.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4)) as http:
        await asyncio.gather(*(customer(http) for _ in range(in_flight)))
    return times, len(times) / (time.perf_counter() - begun)


async def say(http: aiohttp.ClientSession, engine: Engine, sender: str, text: str) -> float:
    """One turn, in seconds.

    Raises:
        RuntimeError: Rasa said nothing, which is how it reports errors.
    """
    body = {"sender": sender, "message": text, "input_channel": "web", "metadata": {"key": uuid4().hex}}
    begun = time.perf_counter()
    async with http.post(engine.url, json=body) as response:
        said = await response.json(content_type=None)
    if not said:
        raise RuntimeError(f"no answer to {text!r}")
    return time.perf_counter() - begun


def kinds_of_texts(rng: random.Random) -> dict[str, Conversations]:
    """Conversations of ours, for ever, by the kind of their texts."""
    texts = answered_by_a_text()
    rng.shuffle(texts)
    repeated = [texts.pop() for _ in range(REPEATED)]
    drawn = Drawn(texts, rng)
    return {
        "new": _conversations(never_seen(texts, rng)),
        "life": _conversations(iter(drawn.draw, None)),
        "repeated": _conversations(itertools.cycle(repeated)),
    }


def measure() -> Figures:
    """All kinds; without the stock its figures are null, and `stock_missing` says why."""
    figures: Figures = {}
    with ExitStack() as stack:
        ours = stack.enter_context(our_engine())
        kinds: Kinds = {kind: (ours, texts) for kind, texts in kinds_of_texts(random.Random(1)).items()}  # noqa: S311
        try:
            stock = stack.enter_context(stock_engine())
            kinds["stock"] = (stock, stock_conversations())
        except StockMissing as problem:
            tell(f"no comparison with the stock: {problem}")
            figures["stock_missing"] = str(problem)
        for engine, conversations in kinds.values():
            asyncio.run(play(engine, conversations, 1, WARM_UP_S))
        for in_flight in IN_FLIGHT:
            tell(f"turns with {in_flight} in flight")
            figures |= _compared(kinds, in_flight)
        figures["turns_rss_mb"] = {
            name: round(mb)
            for name, (engine, _) in kinds.items()
            if name in ("new", "stock") and (mb := peak_mb(engine.pid))
        }
    figures["turn_p50_ms"] = figures["turn_repeated_c1_p50_ms"]
    for kind, name in (("new", "_new"), ("life", "_life"), ("repeated", "")):
        figures[f"turn_p50_ratio{name}"] = ratio(figures.get("turn_stock_c1_p50_ms"), figures[f"turn_{kind}_c1_p50_ms"])
        figures[f"turn_throughput_ratio{name}"] = ratio(
            figures[f"turn_{kind}_c32_per_s"], figures.get("turn_stock_c32_per_s")
        )
    return figures


def _compared(kinds: Kinds, in_flight: int) -> Figures:
    """Block by block, each kind in turn."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    per_s: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind, (engine, conversations) in kinds.items():
            block, rate = asyncio.run(play(engine, conversations, in_flight, BLOCK_S))
            times[kind] += block
            per_s[kind].append(rate)
    figures: Figures = {}
    for kind in kinds:
        name = f"turn_{kind}_c{in_flight}"
        figures[f"{name}_p50_ms"] = milliseconds(percentile(times[kind], 50))
        figures[f"{name}_p99_ms"] = milliseconds(percentile(times[kind], 99))
        figures[f"{name}_per_s"] = round(statistics.mean(per_s[kind]), 1)
    return figures


def _conversations(texts: Iterator[str]) -> Conversations:
    while True:
        yield list(itertools.islice(texts, TURNS))


if __name__ == "__main__":
    show(measure())
