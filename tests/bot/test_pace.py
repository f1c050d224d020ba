"""The pace keeps to a messenger's limit in every second, also where calls take their time on the way."""

import asyncio
import random
import time
from itertools import pairwise

import pytest

from bot.channels.pace import WINDOW_S, Pace, Place


@pytest.mark.asyncio
async def test_no_second_holds_more_arrivals_than_allowed():
    """Whenever the messenger begins its second, and whenever within a call it counts it."""
    pace, arrivals = Pace(5), []
    chance = random.Random(1)

    async def call() -> None:
        async with pace.place():
            await asyncio.sleep(chance.uniform(0, 0.05))
            arrivals.append(asyncio.get_running_loop().time())
            await asyncio.sleep(chance.uniform(0, 0.05))

    await asyncio.gather(*(call() for _ in range(16)))

    assert all(late - early >= 1 for early, late in zip(arrivals, arrivals[5:], strict=False))


@pytest.mark.asyncio
async def test_a_thread_gets_its_place_early_and_calls_in_time():
    """What comes before and after the call itself, on the thread and in the loop, costs no time of the place."""
    pace, prepared, calls, places = Pace(1), [], [], []

    def call(place: Place) -> None:
        prepared.append(time.monotonic())
        with place:
            calls.append(time.monotonic())
        time.sleep(0.05)

    for _ in range(3):
        async with pace.place(lead_s=0.9) as place:
            await asyncio.to_thread(call, place)
        places.append(place)

    assert all(late - early >= WINDOW_S for early, late in pairwise(calls))
    assert all(late.free_at == early.ended + WINDOW_S for early, late in pairwise(places))
    assert all(moment < place.free_at for moment, place in zip(prepared[1:], places[1:], strict=True))


@pytest.mark.asyncio
async def test_who_gives_up_waiting_leaves_his_place_to_the_next():
    pace = Pace(1)
    async with pace.place():
        pass
    waiting = asyncio.create_task(pace.place().__aenter__())
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    async with asyncio.timeout(5), pace.place():
        assert not pace.has_room


@pytest.mark.asyncio
async def test_a_call_that_failed_gives_its_place_back():
    """Or a messenger that is away for a minute would be written to no more."""
    pace = Pace(1)
    with pytest.raises(ConnectionError):
        async with pace.place():
            raise ConnectionError
    assert not pace.has_room

    async with asyncio.timeout(5), pace.place():
        assert not pace.has_room
