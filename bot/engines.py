"""Several engines as one: each conversation stays with one of them, and goes to another while that one is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, TypeVar

from bot.metrics import ENGINE_READY
from bot.rasa import Answer, EngineAway, RasaClient

log = logging.getLogger(__name__)

#: How often an engine that is away is asked whether it is back; one that is there shows it by answering.
ASKED_EVERY_S = 0.5

T = TypeVar("T")


@dataclass(eq=False)
class Place:
    """One engine's place among the others; an engine that replaces it takes the name over, and the conversations."""

    name: str
    client: RasaClient
    ready: bool = False
    running: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, turn: Callable[[RasaClient], Awaitable[T]]) -> T:
        """Let the engine do something, and remember that it is busy meanwhile."""
        self.running += 1
        self.idle.clear()
        try:
            return await turn(self.client)
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()

    async def wait_idle(self, within_s: float) -> None:
        """Wait until it has done what it began, but no longer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.running:
                    await self.idle.wait()

    def is_ready(self, ready: bool) -> None:
        """Note what was found out; the log says each change."""
        if ready is not self.ready:
            log.info("engine %s is %s", self.name, "ready" if ready else "away")
        self.ready = ready
        ENGINE_READY.labels(self.name).set(ready)


class Engines:
    """What `RasaClient` can do, done by whichever engine a conversation belongs to.

    All must play with the same trackers. A tracker is warm in the engine that played the last turn: so conversations
    are dealt out by rendezvous hashing (Thaler and Ravishankar 1998), which moves only those of an engine that is away.
    """

    def __init__(self, clients: dict[str, RasaClient] | None = None) -> None:
        self._places = {name: Place(name, client) for name, client in (clients or {}).items()}

    def put(self, name: str, client: RasaClient, *, ready: bool = False) -> Place | None:
        """Give an engine its place; whose it was, if anybody's, gets nothing new and plays out what it began."""
        before = self._places.get(name)
        self._places[name] = Place(name, client, ready=ready)
        ENGINE_READY.labels(name).set(ready)
        return before

    async def ready(self) -> bool:
        """Whether any engine would answer; all are asked, and the first that would is enough."""
        asked = [asyncio.create_task(_asked(place)) for place in self._places.values()]
        try:
            for answer in asyncio.as_completed(asked):
                if await answer:
                    return True
            return False
        finally:
            for task in asked:
                task.cancel()

    async def run(self) -> None:
        """Notice those that come back, until cancelled."""
        while True:
            await asyncio.gather(*(_asked(place) for place in self._places.values() if not place.ready))
            await asyncio.sleep(ASKED_EVERY_S)

    async def say(self, sender_id: str, text: str, channel: str, metadata: dict[str, Any]) -> Answer:
        """See `RasaClient.say`; an engine that goes away during the turn may have played it, so it is undone first."""
        tried: list[RasaClient] = []

        async def turn(client: RasaClient) -> Answer:
            if tried:
                await client.undo_turn(sender_id, metadata["key"])
            tried.append(client)
            return await client.say(sender_id, text, channel, metadata)

        return await self._ask(sender_id, turn)

    async def undo_turn(self, sender_id: str, key: str) -> None:
        """See `RasaClient.undo_turn`."""
        await self._ask(sender_id, lambda client: client.undo_turn(sender_id, key))

    async def close(self) -> None:
        """Close the connections."""
        for place in self._places.values():
            await place.client.close()

    async def _ask(self, sender_id: str, turn: Callable[[RasaClient], Awaitable[T]]) -> T:
        tried: list[Place] = []
        problem = EngineAway("no engine has been started")
        while place := self._place_of(sender_id, tried):
            tried.append(place)
            try:
                return await place.ask(turn)
            except EngineAway as away:
                problem = away
                place.is_ready(False)
        raise problem

    def _place_of(self, sender_id: str, tried: list[Place]) -> Place | None:
        """The first in this conversation's own order that is ready; if none is, the first may have come back."""
        order = sorted((p for p in self._places.values() if p not in tried), key=lambda p: _weight(p.name, sender_id))
        return next((place for place in order if place.ready), order[0] if order and not tried else None)


async def _asked(place: Place) -> bool:
    place.is_ready(await place.client.ready())
    return place.ready


def _weight(name: str, sender_id: str) -> bytes:
    return blake2b(f"{name} {sender_id}".encode(), digest_size=8).digest()
