"""Wakes whoever waits for something new, in this service and, over PostgreSQL's NOTIFY, in the others.

The signal is sent after the commit, for many commits together: a NOTIFY inside a transaction lets only one transaction
at a time commit (PostgreSQL keeps notifications in the order of commits). A signal that is lost costs the tenth of a
second until the table is looked at anyway.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from psycopg import AsyncConnection

from handoff.database import Database

#: PostgreSQL's name for what we tell each other.
CHANNEL = "support"

#: At most as often as this are the others told.
GATHER_S = 0.01


class Signals:
    """Signals by name: "inbox", "outbox" and "letters" say that something new waits there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wakes: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)
        self._untold: set[str] = set()
        self._something = asyncio.Event()
        self._own_pid = 0

    def on(self, name: str, wake: Callable[[], None]) -> None:
        """Call `wake` at each signal of this name, whoever gives it."""
        self._wakes[name].append(wake)

    def give(self, name: str) -> None:
        """Something new was committed."""
        self._wake(name)
        self._untold.add(name)
        self._something.set()

    def giver(self, name: str) -> Callable[[], None]:
        """`give` with a name, for who takes a function."""
        return partial(self.give, name)

    async def run(self) -> None:
        """Tell the other services and hear them, until cancelled; on SQLite there are none.

        Raises:
            ExceptionGroup: the database is away.
        """
        if not self._database.is_shared:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell())
            tasks.create_task(self._hear())

    async def _tell(self) -> None:
        async with await self._connection() as connection:
            self._own_pid = connection.info.backend_pid
            while True:
                await self._something.wait()
                self._something.clear()
                names, self._untold = self._untold, set()
                await connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, " ".join(sorted(names))])
                await asyncio.sleep(GATHER_S)

    async def _hear(self) -> None:
        async with await self._connection() as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            for name in self._wakes:  # what was told before we listened
                self._wake(name)
            async for heard in connection.notifies():
                if heard.pid != self._own_pid:
                    for name in heard.payload.split():
                        self._wake(name)

    async def _connection(self) -> AsyncConnection[tuple[object, ...]]:
        url = self._database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return await AsyncConnection.connect(url, autocommit=True, keepalives_idle=10)

    def _wake(self, name: str) -> None:
        for wake in self._wakes.get(name, ()):
            wake()
