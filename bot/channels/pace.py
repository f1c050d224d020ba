"""Keeps calls within what a messenger takes in a second, in whatever second it counts."""

from __future__ import annotations

import asyncio

#: The span that the messengers' limits are about.
WINDOW_S = 1.0


class Pace:
    """An async context around each call, entered by at most `calls` in every second.

    A call arrives some time between its beginning and its end. So its place is free again a second after its end: then
    no second at the messenger's holds more calls than allowed, however long they are on the way. A bucket that counts
    beginnings must stay a tenth below the limit for the same.
    """

    def __init__(self, calls: int) -> None:
        self._places = asyncio.Semaphore(calls)
        self._calls, self._taken = calls, 0

    @property
    def has_room(self) -> bool:
        """Whether half of the places are free: enough for a courtesy that must not cost an answer its place."""
        return self._taken <= self._calls // 2

    async def __aenter__(self) -> None:
        await self._places.acquire()
        self._taken += 1

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().call_later(WINDOW_S, self._give_back)

    def _give_back(self) -> None:
        self._taken -= 1
        self._places.release()
