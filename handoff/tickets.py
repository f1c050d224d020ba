"""Tickets: opening them, adding to them, and the letters that each step owes to somebody.

Whatever decides that a letter must be sent writes it in the same transaction, under a purpose that exists once; so a
step that is repeated after a crash sends nothing twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Literal

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from handoff.codes import code_facts
from handoff.compensation import days_late, suggested_compensation
from handoff.crm.port import Customer, Order
from handoff.crm.sql import find_customer
from handoff.database import when_stored
from handoff.desk import Desk as Desk
from handoff.entries import UnknownTicket as UnknownTicket
from handoff.entries import add_entry, find_ticket
from handoff.errors import HandoffError
from handoff.files import unattached_files
from handoff.hours import answer_by, spoken_deadline
from handoff.identifiers import mask_address, normalise_address
from handoff.identity import Requester
from handoff.letters_filed import file_agent_letter
from handoff.mail.addresses import without_reply_addresses
from handoff.mail.attachments import attachments_of
from handoff.mail.compose import Attachment, moment
from handoff.mail.posting import post_letter
from handoff.mail.reading import ReadLetter, header, read_letter, storable
from handoff.metrics import TICKETS
from handoff.models import LetterIn, LetterOut, StoredFile, Ticket, TicketEntry, Urgency
from handoff.promises import promise_text, promised
from handoff.words import words

log = logging.getLogger(__name__)

#: Photos sent shortly before a case belong to it.
FILES_BELONG = timedelta(hours=24)

#: A requester's older tickets shown to the agents.
PAST_TICKETS = 5

#: How much of the customer's own words the first lines of a letter repeat.
OWN_WORDS_LENGTH = 300

#: A ticket that a letter opened: its channel, its topic, and how much of the letter's subject its title keeps.
LETTER_CHANNEL = "email"
LETTER_TOPIC = "letter"
SUBJECT_LENGTH = 100


class NotAssignable(HandoffError):
    """A ticket cannot be given to this customer; the message says why."""


@dataclass(frozen=True)
class Line:
    """Something said in the conversation."""

    author: Literal["customer", "bot"]
    text: str
    at: datetime


@dataclass(frozen=True)
class Case:
    """What a conversation hands over.

    `key` is the same whenever the same case is handed over again. `topic_title` is in the customer's language.
    `claimed_order` and `claimed_address` are what was typed, kept only while nobody is identified; `unchecked` says
    that the CRM was away and is to be asked about them later. `own_words` is the message that the case began with.
    """

    key: str
    sender_id: str
    channel: str
    language: str
    display_name: str
    topic: str
    topic_title: str
    transcript: tuple[Line, ...]
    urgent_for: Urgency | None
    claimed_order: str | None
    claimed_address: str | None
    own_words: str = ""
    unchecked: bool = False


@dataclass(frozen=True)
class Opened:
    """What may be said in the conversation about the ticket.

    `joined` says that the case was added to an open ticket; `verified_pair` that order and address belong together;
    `waits` that the CRM has yet to be asked about them.
    """

    number: int
    agent: str
    deadline_text: str
    masked_address: str | None
    joined: bool
    verified_pair: bool
    waits: bool = False


def open_ticket(session: Session, case: Case, requester: Requester | None, desk: Desk, now: datetime) -> Opened:
    """Turn a case into a ticket with all letters it needs; the same case again changes nothing.

    A requester's open ticket about the same order and topic takes the case in. Without a requester the ticket is
    unverified: it holds only what was claimed, and nobody but the agents is mailed.
    """
    case = _storable(case)
    known = _handed_over(session, case)
    if known is not None:
        return _opened(known[0], case.language, desk, now, joined=known[1])
    same = _same_case(session, case.topic, requester)
    if same is not None:
        _join(session, same, case, _attach_files(session, same, case.sender_id, now, desk), desk, now)
        return _opened(same, case.language, desk, now, joined=True)
    ticket = _new_ticket(session, case, requester, desk, now)
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
        _case_facts(session, ticket, case, desk, now, files),
        now,
        files,
    )
    if requester is not None:
        _confirm(session, ticket, desk, now)
    when_stored(session, partial(_tell, ticket))
    return _opened(ticket, case.language, desk, now, joined=False)


def _tell(ticket: Ticket) -> None:
    TICKETS.labels(ticket.topic, ticket.channel).inc()
    log.info("ticket %s opened about %s", ticket.number, ticket.topic)


def open_ticket_by_letter(
    session: Session, letter: LetterIn, read: ReadLetter, customer_id: str, desk: Desk, now: datetime
) -> Ticket:
    """A customer's own letter, authenticated and from a registered address of his, becomes a verified ticket."""
    customer = find_customer(session, customer_id)
    if customer is None:
        raise AssertionError(f"customer {customer_id!r} has an address and does not exist")
    text = without_reply_addresses(letter.text, desk.support_address)
    case = Case(
        key=f"letter:{letter.id}",
        sender_id=f"{LETTER_CHANNEL}:{customer_id}",
        channel=LETTER_CHANNEL,
        language=customer.language,
        display_name="",
        topic=LETTER_TOPIC,
        topic_title=header(read.message, "Subject")[:SUBJECT_LENGTH] or words(customer.language)["no_subject"],
        transcript=(Line("customer", text, now),),
        urgent_for=None,
        claimed_order=None,
        claimed_address=None,
        own_words=text,
    )
    ticket = _new_ticket(session, case, Requester(customer, None, normalise_address(read.from_address)), desk, now)
    ticket.verified = True
    # Before any letter is written: the customer's is the beginning of the thread.
    letter.ticket_number = ticket.number
    add_entry(session, ticket, "customer", "letter", letter.text, now, letter, f"letter:{letter.id}")
    facts = _case_facts(session, ticket, case, desk, now, read.attachments)
    post_letter(
        session, ticket, desk, "agents", "ticket", f"opened:{ticket.number}:agents", facts, now, read.attachments
    )
    promised = {"promised": promise_text(ticket, desk, now)}
    post_letter(session, ticket, desk, "customer", "received", f"opened:{ticket.number}:customer", promised, now)
    return ticket


