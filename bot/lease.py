"""Lets one process at a time poll a messenger: two pollers of one token would take each other's messages."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.models import LeaseRow
from handoff.database import Database

log = logging.getLogger(__name__)

#: A lease that is not renewed ends after this long; it is renewed four times as often.
LASTS = timedelta(seconds=12)
RENEWED_EVERY_S = 3.0

#: Who we are. The last part tells us from a process that had our number before.
THIS_PROCESS = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Lease:
    """The right to do something alone, such as to poll Telegram with one token; `held` says whether it is ours."""

    def __init__(self, database: Database, name: str, holder: str = THIS_PROCESS) -> None:
        self.name = name
        self._database = database
        self._holder = holder
        self._until = 0.0

    @property
    def held(self) -> bool:
        """Whether nobody else can have it now."""
        return time.monotonic() < self._until

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait until it is ours and keep it for the block; a block must end by itself when `held` no longer is."""
        waiting = False
        while not await self._renew():
            if not waiting:
                log.info("another process has %s; waiting", self.name)
            waiting = True
            await asyncio.sleep(RENEWED_EVERY_S)
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            self._until = 0.0
            with suppress(SQLAlchemyError):
                await self._database.run(_give_back, self.name, self._holder)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RENEWED_EVERY_S)
            try:
                await self._renew()
            except SQLAlchemyError as problem:
                log.warning("%s could not be renewed: %s", self.name, problem)

    async def _renew(self) -> bool:
        begun = time.monotonic()
        if not await self._database.run(_take, self.name, self._holder, datetime.now(UTC)):
            self._until = 0.0
            return False
        self._until = begun + LASTS.total_seconds()
        return True


def _take(session: Session, name: str, holder: str, now: datetime) -> bool:
    row = session.get(LeaseRow, name, with_for_update=True)
    if row is None:
        session.add(LeaseRow(name=name, holder=holder, until=now + LASTS))
        return True
    if row.holder != holder and row.until > now and not _is_gone(row.holder):
        return False
    row.holder, row.until = holder, now + LASTS
    return True


def _give_back(session: Session, name: str, holder: str) -> None:
    row = session.get(LeaseRow, name)
    if row is not None and row.holder == holder:
        session.delete(row)


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
