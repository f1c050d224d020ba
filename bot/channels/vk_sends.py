"""VK takes up to 25 messages in one call: those that wait for a place leave together in the next."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from bot.channels.pace import Pace, Place
from bot.channels.vk_lines import Lines, NotTogether, Values

log = logging.getLogger(__name__)

#: What VK takes in one call of `execute` (dev.vk.com/method/execute).
MOST_TOGETHER = 25
#: After VK has refused several messages in one call they go alone for so long, in seconds.
ALONE_FOR_S = 60.0


@dataclass
class _Waiting:
    values: Values
    outcome: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Sends:
    """Sends messages over `lines` at the `pace`, at most `calls` calls under way.

    While there is room each leaves alone and at once. At the limit the last free place takes all that wait. Each
    message needs its `random_id`: what may have arrived is sent again.
    """

    def __init__(self, lines: Lines, pace: Pace, calls: int) -> None:
        self._lines = lines
        self._pace = pace
        self._free = asyncio.Semaphore(calls)
        self._waiting: deque[_Waiting] = deque()
        self._next: asyncio.Task[None] | None = None  # waits for a place, for whatever waits by then
        self._under_way: set[asyncio.Task[None]] = set()
        self._together_from = 0.0

    async def send(self, values: Values) -> Any:
        """What `messages.send` answers to these values. Raises as `VkChannel.call` does."""
        mine = _Waiting(values)
        self._waiting.append(mine)
        self._wait_for_place()
        return await mine.outcome

    def _wait_for_place(self) -> None:
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._leave())
            self._under_way.add(self._next)
            self._next.add_done_callback(self._under_way.discard)

    async def _leave(self) -> None:
        async with self._free, self._pace.place(self._lines.lead_s) as place:
            together = self._pace.free == 0 and time.monotonic() >= self._together_from
            most = MOST_TOGETHER if together else 1
            leaving: list[_Waiting] = []
            while self._waiting and len(leaving) < most:
                one = self._waiting.popleft()
                if not one.outcome.done():  # whoever waited for it has gone
                    leaving.append(one)
            self._next = None
            if self._waiting:
                self._wait_for_place()
            if leaving:
                await self._call(leaving, place)

    async def _call(self, leaving: list[_Waiting], place: Place) -> None:
        answers: list[Any]
        each = [one.values for one in leaving]
        try:
            if len(each) == 1:
                answers = [await self._lines.call("messages.send", each[0], place)]
            else:
                answers = await self._lines.call_together("messages.send", each, place)
        except NotTogether as problem:
            log.warning("VK did not take %s messages in one call, now each goes alone: %s", len(each), problem)
            self._together_from = time.monotonic() + ALONE_FOR_S
            self._waiting.extendleft(reversed(leaving))
            self._wait_for_place()
            return
        except Exception as problem:  # noqa: BLE001 - it is each sender's
            answers = [problem] * len(each)
        for one, answer in zip(leaving, answers, strict=True):
            if one.outcome.done():
                continue
            if isinstance(answer, Exception):
                one.outcome.set_exception(answer)
            else:
                one.outcome.set_result(answer)
