"""Who is there when several services share a database, and which of them alone may do a thing.

Each process says every two seconds that it is there (`Presence`). What it has taken - the right to poll a messenger and
to send on it, to send letters (`Lease`), a customer's message (`bot.claims`) - is its own for as long as it is there,
so none of it has to be renewed. A process of this machine that died is noticed with the next look, one of another
machine after `LASTS`. The clocks of all machines must agree to within a second or two.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.models import LeaseRow, ServiceRow
from handoff.database import Database, insert_new

log = logging.getLogger(__name__)

#: Who has not been heard of for so long is gone; everybody is heard of five times as often.
LASTS = timedelta(seconds=10)
RENEWED_EVERY_S = 2.0

#: Who takes over from a process that died waits so long before he sends: the messengers' limits (a second; Telegram's
#: for one chat three) count what it had sent.
QUIET_S = 3.0

#: How often somebody who works under a lease looks whether it is still ours; it costs nothing.
LOOK_S = 0.2

#: How long the last word may take, in seconds: a process that ends without it is found dead.
LEAVE_S = 2.0

#: Who we are. The last part tells us from a process that had our number before.
THIS_PROCESS = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

#: By the name of a lease: who holds it, and when what it is about was last heard of.
Leases = dict[str, tuple[str, datetime | None]]


class Presence:
    """This process among those that share the database."""

    def __init__(self, database: Database, holder: str = THIS_PROCESS) -> None:
        self.holder = holder
        self._database = database
        self._leases: dict[str, Lease] = {}
        self._until = -math.inf
        self._lapsed_at = -math.inf
        self._looked = asyncio.Event()

    def lease(self, name: str, polled_at: Callable[[], datetime | None] = lambda: None) -> Lease:
        """The right to `name`, which is taken as soon as nobody has it; `polled_at` is shown to the others."""
        return self._leases.setdefault(name, Lease(self, name, polled_at))

    @property
    def is_certain(self) -> bool:
        """Whether nobody can take us for gone now; on SQLite there is nobody who could."""
        return time.monotonic() < self._until if self._database.is_shared else self._until > -math.inf

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Be there for the block; afterwards everything that is ours is free. A database that is away is waited for."""
        while True:
            if await self._renewed(first=True):
                break
            await asyncio.sleep(RENEWED_EVERY_S)
        leaving = asyncio.Event()
        keeping = asyncio.create_task(self._keep(leaving))
        try:
            yield
        finally:
            leaving.set()
            with suppress(TimeoutError, SQLAlchemyError):
                async with asyncio.timeout(LEAVE_S):
                    await keeping
                    self._until = -math.inf
                    await self._database.run(_leave, self.holder)

    async def next_look(self) -> None:
        """Wait until it is known anew what is ours."""
        await self._looked.wait()

    async def _keep(self, leaving: asyncio.Event) -> None:
        while not leaving.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEWED_EVERY_S):
                    await leaving.wait()
            await self._renewed()

    async def _renewed(self, *, first: bool = False) -> bool:
        begun = time.monotonic()
        if not first and begun > self._until:
            self._lapsed_at = begun
        # Who was kept from the database himself gives the others time to come back before he takes them for gone.
        patient = begun - self._lapsed_at < LASTS.total_seconds()
        try:
            wanted = {name: lease.own_polled_at() if lease.held else None for name, lease in self._leases.items()}
            leases = await self._database.run(_renew, self.holder, wanted, datetime.now(UTC), patient=patient)
        except Exception as problem:  # whatever it is: without the next look nothing would be polled or sent any more
            unknown = None if isinstance(problem, SQLAlchemyError) else problem
            log.warning("other services cannot be told that we are here: %s", problem, exc_info=unknown)
            return False
        quiet_until = -math.inf if first else time.monotonic() + QUIET_S
        for name, lease in self._leases.items():
            holder, polled_at = leases.get(name, ("", None))
            lease.set(holder == self.holder, polled_at, quiet_until)
        self._until = begun + LASTS.total_seconds()
        self._looked.set()
        self._looked = asyncio.Event()
        return True


