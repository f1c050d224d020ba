"""The updates that a bot has not confirmed yet, in the order in which they are handed out; not thread-safe."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from .telegram_calls import DESCRIBED

Json = dict[str, Any]


@dataclass(eq=False)
class Waiting:
    """An update. `late`: it is out of order, so a newer one's number confirms it only once it was handed out."""

    update: Json
    held_back: bool = False
    late: bool = False
    handed_out: bool = False
    refusals: int = 0
    not_before: float = 0.0

    @property
    def queue(self) -> tuple[str, Any]:
        """A webhook gets one queue's updates one after the other. Presses have a queue beside that of the messages."""
        kind, content = list(self.update.items())[1]
        return kind.removeprefix("edited_"), (content.get("chat") or content.get("from") or content).get("id")


class Updates:
    """What has happened and was asked for, until the bot confirms it."""

    def __init__(self) -> None:
        self.allowed = set(DESCRIBED["updates"])
        self.holding_back = False
        self._ids = itertools.count(870_000_001)
        self._waiting: list[Waiting] = []
        self._confirmed: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, kind: str, content: Json) -> Json:
        """Give an update its number; it is kept only if the bot has asked for its kind."""
        update = {"update_id": next(self._ids), kind: content}
        if kind in self.allowed:
            self._waiting.append(Waiting(update, held_back=self.holding_back, late=self.holding_back))
        return update

    def allow(self, kinds: list[str] | None) -> None:
        """Keep these kinds from now on; an empty list means the usual ones, None what was said before."""
        if kinds is not None:
            self.allowed = set(kinds or DESCRIBED["updates"])

    def due(self) -> list[Waiting]:
        """What can be handed out now."""
        return [waiting for waiting in self._waiting if not waiting.held_back]

    def next_to_push(self, busy: Collection[tuple[str, Any]]) -> Waiting | None:
        """The oldest update that neither waits for another of its queue nor for its next attempt."""
        blocked = set(busy)
        for waiting in self.due():
            if waiting.queue not in blocked and waiting.not_before <= time.monotonic():
                return waiting
            blocked.add(waiting.queue)
        return None

    def confirm(self, *these: Waiting) -> None:
        """Forget these, unless somebody wants them once more."""
        confirmed = set(these)
        self._confirmed += [waiting for waiting in self._waiting if waiting in confirmed]
        self._waiting = [waiting for waiting in self._waiting if waiting not in confirmed]

    def confirm_below(self, offset: int) -> None:
        """See getUpdates; a negative offset keeps only so many of the newest."""
        if offset < 0:
            self.confirm(*self._waiting[:offset])
        in_order = (waiting for waiting in self._waiting if waiting.handed_out or not waiting.late)
        self.confirm(*(waiting for waiting in in_order if waiting.update["update_id"] < offset))

    def release(self) -> None:
        """Let what was held back follow what has overtaken it."""
        self._waiting.sort(key=lambda waiting: waiting.held_back)
        for waiting in self._waiting:
            waiting.held_back = False

    def redeliver(self, count: int) -> None:
        """Hand out the newest confirmed updates once more, before all others."""
        self._waiting[:0] = [Waiting(waiting.update, late=True) for waiting in self._confirmed[-count:]]
