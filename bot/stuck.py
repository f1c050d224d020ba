"""What was given up and waits for a person: listing it, sending it again, ticking it off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.models import InboxItem, OutboxItem
from handoff.errors import HandoffError
from handoff.mail.queue import quarantined
from handoff.models import LetterOut

Kind = Literal["message", "answer", "letter"]
Item = InboxItem | OutboxItem | LetterOut

#: What each kind is, and the states in which a person may decide about it.
QUEUES: Mapping[str, tuple[type[Item], frozenset[str]]] = MappingProxyType(
    {
        "message": (InboxItem, frozenset({"stuck"})),
        "answer": (OutboxItem, frozenset({"stuck", "refused"})),
        "letter": (LetterOut, frozenset({"stuck"})),
    }
)


class NotStuck(HandoffError):
    """There is nothing of this kind and number for a person to decide about."""

    def __init__(self, kind: Kind, number: int) -> None:
        super().__init__(f"{kind} {number} is not stuck: support stuck lists what is")


def stuck_lines(session: Session) -> Iterator[str]:
    """One line for everything that waits; each begins with the words that `retry` and `dismiss` take."""
    for message in session.scalars(select(InboxItem).where(InboxItem.state == "stuck")):
        yield f"message {message.id} of {message.sender_id}, {message.received_at:%F %R}: {message.last_error}"
    for answer in session.scalars(select(OutboxItem).where(OutboxItem.state.in_(("stuck", "refused")))):
        yield f"answer {answer.id} to {answer.sender_id}, {answer.state}: {answer.last_error}"
    for letter in session.scalars(select(LetterOut).where(LetterOut.state == "stuck")):
        yield f"letter {letter.id}, {letter.about}: {letter.last_error}"
    for taken in quarantined(session):
        yield f"letter taken in {taken.id}, ticket {taken.ticket_number}: {taken.reason}"


def retry(session: Session, kind: Kind, number: int, now: datetime) -> None:
    """Send or answer it again, as if for the first time; the running service does it within seconds.

    Raises:
        NotStuck: see there.
    """
    item = _stuck(session, kind, number)
    item.state, item.attempts, item.not_before, item.last_error = "waiting", 0, now, None
    if isinstance(item, OutboxItem):
        item.maybe_sent = False
    elif isinstance(item, LetterOut):
        item.unanswered = 0


def dismiss(session: Session, kind: Kind, number: int) -> None:
    """Tick it off; it stays in the database with its last error.

    Raises:
        NotStuck: see there.
    """
    _stuck(session, kind, number).state = "dismissed"


def _stuck(session: Session, kind: Kind, number: int) -> Item:
    table, states = QUEUES[kind]
    item = session.get(table, number, with_for_update=True)
    if not isinstance(item, Item) or item.state not in states:
        raise NotStuck(kind, number)
    return item