class Lease:
    """The right to do something alone, such as to poll Telegram with one token."""

    def __init__(self, presence: Presence, name: str, polled_at: Callable[[], datetime | None]) -> None:
        self.name = name
        self.own_polled_at = polled_at
        self._presence = presence
        self.is_ours = False  # as the database said last
        self._others_polled_at: datetime | None = None
        self._quiet_until = -math.inf

    @property
    def held(self) -> bool:
        """Whether it is ours, and nobody else can have it now."""
        return self.is_ours and self._presence.is_certain

    @property
    def may_send(self) -> bool:
        """Whether it is held, and what was sent before we had it counts no more."""
        return self.held and time.monotonic() >= self._quiet_until

    @property
    def polled_at(self) -> datetime | None:
        """When what it is about was last heard of, by us or by who holds it; of him we know it from seconds ago."""
        known = [moment for moment in (self.own_polled_at(), self._others_polled_at) if moment is not None]
        return max(known, default=None)

    async def wait(self) -> None:
        """Wait until it is held."""
        while not self.held:
            await self._presence.next_look()

    def set(self, is_ours: bool, polled_at: datetime | None, quiet_until: float) -> None:
        """What the database says."""
        if is_ours != self.is_ours:
            log.info("%s is %s", self.name, "ours" if is_ours else "another process's")
            self._quiet_until = quiet_until
        self.is_ours, self._others_polled_at = is_ours, polled_at


async def alone(lease: Lease, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop whenever it is ours to run, until it returns.

    While the database is away it goes on: what it does counts when it is written there, and a letter that was sent
    meanwhile has to be. A loop that does more looks at `held` by itself.
    """
    while True:
        await lease.wait()
        running = asyncio.ensure_future(loop())
        try:
            while lease.is_ours and not running.done():
                await asyncio.wait({running}, timeout=LOOK_S)
            if running.done():
                return running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def services_run(session: Session, now: datetime) -> bool:
    """Whether any service is running."""
    there = session.scalars(select(ServiceRow.holder).where(ServiceRow.until >= now))
    return any(not _is_gone(holder) for holder in there)


def _renew(
    session: Session, holder: str, wanted: Mapping[str, datetime | None], now: datetime, *, patient: bool
) -> Leases:
    """Say that we are here, clear up after who is gone, and take what is wanted and free."""
    ours = ServiceRow.holder == holder
    if not insert_new(session, ServiceRow, holder=holder, until=now + LASTS):
        session.execute(update(ServiceRow).where(ours).values(until=now + LASTS))
    others = session.scalars(select(ServiceRow).where(~ours).order_by(ServiceRow.holder)).all()
    for other in others:
        if _is_gone(other.holder) or (other.until < now and not patient):
            log.warning("service %s is gone; what it had is free", other.holder)
            session.execute(delete(ServiceRow).where(ServiceRow.holder == other.holder))
    session.execute(delete(LeaseRow).where(LeaseRow.holder.not_in(select(ServiceRow.holder))))
    leases = _leases(session)
    for name, polled_at in sorted(wanted.items()):
        if name not in leases:
            insert_new(session, LeaseRow, name=name, holder=holder)
        elif leases[name][0] == holder and polled_at is not None:
            session.execute(update(LeaseRow).where(LeaseRow.name == name).values(polled_at=polled_at))
    return _leases(session)


def _leases(session: Session) -> Leases:
    rows = session.execute(select(LeaseRow.name, LeaseRow.holder, LeaseRow.polled_at))
    return {name: (holder, polled_at) for name, holder, polled_at in rows}


def _leave(session: Session, holder: str) -> None:
    session.execute(delete(LeaseRow).where(LeaseRow.holder == holder))
    session.execute(delete(ServiceRow).where(ServiceRow.holder == holder))


def _is_gone(holder: str) -> bool:
    """Whether the holder was a process of this machine that no longer runs: after a crash nobody has to wait."""
    host, pid, _ = holder.rsplit(":", 2)
    if host != socket.gethostname() or holder == THIS_PROCESS:
        return False
    if int(pid) == os.getpid():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it runs, under another user
        pass
    return False
