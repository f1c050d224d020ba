"""Tickets: opening them, adding to them, and the letters that each step owes to somebody.

Whatever decides that a letter must be sent writes it in the same transaction, under a purpose that exists once; so a
step that is repeated after a crash sends nothing twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from handoff.case import Case, Line, Opened
from handoff.codes import code_facts
from handoff.compensation import days_late, suggested_compensation
from handoff.crm.port import Customer, Order
from handoff.database import insert_new, when_stored
from handoff.desk import Desk
from handoff.entries import add_entry, find_ticket
from handoff.files import unattached_files
from handoff.hours import answer_by, spoken_deadline
from handoff.identifiers import mask_address
from handoff.identity import Requester
from handoff.limits import may_confirm
from handoff.mail.attachments import attachments_of
from handoff.mail.compose import Attachment, moment
from handoff.mail.posting import post_letter
from handoff.mail.reading import storable
from handoff.metrics import TICKETS
from handoff.models import LetterOut, StoredFile, Ticket, TicketChat, TicketEntry, Urgency
from handoff.promises import promise_text, promised
from handoff.words import words

log = logging.getLogger(__name__)

#: Photos sent shortly before a case belong to it.
FILES_BELONG = timedelta(hours=24)

#: So long after the last that was said in a ticket, what is not understood in its conversation belongs to it.
RECENTLY = timedelta(hours=24)

#: A requester's older tickets shown to the agents.
PAST_TICKETS = 5

#: How much of the customer's own words the first lines of a letter repeat.
OWN_WORDS_LENGTH = 300


def open_ticket(session: Session, case: Case, requester: Requester | None, desk: Desk, now: datetime) -> Opened:
    """Turn a case into a ticket with all letters it needs; the same case again changes nothing.

    A requester's open ticket about the same order and topic takes the case in. Without a requester the ticket is
    unverified: it holds only what was claimed, and nobody but the agents is mailed.
    """
    case = case.storable()
    known = _handed_over(session, case)
    if known is not None:
        return _opened(known[0], case.language, desk, now, joined=known[1])
    same = same_case(session, case.topic, requester)
    if same is not None:
        add_case(session, same, case, _attach_files(session, same, case.sender_id, now, desk), desk, now)
        return _opened(same, case.language, desk, now, joined=True)
    ticket = new_ticket(session, case, requester, desk, now)
    for line in case.transcript:
        _add_line(session, ticket, line)
    files = _attach_files(session, ticket, case.sender_id, now, desk)
    post_letter(
        session,
        ticket,
        desk,
        "agents",
        "ticket",
        f"opened:{ticket.number}:agents",
        case_facts(session, ticket, case, desk, now, files),
        now,
        files,
    )
    if requester is not None:
        confirm_ticket(session, ticket, desk, now)
    when_stored(session, partial(_tell, ticket))
    return _opened(ticket, case.language, desk, now, joined=False)


def add_to_ticket(
    session: Session,
    number: int,
    text: str,
    files: Sequence[StoredFile],
    key: str,
    desk: Desk,
    now: datetime,
    *,
    urgent_for: Urgency | None = None,
) -> bool:
    """Add what the customer wrote or sent in the conversation to his ticket and tell the agents.

    Returns:
        False when `key` was added before; nothing happens then.

    Raises:
        UnknownTicket: there is no such ticket.
    """
    ticket, text = find_ticket(session, number), storable(text)
    if not add_entry(session, ticket, "customer", "chat", text, now, source_key=f"added:{key}"):
        return False
    if urgent_for:
        ticket.make_urgent(urgent_for)
    for file in files:
        file.ticket_number = number
    lines = [Line("customer", text, now)] if text else []
    _tell_addition(
        session, ticket, f"added:{number}:{key}", lines, attachments_of(session, ticket, files, desk), desk, now
    )
    return True


def open_ticket_of(session: Session, sender_id: str, now: datetime) -> Ticket | None:
    """The newest open ticket that this conversation opened or joined, unless its customer says that it was not him."""
    joined = select(TicketChat.ticket_number).where(TicketChat.sender_id == sender_id)
    return session.scalar(
        select(Ticket)
        .where(or_(Ticket.sender_id == sender_id, Ticket.number.in_(joined)))
        .where(Ticket.state == "open", ~Ticket.disputed, Ticket.opened_at <= now)
        .order_by(Ticket.number.desc())
        .limit(1)
    )


def recent_ticket_of(session: Session, sender_id: str, now: datetime) -> Ticket | None:
    """The ticket of `open_ticket_of`, if anything was said in it within the last 24 hours."""
    ticket = open_ticket_of(session, sender_id, now)
    if ticket is None:
        return None
    said = select(func.max(TicketEntry.at)).where(TicketEntry.ticket_number == ticket.number)
    last = max(ticket.opened_at, session.scalar(said) or ticket.opened_at)
    return ticket if last > now - RECENTLY else None


def same_case(session: Session, topic: str, requester: Requester | None) -> Ticket | None:
    """The requester's open ticket about the same order and topic, whichever conversation opened it."""
    if requester is None:
        return None
    return session.scalar(
        select(Ticket)
        .where(
            Ticket.customer_id == requester.customer.customer_id,
            Ticket.order_number == (requester.order.number if requester.order else None),
            Ticket.topic == topic,
            Ticket.state == "open",
            ~Ticket.disputed,
        )
        .order_by(Ticket.number.desc())
        .limit(1)
    )


