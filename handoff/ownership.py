"""Whose a ticket is, where that is known only later: from the CRM, from a person, or from who says it was not him."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from handoff.case import Case, Line
from handoff.compensation import days_late
from handoff.crm.port import Customer, Order
from handoff.desk import Desk
from handoff.entries import add_entry, find_ticket
from handoff.errors import HandoffError
from handoff.identifiers import normalise_address
from handoff.identity import Requester
from handoff.letters_filed import file_agent_letter
from handoff.mail.attachments import attachments_of
from handoff.mail.posting import post_letter
from handoff.mail.reading import read_letter
from handoff.models import LetterIn, StoredFile, Ticket, TicketEntry
from handoff.promises import promise_text
from handoff.tickets import add_case, confirm_ticket, same_case, snapshot_of


class NotAssignable(HandoffError):
    """A ticket cannot be given to this customer; the message says why."""


def assign_requester(
    session: Session, number: int, customer: Customer, order: Order | None, desk: Desk, now: datetime
) -> None:
    """It is known by now whose unverified ticket this is: the customer is told, and answers that waited go out.

    Of several registered addresses the claimed one is taken.

    Raises:
        UnknownTicket: there is no such ticket.
        NotAssignable: it has a requester already, or the customer has no address.
    """
    ticket = find_ticket(session, number)
    if ticket.requester is not None:
        raise NotAssignable(f"ticket {number} has a requester already")
    if not customer.addresses:
        raise NotAssignable(f"customer {customer.customer_id!r} has no address that can be written to")
    claimed = normalise_address(ticket.claimed_address or "")
    registered = {normalise_address(address): address for address in sorted(customer.addresses)}
    requester = Requester(customer, order, registered.get(claimed) or min(customer.addresses))
    facts = _give_to(session, ticket, requester, desk, now)
    post_letter(session, ticket, desk, "agents", "assigned", f"assigned:{number}", facts, now)
    confirm_ticket(session, ticket, desk, now)
    _send_waiting_answers(session, number, ticket, desk, now)


def settle_claim(session: Session, number: int, requester: Requester | None, desk: Desk, now: datetime) -> None:
    """The CRM has answered about a ticket that waited for it (`handoff.matching`): agents and customer are told.

    With a requester it becomes his: his own ticket, or part of his open one about the same order and topic. Without,
    it is unverified like any other. One that waits no longer stays as it is.
    """
    ticket = session.get_one(Ticket, number, with_for_update=True)
    if ticket.match_at is None or ticket.requester is not None or ticket.state != "open":
        return
    ticket.match_at = None
    same = same_case(session, ticket.topic, requester)
    facts: dict[str, Any] = {"joined": same.number if same else None, "days_late": 0}
    if requester is None:
        add_entry(session, ticket, "system", "note", "no match", now, source_key="checked")
        desk.notices.announce(session, ticket, "pair_unmatched", now)
    elif same is None:
        facts |= _give_to(session, ticket, requester, desk, now)
        confirm_ticket(session, ticket, desk, now)
        _send_waiting_answers(session, number, ticket, desk, now)
        desk.notices.announce(session, ticket, "pair_matched", now)
    else:
        _merge(session, ticket, same, requester, desk, now)
        desk.notices.announce(session, ticket, "pair_joined", now)
    facts["promised"] = promise_text(ticket, desk, now, desk.shop.language)
    post_letter(session, ticket, desk, "agents", "checked", f"checked:{number}", facts, now)


def dispute_ticket(session: Session, number: int, desk: Desk, now: datetime) -> None:
    """The owner of the mailbox says that it was not him: no more claims from that conversation, and a warning.

    Raises:
        UnknownTicket: there is no such ticket.
    """
    ticket = find_ticket(session, number)
    if ticket.disputed:
        return
    ticket.disputed = True
    add_entry(session, ticket, "system", "note", "disputed", now, source_key="disputed")
    post_letter(session, ticket, desk, "agents", "disputed", f"disputed:{number}", {}, now)
    desk.notices.announce(session, ticket, "ticket_disputed", now)


def _merge(session: Session, ticket: Ticket, same: Ticket, requester: Requester, desk: Desk, now: datetime) -> None:
    """Add a ticket to the one that it should have joined, and close it. The customer has his confirmation already."""
    said = select(TicketEntry).where(TicketEntry.ticket_number == ticket.number, TicketEntry.kind == "chat")
    files = session.scalars(select(StoredFile).where(StoredFile.ticket_number == ticket.number)).all()
    for file in files:
        file.ticket_number = same.number
    case = Case(
        key=ticket.opening_key,
        sender_id=ticket.sender_id,
        channel=ticket.channel,
        language=ticket.language,
        display_name=ticket.display_name,
        topic=ticket.topic,
        topic_title=ticket.topic_title,
        transcript=tuple(
            Line(entry.author, entry.text, entry.at)
            for entry in session.scalars(said.order_by(TicketEntry.id))
            if entry.author in ("customer", "bot")
        ),
        urgent_for=ticket.urgent_for,
        claimed_order=None,
        claimed_address=None,
    )
    add_case(session, same, case, attachments_of(session, same, files, desk), desk, now)
    _send_waiting_answers(session, ticket.number, same, desk, now)
    _give_to(session, ticket, requester, desk, now)
    ticket.state = "closed"


def _give_to(session: Session, ticket: Ticket, requester: Requester, desk: Desk, now: datetime) -> dict[str, Any]:
    """Make the ticket the customer's; what was claimed is not needed any more. What the agents' letter says of it."""
    ticket.requester = requester.registered_address
    ticket.customer_id = requester.customer.customer_id
    ticket.order_number = requester.order.number if requester.order else None
    ticket.snapshot = snapshot_of(requester.customer, requester.order)
    ticket.claimed_address = ticket.claimed_order = ticket.match_at = None
    add_entry(session, ticket, "system", "note", "assigned", now, source_key="assigned")
    return {"days_late": days_late(ticket.snapshot.get("order"), now, desk.shop.zone)}


def _send_waiting_answers(session: Session, number: int, ticket: Ticket, desk: Desk, now: datetime) -> None:
    """What agents answered in ticket `number` while nobody knew whose it was goes out in `ticket`."""
    waiting = session.scalars(
        select(LetterIn)
        .where(LetterIn.ticket_number == number, LetterIn.author == "agent", LetterIn.outcome == "quarantined")
        .where(or_(LetterIn.text != "", LetterIn.attachments > 0))
        .order_by(LetterIn.id)
    ).all()
    for letter in waiting:
        letter.outcome, letter.reason, letter.ticket_number = "threaded", "", ticket.number
        file_agent_letter(session, ticket, letter, read_letter(letter.raw), desk, now)
