"""One turn of a conversation at a time, whichever engine plays it: a lock in Redis beside Rasa's own in memory.

Read against Rasa 3.6.21, `rasa.core.lock_store.RedisLockStore`. It reads, changes and writes back a list of tickets, so
two engines that begin at one moment both get the first; a killed engine's ticket holds its conversation up for a
minute; who waits looks once a second; and a turn costs seven calls. Here it is one key that only one can set, renewed
while the turn goes on: two calls. They stop the event loop, as Rasa's do: redis-py's other client takes four times the
CPU, which is more than the network takes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rasa.core.lock_store import InMemoryLockStore, LockError
from redis import Redis
from redis.exceptions import LockError as NoLongerOurs
from redis.exceptions import RedisError
from redis.lock import Lock

log = logging.getLogger(__name__)

#: A killed engine's conversation waits this long; renewed three times as often. Loading can stop an engine for seconds.
LASTS_S = 6.0
#: Who waits looks this often; below `bot.rasa.TURN_TIMEOUT_S` in all, so that the service learns why.
LOOKED_EVERY_S, PATIENCE_S = 0.05, 20.0
#: Redis answers within a millisecond or is away; it is then left alone for a while.
REDIS_TIMEOUT_S, AWAY_S = 0.5, 10.0


class ConversationLocks(InMemoryLockStore):  # type: ignore[misc]
    """The lock store that endpoints.yml names; without an address it is Rasa's own, in memory.

    While Redis is away turns go on without its lock: the services keep the messages of one conversation apart, and of
    two turns that overlap all the same the tracker store takes one.
    """

    def __init__(self, endpoint_config: Any) -> None:
        super().__init__()
        url = endpoint_config.url
        timeouts = {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S}
        self._redis = Redis.from_url(url, **timeouts) if url else None
        self._away_until = 0.0

    @asynccontextmanager
    async def lock(self, conversation_id: str, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        """See `LockStore.lock`."""
        async with super().lock(conversation_id, *arguments, **options) as ticket:
            held = await self._held(conversation_id)
            try:
                yield ticket
            finally:
                if held is not None:
                    held.release()

    async def _held(self, conversation_id: str) -> Held | None:
        if self._redis is None or time.monotonic() < self._away_until:
            return None
        lock = self._redis.lock(f"turn:{conversation_id}", timeout=LASTS_S, thread_local=False)
        deadline = time.monotonic() + PATIENCE_S
        try:
            while not lock.acquire(blocking=False):
                if time.monotonic() > deadline:
                    raise LockError(f"another engine has been at this conversation for {PATIENCE_S:.0f} s")
                await asyncio.sleep(LOOKED_EVERY_S)
        except RedisError as problem:  # its text holds the host, never the password
            log.error("Redis is away, conversations are not locked against other engines: %s", problem)
            self._away_until = time.monotonic() + AWAY_S
            return None
        return Held(lock)


class Held:
    """A lock that is ours until it is released."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._renew_later()

    def _renew_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LASTS_S / 3, self._renew)

    def _renew(self) -> None:
        try:
            self._lock.reacquire()
        except NoLongerOurs:
            log.error("a turn lost its lock: this engine stood still for more than %.0f s", LASTS_S)
            return
        except RedisError as problem:
            log.error("a lock could not be renewed: %s", problem)
        self._renew_later()

    def release(self) -> None:
        """Let the next one in; if Redis is away, the lock ends by itself."""
        self._timer.cancel()
        try:
            self._lock.release()
        except RedisError as problem:
            log.error("a lock could not be given back: %s", problem)
