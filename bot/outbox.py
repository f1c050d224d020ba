"""Messages to customers wait here until their messenger has taken them: in order, and each once."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot.models import Button, OutboxItem
from handoff.database import Database

log = logging.getLogger(__name__)

#: How many conversations are sent to at once.
PARALLEL = 16
#: How often the table is looked at when nothing wakes the sender.
POLL_S = 0.2
#: First wait after a failed delivery; doubled each time up to LONGEST_WAIT.
FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=5)


class SendLater(Exception):
    """The messenger did not take it now; `after` if it said when to come back."""

    def __init__(self, reason: str, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = after


class SendRefused(Exception):
    """The messenger will never take it; the message tells the operator why."""


class Channel(Protocol):
    """A messenger, seen from the outbox."""

    async def send(self, item: OutboxItem) -> str:
        """Hand one message over and return the messenger's id of it.

        Raises:
            SendLater: try again.
            SendRefused: give up.
        """


def put(
    session: Session,
    *,
    purpose: str,
    sender_id: str,
    channel: str,
    text: str,
    now: datetime,
    buttons: Sequence[tuple[str, str]] = (),
) -> None:
    """Add a message with `buttons`, (title, payload) pairs, unless it was added before.

    `purpose` is what makes it the same message when a turn is repeated, such as "answer:17".
    """
    if session.scalar(select(OutboxItem.id).where(OutboxItem.purpose == purpose)) is not None:
        return
    shown = [(title, secrets.token_urlsafe(9), payload) for title, payload in buttons]
    item = OutboxItem(
        purpose=purpose,
        sender_id=sender_id,
        channel=channel,
        text=text,
        buttons=[{"title": title, "key": key} for title, key, _ in shown],
        created_at=now,
        not_before=now,
    )
    session.add(item)
    session.flush()
    for title, key, payload in shown:
        session.add(Button(key=key, outbox_id=item.id, sender_id=sender_id, title=title, payload=payload))


class Sender:
    """Hands waiting messages to their channels."""

    def __init__(self, database: Database, channels: Mapping[str, Channel]) -> None:
        self._database = database
        self._channels = channels
        self._busy: set[str] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at the table now."""
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                free = PARALLEL - len(self._busy)
                due = await self._database.run(
                    _due, frozenset(self._busy), list(self._channels), datetime.now(UTC), free
                )
                for item in due:
                    self._busy.add(item.sender_id)
                    tasks.create_task(self._deliver(item))
                # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with a wake.
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()

    async def _deliver(self, item: OutboxItem) -> None:
        try:
            remote_id = await self._channels[item.channel].send(item)
        except SendRefused as problem:
            log.warning("message %s to %s refused: %s", item.id, item.channel, problem)
            await self._database.run(_give_up, item.id, str(problem))
        except Exception as problem:  # one message must not stop the others; it stays and is tried again
            after = problem.after if isinstance(problem, SendLater) else None
            if after is None:
                log.warning("message %s to %s waits", item.id, item.channel, exc_info=problem)
            wait = after or _wait_after(item.attempts + 1)
            await self._database.run(_postpone, item.id, repr(problem), datetime.now(UTC) + wait)
        else:
            await self._database.run(_sent, item.id, remote_id, datetime.now(UTC))
        finally:
            self._busy.discard(item.sender_id)
            self.wake()


def _due(
    session: Session, busy: Collection[str], channels: Collection[str], now: datetime, limit: int
) -> Sequence[OutboxItem]:
    oldest = select(func.min(OutboxItem.id)).where(OutboxItem.state == "waiting").group_by(OutboxItem.sender_id)
    if busy:
        oldest = oldest.where(OutboxItem.sender_id.not_in(busy))
    due = select(OutboxItem).where(OutboxItem.id.in_(oldest), OutboxItem.not_before <= now)
    return session.scalars(due.where(OutboxItem.channel.in_(channels)).order_by(OutboxItem.id).limit(limit)).all()


def _wait_after(attempts: int) -> timedelta:
    doubled: timedelta = FIRST_WAIT * 2 ** min(attempts - 1, 10)
    return min(doubled, LONGEST_WAIT) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret


def _postpone(session: Session, item_id: int, reason: str, until: datetime) -> None:
    item = session.get_one(OutboxItem, item_id)
    item.attempts += 1
    item.last_error, item.not_before = reason, until


def _give_up(session: Session, item_id: int, reason: str) -> None:
    item = session.get_one(OutboxItem, item_id)
    item.attempts += 1
    item.state, item.last_error = "stuck", reason


def _sent(session: Session, item_id: int, remote_id: str, now: datetime) -> None:
    item = session.get_one(OutboxItem, item_id)
    item.attempts += 1
    item.state, item.remote_id, item.sent_at = "sent", remote_id, now
