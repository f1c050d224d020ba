"""Number or address that a customer finds after his case was passed on without: his ticket takes it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.identity import address_behind
from handoff.models import Ticket, TicketEntry
from handoff.tickets import add_to_ticket, open_ticket_of


def take_late_facts(
    session: Session, sender_id: str, number: str | None, reference: str | None, key: str, desk: Desk, now: datetime
) -> Ticket | None:
    """The conversation's open, unverified ticket that lacked what is named now; None when there is none.

    The agents are told. With both known, the pair is compared as if the order list had been away until now
    (`handoff.matching`), which tells the customer and makes the ticket his.

    `number` and `reference` are those of the message `key`; the latter stands for an address, see
    `handoff.identity.keep_address`. Told twice, they are added once.
    """
    ticket = open_ticket_of(session, sender_id, now)
    if ticket is None or ticket.requester is not None:
        return None
    taken = select(TicketEntry.id).where(TicketEntry.ticket_number == ticket.number)
    if session.scalar(taken.where(TicketEntry.source_key == f"added:{key}")) is not None:
        return ticket
    address = address_behind(session, sender_id, reference, now) if reference else None
    order = number if ticket.claimed_order is None else None
    address = address if ticket.claimed_address is None else None
    found = [fact for fact in (order, address) if fact]
    if not found:
        return None
    ticket.claimed_order, ticket.claimed_address = order or ticket.claimed_order, address or ticket.claimed_address
    if ticket.claimed_order and ticket.claimed_address:
        ticket.match_at = now
    add_to_ticket(session, ticket.number, "\n".join(found), [], key, desk, now)
    return ticket
