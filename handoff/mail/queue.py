"""Letters that wait for a person: what they are, and filing them where they belong or ticking them off."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.entries import UnknownTicket
from handoff.errors import HandoffError
from handoff.letters_filed import file_agent_letter, file_customer_letter
from handoff.mail.inbound import TOO_LARGE
from handoff.mail.reading import LetterUnreadable, ReadLetter, read_letter
from handoff.models import LetterIn, Ticket


class NotPlaceable(HandoffError):
    """A letter cannot be filed there, or not at all; the message says why."""


def quarantined(session: Session) -> Sequence[LetterIn]:
    """The letters that wait, the oldest first."""
    return session.scalars(select(LetterIn).where(LetterIn.outcome == "quarantined").order_by(LetterIn.id)).all()


def place_letter(
    session: Session, letter_id: int, number: int, author: Literal["customer", "agent"], desk: Desk, now: datetime
) -> None:
    """File a quarantined letter in a ticket as if it had come right: the other side gets it.

    An operator says whose letter it is. That proves no mailbox: the ticket does not become verified by it.

    Raises:
        NotPlaceable: it is not quarantined, cannot be read, or the ticket has nobody to send it to.
        UnknownTicket: there is no such ticket.
    """
    letter = _waiting(session, letter_id)
    ticket = session.get(Ticket, number)
    if ticket is None:
        raise UnknownTicket(number)
    if author == "agent" and ticket.requester is None:
        raise NotPlaceable(
            f"ticket {number} has no registered address yet: support assign {number} CUSTOMER comes first"
        )
    read = _read(letter)
    letter.outcome, letter.reason = "threaded", f"placed by an operator; before: {letter.reason}"
    letter.ticket_number, letter.author = number, author
    if author == "agent":
        file_agent_letter(session, ticket, letter, read, desk, now)
    else:
        file_customer_letter(session, ticket, letter, read, desk, now, proves_mailbox=False)


def dismiss_letter(session: Session, letter_id: int) -> None:
    """Tick a quarantined letter off; it stays in the database.

    Raises:
        NotPlaceable: it is not quarantined.
    """
    letter = _waiting(session, letter_id)
    letter.outcome, letter.reason = "ignored", f"dismissed by an operator; before: {letter.reason}"


def _waiting(session: Session, letter_id: int) -> LetterIn:
    letter = session.get(LetterIn, letter_id, with_for_update=True)
    if letter is None or letter.outcome != "quarantined":
        raise NotPlaceable(f"letter {letter_id} is not in the queue: support letters --queue lists it")
    return letter


def _read(letter: LetterIn) -> ReadLetter:
    """The letter as it would be filed; of one that could not be read nothing can be sent on."""
    if letter.reason.startswith(TOO_LARGE):
        raise NotPlaceable(f"of letter {letter.id} only the beginning was kept ({letter.reason})")
    try:
        read = read_letter(letter.raw)
    except LetterUnreadable as error:
        raise NotPlaceable(f"letter {letter.id} cannot be read ({error}); look at it in the mailbox") from None
    letter.text, letter.attachments = read.text, len(read.attachments)
    if not letter.text and not letter.attachments:
        raise NotPlaceable(f"letter {letter.id} holds nothing that could be sent on")
    return read
