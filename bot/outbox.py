"""Messages to customers wait here until their messenger has taken them: in order, and each once."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from bot.channel import Channel, MaybeSent, SendLater, SendRefused
from bot.metrics import SENDS
from bot.models import Button, OutboxItem
from handoff.database import Database

log = logging.getLogger(__name__)

#: How many conversations are sent to at once; a channel lets through as many as its messenger takes. So many that one
#: messenger that hangs does not keep the others waiting.
PARALLEL = 500
#: What Telegram and VK take in one message, in UTF-16 units (Bot API, sendMessage; VK, messages.send).
LONGEST_MESSAGE = 4096
#: How often the table is looked at when nothing wakes the sender.
POLL_S = 0.2
#: While more than so many are under way, what comes next is gathered for a moment: one look at the table, not several.
GATHERED, GATHER_S = 8, 0.01
#: First wait after a failed delivery; doubled each time up to LONGEST_WAIT.
FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=5)


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

    `purpose` is what makes it the same message when a turn is repeated, such as "answer:17". A text too long for one
    message becomes several.
    """
    *first, text = split(text)
    for place, part in enumerate(first, 1):
        put(session, purpose=f"{purpose}:{place}", sender_id=sender_id, channel=channel, text=part, now=now)
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


def split(text: str, longest: int = LONGEST_MESSAGE) -> list[str]:
    """The text in parts that each messenger takes, cut at a paragraph, a line or a word where there is one."""
    parts = []
    while len(text.encode("utf-16-le")) // 2 > longest:
        head = text.encode("utf-16-le")[: longest * 2].decode("utf-16-le", errors="ignore")
        cut = next((head.rfind(gap) for gap in ("\n\n", "\n", " ") if head.rfind(gap) > 0), len(head))
        parts.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [*parts, text]


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
                due = await self._database.read(
                    _due, frozenset(self._busy), list(self._channels), datetime.now(UTC), free
                )
                for item in due:
                    self._busy.add(item.sender_id)
                    tasks.create_task(self._deliver(item))
                # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with a wake.
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()
                if len(self._busy) > GATHERED:
                    await asyncio.sleep(GATHER_S)

    async def _deliver(self, item: OutboxItem) -> None:
        try:
            remote_id = await self._channels[item.channel].send(item)
        except SendRefused as problem:
            log.warning("message %s to %s refused: %s", item.id, item.channel, problem)
            outcome = "refused"
            await self._note(_refuse, item.id, problem)
        except MaybeSent as problem:
            log.warning("message %s to %s may have arrived: %s", item.id, item.channel, problem)
            outcome = "maybe sent"
            await self._note(_repeat_once, item.id, str(problem), datetime.now(UTC) + FIRST_WAIT)
        except Exception as problem:  # one message must not stop the others; it stays and is tried again
            after = problem.after if isinstance(problem, SendLater) else None
            if not isinstance(problem, SendLater):
                log.warning("message %s to %s waits", item.id, item.channel, exc_info=problem)
            outcome = "later"
            wait = after or _wait_after(item.attempts + 1)
            await self._note(_postpone, item.id, str(problem) or repr(problem), datetime.now(UTC) + wait)
        else:
            outcome = "sent"
            await self._note(_sent, item.id, remote_id, datetime.now(UTC))
        finally:
            self._busy.discard(item.sender_id)
            self.wake()
        SENDS.labels(item.channel, outcome).inc()

    async def _note(self, outcome: Callable[..., None], item_id: int, *facts: object) -> None:
        """Write down what became of a message, unless it was erased while it was on its way."""
        with suppress(NoResultFound):
            await self._database.run(outcome, item_id, *facts)


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


def _repeat_once(session: Session, item_id: int, reason: str, until: datetime) -> None:
    """Sent a second time it may arrive twice, which is better than not at all; a third time only a person may send."""
    item = session.get_one(OutboxItem, item_id)
    item.attempts += 1
    item.last_error, item.not_before = reason, until
    if item.maybe_sent:
        item.state, item.last_error = "stuck", f"sent twice, each time without an answer: {reason}"
    item.maybe_sent = True


def _refuse(session: Session, item_id: int, problem: SendRefused) -> None:
    """Give up a message, and with a customer who cannot be reached all that wait for him."""
    item = session.get_one(OutboxItem, item_id)
    item.attempts += 1
    given_up = [item]
    if problem.unreachable:
        waiting = select(OutboxItem).where(OutboxItem.sender_id == item.sender_id, OutboxItem.state == "waiting")
        given_up = list(session.scalars(waiting))
    for each in given_up:
        each.state, each.last_error = "refused" if problem.unreachable else "stuck", str(problem)


def _sent(session: Session, item_id: int, remote_id: str, now: datetime) -> None:
    item = session.get_one(OutboxItem, item_id)
    item.attempts += 1
    item.state, item.remote_id, item.sent_at = "sent", remote_id, now
