"""The pace keeps to a messenger's limit in every second, also where calls take their time on the way."""

import asyncio
import random

import pytest

from bot.channels.pace import Pace


@pytest.mark.asyncio
async def test_no_second_holds_more_arrivals_than_allowed():
    """Whenever the messenger begins its second, and whenever within a call it counts it."""
    pace, arrivals = Pace(5), []
    chance = random.Random(1)

    async def call() -> None:
        async with pace:
            await asyncio.sleep(chance.uniform(0, 0.05))
            arrivals.append(asyncio.get_running_loop().time())
            await asyncio.sleep(chance.uniform(0, 0.05))

    await asyncio.gather(*(call() for _ in range(16)))

    assert all(late - early >= 1 for early, late in zip(arrivals, arrivals[5:], strict=False))


@pytest.mark.asyncio
async def test_a_call_that_failed_gives_its_place_back():
    """Or a messenger that is away for a minute would be written to no more."""
    pace = Pace(1)
    with pytest.raises(ConnectionError):
        async with pace:
            raise ConnectionError
    assert not pace.has_room

    async with asyncio.timeout(5), pace:
        assert not pace.has_room