def add_case(
    session: Session, ticket: Ticket, case: Case, files: Sequence[Attachment], desk: Desk, now: datetime
) -> None:
    """Add what the ticket does not have yet, and tell the agents in its thread.

    From now on the case's conversation is one of the ticket's.
    """
    if case.sender_id != ticket.sender_id:
        insert_new(session, TicketChat, sender_id=case.sender_id, ticket_number=ticket.number)
    if case.urgent_for:
        ticket.make_urgent(case.urgent_for)
    chat = select(TicketEntry).where(TicketEntry.ticket_number == ticket.number, TicketEntry.kind == "chat")
    entries = session.scalars(chat).all()
    known = {(entry.author, entry.text, entry.at) for entry in entries}
    last = max((entry.at for entry in entries), default=None) if ticket.sender_id == case.sender_id else None
    lines = [
        line
        for line in case.transcript
        if (line.author, line.text, line.at) not in known and (last is None or line.at > last)
    ]
    for line in lines:
        _add_line(session, ticket, line)
    _tell_addition(session, ticket, _joining(case), lines, files, desk, now)


def new_ticket(session: Session, case: Case, requester: Requester | None, desk: Desk, now: datetime) -> Ticket:
    """A ticket with a number and what is known of order and customer; nobody has been told of it."""
    snapshot = snapshot_of(requester.customer, requester.order) if requester else {}
    late = days_late(snapshot.get("order"), now, desk.shop.zone)
    ticket = Ticket(
        topic=case.topic,
        topic_title=case.topic_title,
        language=case.language,
        channel=case.channel,
        sender_id=case.sender_id,
        opening_key=case.key,
        display_name=case.display_name,
        customer_id=requester.customer.customer_id if requester else None,
        requester=requester.registered_address if requester else None,
        order_number=requester.order.number if requester and requester.order else None,
        claimed_address=None if requester else case.claimed_address,
        claimed_order=None if requester else case.claimed_order,
        priority="urgent" if case.urgent_for else "normal",
        urgent_for=case.urgent_for,
        agent_names=desk.shop.agent_for(case.sender_id),
        suggested_compensation=suggested_compensation(case.topic, late, overload=desk.shop.overload),
        snapshot=snapshot,
        match_at=now if case.unchecked and requester is None else None,
        opened_at=now,
        answer_by=answer_by(desk.shop, now).alarm,
    )
    session.add(ticket)
    session.flush()
    return ticket


def snapshot_of(customer: Customer, order: Order | None) -> dict[str, Any]:
    """Order and customer as they are now: the agents must see what was true when the customer wrote."""
    kept = {name: _as_text(value) for name, value in asdict(order).items()} if order else None
    return {"customer": {"name": storable(customer.name), "language": customer.language}, "order": kept}


def confirm_ticket(session: Session, ticket: Ticket, desk: Desk, now: datetime) -> None:
    """The first letter to the registered address. Nothing that was typed in the conversation goes into it.

    Somebody with many matters in one hour hears of the further ones in the chat only: nobody is mail-bombed through us.
    """
    if not may_confirm(session, ticket.requester or "", now):
        add_entry(session, ticket, "system", "note", "no confirmation: the mailbox has had enough of them", now)
        return
    post_letter(
        session,
        ticket,
        desk,
        "customer",
        "confirmation",
        f"opened:{ticket.number}:customer",
        {"promised": promise_text(ticket, desk, now), **code_facts(session, ticket, desk, now)},
        now,
    )


