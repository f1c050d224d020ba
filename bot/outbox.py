"""Messages to customers wait here until their messenger has taken them: in order, and each once."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache

from sqlalchemy import Integer, Select, bindparam, insert, select, update
from sqlalchemy.exc import DBAPIError, NoResultFound
from sqlalchemy.orm import Session

from bot.channel import Channel, MaybeSent, SendLater, SendRefused
from bot.metrics import DELIVERY_SECONDS, SEND_SECONDS, SENDS
from bot.models import Button, OutboxItem
from bot.oldest import oldest_waiting
from handoff.database import Database, dialect_of, insert_new, table_of
from handoff.log_lines import follow, followed

log = logging.getLogger(__name__)

#: How many conversations are sent to at once; a channel lets through as many as its messenger takes. So many that one
#: messenger that hangs does not keep the others waiting.
PARALLEL = 500
#: What Telegram and VK take in one message, in UTF-16 units (Bot API, sendMessage; VK, messages.send).
LONGEST_MESSAGE = 4096
#: How often the table is looked at when nothing wakes the sender.
POLL_S = 0.1
#: Looked at once, it is left alone for so long: what comes meanwhile is found by one look instead of several.
GATHER_S = 0.02
#: How long messages under way may take when the service stops; it has ten seconds in all.
STOP_WITHIN_S = 4.0
#: How soon a database that was away is asked again.
AWAY_S = 1.0
#: First wait after a failed delivery; doubled each time up to LONGEST_WAIT.
FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=5)


# Statements of every message are built once: that takes longer than running them.
_OUTBOX = table_of(OutboxItem)
_ADD_BUTTONS = insert(table_of(Button))
_SENT = (
    update(_OUTBOX)
    .where(_OUTBOX.c.id == bindparam("item"))
    .values(state="sent", remote_id=bindparam("remote"), sent_at=bindparam("now"), attempts=_OUTBOX.c.attempts + 1)
)


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
    shown = [(title, secrets.token_urlsafe(9), payload) for title, payload in buttons]
    item_id = insert_new(
        session,
        OutboxItem,
        purpose=purpose,
        sender_id=sender_id,
        channel=channel,
        text=text,
        buttons=[{"title": title, "key": key} for title, key, _ in shown],
        message_key=followed("key"),
        created_at=now,
        not_before=now,
    )
    if item_id is None:
        return
    if shown:
        whose = {"outbox_id": item_id, "sender_id": sender_id}
        rows = [whose | {"title": title, "key": key, "payload": payload} for title, key, payload in shown]
        session.execute(_ADD_BUTTONS, rows)


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
    """Hands waiting messages to their channels.

    Of several services one sends on a channel: `may_send` says whether that is us (`bot.lease`). So a conversation's
    messages stay in order, and a messenger's limits are kept by whoever knows what was sent.
    """

    def __init__(
        self,
        database: Database,
        channels: Mapping[str, Channel],
        may_send: Callable[[str], bool] = lambda channel: True,
    ) -> None:
        self._database = database
        self._channels = channels
        self._may_send = may_send
        self._busy: set[str] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self._sending: dict[asyncio.Task[None], str] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at the table now."""
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled; then what is under way may arrive first, or nobody would know whether it did."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._begin_due()
                except DBAPIError as problem:
                    log.warning("the database is away, messages wait: %s", problem)
                    await asyncio.sleep(AWAY_S)
                await asyncio.sleep(GATHER_S)
                # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with a wake.
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()
        finally:
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=STOP_WITHIN_S)
            for delivery in self._under_way:
                delivery.cancel()

    async def _begin_due(self) -> None:
        """Begin the deliveries whose time has come, on the channels that are ours."""
        ours = [channel for channel in self._channels if self._may_send(channel)]
        for delivery, channel in self._sending.items():
            if channel not in ours:  # another service sends these now; they have not left
                delivery.cancel()
        if not ours:
            return
        free = PARALLEL - len(self._busy)
        for item in await self._database.read(_due, frozenset(self._busy), ours, datetime.now(UTC), free):
            self._busy.add(item.sender_id)
            delivery = asyncio.create_task(self._deliver(item))
            self._under_way.add(delivery)
            self._sending[delivery] = item.channel
            delivery.add_done_callback(self._ended)

    def _ended(self, delivery: asyncio.Task[None]) -> None:
        self._under_way.discard(delivery)
        self._sending.pop(delivery, None)
        if not delivery.cancelled() and (problem := delivery.exception()) is not None:
            log.error("a message is sent again", exc_info=problem)

    async def _deliver(self, item: OutboxItem) -> None:
        follow(key=item.message_key)
        try:
            outcome, note, *facts = await self._handed_over(item)
            self._not_to_be_cut_off()  # what became of it is known now: nobody may take that away from us
            await self._note(note, item.id, *facts)
            SENDS.labels(item.channel, outcome).inc()
            if outcome == "sent":
                DELIVERY_SECONDS.labels(item.channel).observe((datetime.now(UTC) - item.created_at).total_seconds())
                log.info("message %s sent to %s", item.id, item.channel)
        finally:
            self._busy.discard(item.sender_id)
            self.wake()

    def _not_to_be_cut_off(self) -> None:
        self._sending.pop(asyncio.current_task(), None)  # type: ignore[arg-type]

    async def _handed_over(self, item: OutboxItem) -> tuple[str, Callable[..., None], *tuple[object, ...]]:
        """Hand a message to its channel; what became of it, how that is written down, and with which facts."""
        try:
            with SEND_SECONDS.labels(item.channel).time():
                remote_id = await self._channels[item.channel].send(item, self._not_to_be_cut_off)
        except SendRefused as problem:
            log.warning("message %s to %s refused: %s", item.id, item.channel, problem)
            return "refused", _refuse, problem
        except MaybeSent as problem:
            log.warning("message %s to %s may have arrived: %s", item.id, item.channel, problem)
            return "maybe sent", _repeat_once, str(problem), datetime.now(UTC) + FIRST_WAIT
        except Exception as problem:  # one message must not stop the others; it stays and is tried again
            after = problem.after if isinstance(problem, SendLater) else None
            if not isinstance(problem, SendLater):
                log.warning("message %s to %s waits", item.id, item.channel, exc_info=problem)
            wait = after or _wait_after(item.attempts + 1)
            return "later", _postpone, str(problem) or repr(problem), datetime.now(UTC) + wait
        return "sent", _sent, remote_id, datetime.now(UTC)

    async def _note(self, outcome: Callable[..., None], item_id: int, *facts: object) -> None:
        """Write down what became of a message, unless it was erased while it was on its way.

        Only we know it, and it would be sent again: a database that is away is waited for.
        """
        while True:
            try:
                return await self._database.run(outcome, item_id, *facts)
            except NoResultFound:
                return None
            except DBAPIError as problem:
                log.warning("what became of message %s cannot be written down now: %s", item_id, problem)
                await asyncio.sleep(AWAY_S)


def _due(
    session: Session, busy: Collection[str], channels: Collection[str], now: datetime, limit: int
) -> Sequence[OutboxItem]:
    wanted = {"busy": list(busy), "channels": list(channels), "now": now, "limit": limit}
    return session.scalars(_all_due(dialect_of(session)), wanted).all()


@cache
def _all_due(dialect: str) -> Select[OutboxItem]:
    item = oldest_waiting(OutboxItem, dialect)
    ours = item.channel.in_(bindparam("channels", expanding=True))
    due = select(item).where(item.not_before <= bindparam("now"), ours)
    return due.order_by(item.id).limit(bindparam("limit", type_=Integer))


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
    session.execute(_SENT, {"item": item_id, "remote": remote_id, "now": now})