def open_letter_ticket(session: Session, customer_id: str) -> Ticket | None:
    """The customer's open ticket that a letter of his opened: his next letters belong there too."""
    return session.scalar(
        select(Ticket)
        .where(Ticket.customer_id == customer_id, Ticket.topic == LETTER_TOPIC, Ticket.state == "open")
        .order_by(Ticket.number.desc())
        .limit(1)
    )


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
    """The newest open ticket that this conversation opened and whose customer has not said it was somebody else."""
    return session.scalar(
        select(Ticket)
        .where(Ticket.sender_id == sender_id, Ticket.state == "open", ~Ticket.disputed, Ticket.opened_at <= now)
        .order_by(Ticket.number.desc())
        .limit(1)
    )


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
    _confirm(session, ticket, desk, now)
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
    same = _same_case(session, ticket.topic, requester)
    facts: dict[str, Any] = {"joined": same.number if same else None, "days_late": 0}
    if requester is None:
        add_entry(session, ticket, "system", "note", "no match", now, source_key="checked")
        desk.notices.announce(session, ticket, "pair_unmatched", now)
    elif same is None:
        facts |= _give_to(session, ticket, requester, desk, now)
        _confirm(session, ticket, desk, now)
        _send_waiting_answers(session, number, ticket, desk, now)
        desk.notices.announce(session, ticket, "pair_matched", now)
    else:
        _merge(session, ticket, same, requester, desk, now)
        desk.notices.announce(session, ticket, "pair_joined", now)
    facts["promised"] = promise_text(ticket, desk, now, desk.shop.language)
    post_letter(session, ticket, desk, "agents", "checked", f"checked:{number}", facts, now)


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
    _join(session, same, case, attachments_of(session, same, files, desk), desk, now)
    _send_waiting_answers(session, ticket.number, same, desk, now)
    _give_to(session, ticket, requester, desk, now)
    ticket.state = "closed"


def _give_to(session: Session, ticket: Ticket, requester: Requester, desk: Desk, now: datetime) -> dict[str, Any]:
    """Make the ticket the customer's; what was claimed is not needed any more. What the agents' letter says of it."""
    ticket.requester = requester.registered_address
    ticket.customer_id = requester.customer.customer_id
    ticket.order_number = requester.order.number if requester.order else None
    ticket.snapshot = _snapshot(requester.customer, requester.order)
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


def _storable(case: Case) -> Case:
    """The case with texts that every database and mail program takes."""
    return replace(
        case,
        display_name=storable(case.display_name),
        topic_title=storable(case.topic_title),
        transcript=tuple(replace(line, text=storable(line.text)) for line in case.transcript),
        claimed_order=storable(case.claimed_order) if case.claimed_order else None,
        claimed_address=storable(case.claimed_address) if case.claimed_address else None,
        own_words=storable(case.own_words),
    )


def _handed_over(session: Session, case: Case) -> tuple[Ticket, bool] | None:
    """The ticket that has this very case already, and whether it joined it."""
    opened = session.scalar(select(Ticket).where(Ticket.sender_id == case.sender_id, Ticket.opening_key == case.key))
    if opened is not None:
        return opened, False
    joined = session.scalar(select(LetterOut.ticket_number).where(LetterOut.purpose == _joining(case)))
    return (find_ticket(session, joined), True) if joined is not None else None


def _joining(case: Case) -> str:
    return f"joined:{case.sender_id}:{case.key}"


def _same_case(session: Session, topic: str, requester: Requester | None) -> Ticket | None:
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


def _join(session: Session, ticket: Ticket, case: Case, files: Sequence[Attachment], desk: Desk, now: datetime) -> None:
    """Add what the ticket does not have yet, and tell the agents in its thread."""
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


def _new_ticket(session: Session, case: Case, requester: Requester | None, desk: Desk, now: datetime) -> Ticket:
    snapshot = _snapshot(requester.customer, requester.order) if requester else {}
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


def _snapshot(customer: Customer, order: Order | None) -> dict[str, Any]:
    """Order and customer as they are now: the agents must see what was true when the customer wrote."""
    kept = {name: _as_text(value) for name, value in asdict(order).items()} if order else None
    return {"customer": {"name": storable(customer.name), "language": customer.language}, "order": kept}


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


def _confirm(session: Session, ticket: Ticket, desk: Desk, now: datetime) -> None:
    """The first letter to the registered address. Nothing that was typed in the conversation goes into it."""
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


def _case_facts(
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