def case_facts(
    session: Session, ticket: Ticket, case: Case, desk: Desk, now: datetime, files: Sequence[Attachment] = ()
) -> dict[str, Any]:
    """What the first letter to the agents says besides the ticket itself."""
    spoken = words(desk.shop.language)
    earlier = (
        select(Ticket)
        .where(Ticket.customer_id == ticket.customer_id, Ticket.number != ticket.number)
        .order_by(Ticket.number.desc())
        .limit(PAST_TICKETS)
    )
    past = session.scalars(earlier).all() if ticket.customer_id else []
    asked = next((line.at for line in reversed(case.transcript) if line.text == case.own_words), ticket.opened_at)
    return {
        "asked_at": moment(desk, asked, desk.shop.language),
        "own_words": " ".join(case.own_words.split())[:OWN_WORDS_LENGTH],
        "promised": promise_text(ticket, desk, now, desk.shop.language),
        "days_late": days_late(ticket.snapshot.get("order"), now, desk.shop.zone),
        "past": [
            (
                f"#{one.number}",
                f"{one.topic_title}, {moment(desk, one.opened_at, desk.shop.language)}, {spoken['states'][one.state]}",
            )
            for one in past
        ],
        "compensation": spoken["compensations"][ticket.suggested_compensation]
        if ticket.suggested_compensation
        else None,
        "lines": _spoken_lines(case.transcript, files, desk),
    }


def _tell(ticket: Ticket) -> None:
    TICKETS.labels(ticket.topic, ticket.channel).inc()
    log.info("ticket %s opened about %s", ticket.number, ticket.topic)


def _handed_over(session: Session, case: Case) -> tuple[Ticket, bool] | None:
    """The ticket that has this very case already, and whether it joined it."""
    opened = session.scalar(select(Ticket).where(Ticket.sender_id == case.sender_id, Ticket.opening_key == case.key))
    if opened is not None:
        return opened, False
    joined = session.scalar(select(LetterOut.ticket_number).where(LetterOut.purpose == _joining(case)))
    return (find_ticket(session, joined), True) if joined is not None else None


def _joining(case: Case) -> str:
    return f"joined:{case.sender_id}:{case.key}"


def _tell_addition(
    session: Session,
    ticket: Ticket,
    purpose: str,
    lines: Sequence[Line],
    files: Sequence[Attachment],
    desk: Desk,
    now: datetime,
) -> None:
    """Tell the agents, in the ticket's thread, what came in the conversation."""
    facts = {
        "lines": _spoken_lines(lines, files, desk),
        "promised": promise_text(ticket, desk, now, desk.shop.language),
    }
    post_letter(session, ticket, desk, "agents", "follow_up", purpose, facts, now, files)


def _as_text(value: str | date | None) -> str:
    return value.isoformat() if isinstance(value, date) else storable(value or "")


def _opened(ticket: Ticket, language: str, desk: Desk, now: datetime, joined: bool) -> Opened:
    return Opened(
        number=ticket.number,
        agent=ticket.agent_names[language],
        deadline_text=spoken_deadline(desk.shop, promised(ticket, desk, now), now, language),
        masked_address=mask_address(ticket.requester) if ticket.requester else None,
        joined=joined,
        verified_pair=ticket.requester is not None,
        waits=ticket.match_at is not None,
    )


def _spoken_lines(lines: Sequence[Line], files: Sequence[Attachment], desk: Desk) -> list[dict[str, str]]:
    """What was said and sent, in its order, with times as the agents read them."""
    sent = words(desk.shop.language)["sent_file"]
    told = [*lines, *(Line("customer", sent.format(name=file.name), file.at) for file in files if file.at)]
    return [
        {"author": line.author, "text": line.text, "at": moment(desk, line.at, desk.shop.language)}
        for line in sorted(told, key=lambda line: line.at)
    ]


def _add_line(session: Session, ticket: Ticket, line: Line) -> None:
    session.add(TicketEntry(ticket_number=ticket.number, author=line.author, kind="chat", text=line.text, at=line.at))


def _attach_files(session: Session, ticket: Ticket, sender_id: str, now: datetime, desk: Desk) -> list[Attachment]:
    """Give the ticket the files that the conversation sent lately."""
    files = unattached_files(session, sender_id, now - FILES_BELONG)
    for file in files:
        file.ticket_number = ticket.number
    return attachments_of(session, ticket, files, desk)
