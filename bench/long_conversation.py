"""Measures whether a turn costs more the longer a conversation gets: 300 messages of one customer, one by one.

    python -m bench.long_conversation

Over the engine's REST channel, with durable trackers; every text is new. Several conversations, so that the ten turns
at each place that are compared make a median worth the name.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Iterator
from uuid import uuid4

import aiohttp

from bench.engines import Engine, our_engine
from bench.figures import Figures, median_ms, ratio, show
from bench.texts import answered_by_a_text, never_seen
from bench.turns import say

CONVERSATIONS, MESSAGES = 4, 300

#: Numbers of the messages that are compared; the first five greet and load.
EARLY, LATE = slice(5, 15), slice(290, 300)


def measure() -> Figures:
    """Medians of messages 6 to 15 and 291 to 300, and their ratio."""
    texts = never_seen(answered_by_a_text(), random.Random(2))  # noqa: S311 - a load, not a secret
    with our_engine() as engine:
        conversations = asyncio.run(_conversations(engine, texts))
    early = [seconds for times in conversations for seconds in times[EARLY]]
    late = [seconds for times in conversations for seconds in times[LATE]]
    return {
        "long_conversation_ratio": ratio(statistics.median(late), statistics.median(early)),
        "long_conversation_early_ms": median_ms(early),
        "long_conversation_late_ms": median_ms(late),
    }


async def _conversations(engine: Engine, texts: Iterator[str]) -> list[list[float]]:
    played = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(keepalive_timeout=4)) as http:
        for _ in range(CONVERSATIONS):
            sender = f"web:{uuid4().hex}"
            played.append([await say(http, engine, sender, next(texts)) for _ in range(MESSAGES)])
    return played


if __name__ == "__main__":
    show(measure())
