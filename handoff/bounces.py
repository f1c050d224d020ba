"""Letters of ours that came back: the agents hear of it, and the chat is asked for help without naming the address."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.entries import add_entry, find_ticket
from handoff.identity import address_behind
from handoff.mail.posting import post_letter
from handoff.models import LetterIn, LetterOut, Ticket, TicketEntry
from handoff.tickets import add_to_ticket

log = logging.getLogger(__name__)

#: The entry of a ticket whose customer was asked in the chat for another address, and how long he may take.
ADDRESS_WANTED = "another address is wanted"
WANTED_FOR = timedelta(days=7)


@dataclass(frozen=True)
class Report:
    """What a mail server says of a letter: why, whether trying again is of no use, and whether it has given up."""

    diagnosis: str
    permanent: bool
    given_up: bool


def note_bounce(session: Session, sent: LetterOut, report: Report, letter: LetterIn, desk: Desk, now: datetime) -> None:
    """A letter of ours came back: the ticket says so, and the agents hear of it when it was the customer's.

    If the mailbox takes no letters at all, the customer is asked once in the chat for another address. What agents or
    the manager did not get waits for an operator, as if their server had refused it at once.
    """
    if sent.audience != "customer" and report.given_up and sent.state == "sent":
        sent.state, sent.last_error = "stuck", f"came back: {report.diagnosis}"
        log.error("letter %s about %s is stuck: it came back from %s", sent.message_id, sent.about, sent.audience)
    if sent.ticket_number is None:
        return
    ticket = find_ticket(session, sent.ticket_number)
    add_entry(session, ticket, "system", "note", f"bounced: {report.diagnosis}", now, letter, f"bounce:{letter.id}")
    if sent.audience != "customer" or not ticket.requester:
        return
    asked = (
        report.permanent
        and not ticket.disputed
        and desk.notices.reaches(session, ticket.sender_id)
        and add_entry(session, ticket, "system", "note", ADDRESS_WANTED, now, source_key=ADDRESS_WANTED)
    )
    if asked:
        desk.notices.announce(session, ticket, "letter_bounced", now)
    facts = {"diagnosis": report.diagnosis, "permanent": report.permanent, "asked": asked}
    post_letter(session, ticket, desk, "agents", "bounced", f"bounced:{ticket.number}:{letter.id}", facts, now)


def take_other_address(
    session: Session, sender_id: str, reference: str, key: str, desk: Desk, now: datetime
) -> Ticket | None:
    """Pass on an address that was typed in a chat that was asked for one; None when none was asked for.

    Nothing is mailed there: it is a claim, which the agents compare with the CRM. `reference` stands for the address,
    see `handoff.identity.keep_address`; `key` is the message that brought it.
    """
    ticket = session.scalar(
        select(Ticket)
        .join(TicketEntry, TicketEntry.ticket_number == Ticket.number)
        .where(Ticket.sender_id == sender_id, ~Ticket.disputed)
        .where(TicketEntry.source_key == ADDRESS_WANTED, TicketEntry.at > now - WANTED_FOR)
        .order_by(Ticket.number.desc())
        .limit(1)
    )
    address = address_behind(session, sender_id, reference, now) if ticket is not None else None
    if ticket is None or address is None:
        return None
    ticket.state = "open"
    add_to_ticket(session, ticket.number, address, [], key, desk, now)
    return ticket
