"""Keeps calls within what a messenger takes in a second, in whatever second it counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush

#: The span that the messengers' limits are about.
WINDOW_S = 1.0


class Place:
    """The place of one call; times are those of `time.monotonic`. A call that leaves on a thread enters it there.

    Near the limit whatever is done between the moment when a place is free and the call itself costs somebody else's
    call. A thread can prepare the call before that moment, and wait for it more exactly than an event loop.
    """

    def __init__(self, free_at: float) -> None:
        self.free_at = free_at
        self.ended: float | None = None

    def __enter__(self) -> None:
        time.sleep(max(0.0, self.free_at - time.monotonic()))

    def __exit__(self, *_: object) -> None:
        self.ended = time.monotonic()


class Pace:
    """Lets at most `calls` calls arrive in every second; each is made in a `place` of its own.

    A call arrives some time between its beginning and its end. So its place is free again a second after its end: then
    no second at the messenger's holds more calls than allowed, however long they are on the way. A bucket that counts
    beginnings must stay a tenth below the limit for the same.
    """

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._free_at = [0.0] * calls  # a heap of the places that nobody has
        self._nobodys = asyncio.Semaphore(calls)

    @property
    def free(self) -> int:
        """How many places are free now."""
        now = time.monotonic()
        return sum(moment <= now for moment in self._free_at)

    @property
    def has_room(self) -> bool:
        """Whether half of the places are free: enough for a courtesy that must not cost an answer its place."""
        return self.free >= self._calls / 2

    @asynccontextmanager
    async def place(self, lead_s: float = 0.0) -> AsyncIterator[Place]:
        """A place that is free; or will be in `lead_s` seconds, for a call that enters it where it leaves."""
        await self._nobodys.acquire()
        place = Place(heappop(self._free_at))
        free_at = place.free_at
        try:
            while (early_s := place.free_at - lead_s - time.monotonic()) > 0:  # noqa: ASYNC110 - uvloop wakes up early
                await asyncio.sleep(early_s)
            try:
                yield place
            finally:
                free_at = (place.ended or time.monotonic()) + WINDOW_S
        finally:
            heappush(self._free_at, free_at)
            self._nobodys.release()
