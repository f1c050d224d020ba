"""What was said and noted in a ticket, each thing once."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.errors import HandoffError
from handoff.models import LetterIn, Ticket, TicketEntry


class UnknownTicket(HandoffError):
    """There is no ticket with this number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"there is no ticket {number}")
        self.number = number


def find_ticket(session: Session, number: int) -> Ticket:
    """The ticket with this number.

    Raises:
        UnknownTicket: there is none.
    """
    ticket = session.get(Ticket, number)
    if ticket is None:
        raise UnknownTicket(number)
    return ticket


def add_entry(
    session: Session,
    ticket: Ticket,
    author: Literal["customer", "agent", "bot", "system"],
    kind: Literal["chat", "letter", "note"],
    text: str,
    now: datetime,
    letter: LetterIn | None = None,
    source_key: str | None = None,
) -> bool:
    """Whether the entry is new; one with the same `source_key` is not added again."""
    known = select(TicketEntry.id).where(
        TicketEntry.ticket_number == ticket.number, TicketEntry.source_key == source_key
    )
    if source_key is not None and session.scalar(known) is not None:
        return False
    session.add(
        TicketEntry(
            ticket_number=ticket.number,
            author=author,
            kind=kind,
            text=text,
            at=now,
            letter_in_id=letter.id if letter else None,
            source_key=source_key,
        )
    )
    session.flush()
    return True
