"""Erases what is kept of one customer or one conversation in the tables of customers, tickets and letters.

Of a ticket stay its number, topic, state and times, for the statistics; nothing in them leads back to anybody.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, or_, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import Delete, Update

from handoff.identifiers import normalise_address
from handoff.letter_tickets import LETTER_TOPIC
from handoff.models import (
    Binding,
    BindingCode,
    Claim,
    CrmAddress,
    CrmCustomer,
    CrmOrder,
    Csat,
    LetterIn,
    LetterOut,
    Link,
    StoredFile,
    Ticket,
    TicketChat,
    TicketEntry,
    TypedAddress,
)

#: What a sender_id begins with; anything else that is to be erased is a customer of the CRM.
CHANNELS = frozenset({"telegram", "vk", "web", "console"})


@dataclass(frozen=True)
class Subject:
    """Whose data it is: `customer_id` is None for a conversation; `addresses` are spelled as letters went there."""

    customer_id: str | None
    sender_ids: frozenset[str]
    addresses: frozenset[str]


@dataclass
class Erased:
    """What was done: how many rows by kind, and the `names` of files that go from the disk after the commit."""

    counts: Counter[str] = field(default_factory=Counter)
    file_names: list[str] = field(default_factory=list)


def is_conversation(name: str) -> bool:
    """Whether this is a sender_id ("telegram:12345") and not a customer_id."""
    channel, colon, chat = name.partition(":")
    return bool(colon and chat) and channel in CHANNELS


def find_subject(session: Session, name: str) -> Subject:
    """All conversations and addresses of a customer, or one conversation.

    A customer's conversations are those bound to him, that used his links or that opened his tickets, but for those
    that he disputed: these are somebody else's.
    """
    if is_conversation(name):
        return Subject(None, frozenset({name}), frozenset())
    own = Ticket.customer_id == name
    senders = {
        *session.scalars(select(Ticket.sender_id).where(own, ~Ticket.disputed)),
        *session.scalars(select(TicketChat.sender_id).join(Ticket).where(own, ~Ticket.disputed)),
        *session.scalars(select(Binding.sender_id).where(Binding.customer_id == name)),
        *session.scalars(select(Link.used_by).where(Link.customer_id == name)),
    }
    addresses = {
        *session.scalars(select(CrmAddress.address).where(CrmAddress.customer_id == name)),
        *session.scalars(select(Ticket.requester).where(own)),
        *session.scalars(select(Binding.registered_address).where(Binding.customer_id == name)),
    }
    return Subject(name, frozenset(filter(is_conversation, filter(None, senders))), frozenset(filter(None, addresses)))


def erase_case_data(session: Session, subject: Subject, *, crm: bool) -> Erased:
    """Erase a subject's tickets, letters, photos, claims and bindings; with `crm` his rows in the embedded CRM too."""
    done = Erased()
    of_conversations = Ticket.sender_id.in_(subject.sender_ids)
    of_subject: ColumnElement[bool] = of_conversations
    if subject.customer_id is not None:
        # What another customer wrote from the same account stays his.
        of_subject = or_(Ticket.customer_id == subject.customer_id, of_conversations & Ticket.customer_id.is_(None))
    tickets = session.scalars(select(Ticket).where(of_subject).order_by(Ticket.number)).all()
    anonymise_tickets(session, tickets, done, senders=subject.sender_ids)
    _forget_chats(session, TicketChat.sender_id.in_(subject.sender_ids), done)
    _take_files(session, StoredFile.sender_id.in_(subject.sender_ids) & StoredFile.ticket_number.is_(None), done)
    _erase_letters(session, subject, done)
    _erase_identity(session, subject, done)
    if crm and subject.customer_id is not None:
        for table, name in ((CrmOrder, "orders in the CRM"), (CrmAddress, "addresses in the CRM")):
            counted(session, done, name, delete(table).where(table.customer_id == subject.customer_id))
        own = CrmCustomer.customer_id == subject.customer_id
        counted(session, done, "customers in the CRM", delete(CrmCustomer).where(own))
    return done


def anonymise_tickets(
    session: Session, tickets: Sequence[Ticket], done: Erased, *, senders: Collection[str] | None = None
) -> None:
    """Close tickets and take everything personal out of them, with their letters and photos.

    A disputed ticket keeps the conversation that it warns of, unless that is one of `senders`; None stands for all.
    """
    numbers = [ticket.number for ticket in tickets]
    if not numbers:
        return
    counted(session, done, "letters out", delete(LetterOut).where(LetterOut.ticket_number.in_(numbers)))
    counted(session, done, "codes", delete(BindingCode).where(BindingCode.ticket_number.in_(numbers)))
    blank_letters_in(session, LetterIn.ticket_number.in_(numbers), done)
    _forget_chats(session, TicketChat.ticket_number.in_(numbers), done)
    _take_files(session, StoredFile.ticket_number.in_(numbers), done)
    said = TicketEntry.ticket_number.in_(numbers), or_(TicketEntry.text != "", TicketEntry.source_key.is_not(None))
    counted(session, done, "ticket entries", update(TicketEntry).where(*said).values(text="", source_key=None))
    marked = Csat.ticket_number.in_(numbers), or_(Csat.words != "", Csat.key != "")
    counted(session, done, "words about a mark", update(Csat).where(*marked).values(words="", key=""))
    # An answer to it would open the ticket again and bring new words.
    asked = Csat.ticket_number.in_(numbers), Csat.mark.is_(None)
    counted(session, done, "questions for a mark", delete(Csat).where(*asked))
    for ticket in tickets:
        done.counts["tickets"] += ticket.opening_key != _erased(ticket)
        done.counts["tickets that were open"] += ticket.state == "open"
        ticket.state = "closed"
        ticket.display_name = ""
        ticket.customer_id = ticket.requester = ticket.order_number = None
        ticket.claimed_address = ticket.claimed_order = ticket.match_at = None
        ticket.snapshot = {}
        if ticket.topic == LETTER_TOPIC:  # its title is what the customer wrote into the subject
            ticket.topic_title = ""
        if senders is None or not ticket.disputed or ticket.sender_id in senders:
            ticket.sender_id, ticket.opening_key = f"{ticket.channel}:erased", _erased(ticket)
    session.flush()


def _forget_chats(session: Session, which: ColumnElement[bool], done: Erased) -> None:
    counted(session, done, "further chats of tickets", delete(TicketChat).where(which))


def blank_letters_in(session: Session, which: ColumnElement[bool], done: Erased) -> None:
    """Leave of letters that came in only when and what kind; their hash stays, or the mailbox would deliver them anew.

    Letters that waited in quarantine wait no longer.
    """
    outcome = case((LetterIn.outcome == "quarantined", "ignored"), else_=LetterIn.outcome)
    nothing: dict[str, Any] = {
        "raw": b"",
        "text": "",
        "from_address": "",
        "recipients": [],
        "message_id": None,
        "reason": "erased",
    }
    counted(
        session,
        done,
        "letters in",
        update(LetterIn).where(which, LetterIn.reason != "erased").values(outcome=outcome, **nothing),
    )


def counted(session: Session, done: Erased, name: str, statement: Delete | Update) -> int:
    """Run a statement and add the rows that it touched to what was done."""
    result = session.execute(statement.execution_options(synchronize_session=False))
    rows = result.rowcount if isinstance(result, CursorResult) else 0
    done.counts[name] += rows
    return rows


def is_erased() -> ColumnElement[bool]:
    """The tickets out of which everything personal has been taken."""
    return Ticket.opening_key.startswith("erased:")


def _erased(ticket: Ticket) -> str:
    return f"erased:{ticket.number}"


def _take_files(session: Session, which: ColumnElement[bool], done: Erased) -> None:
    done.file_names += session.scalars(select(StoredFile.name).where(which)).all()
    counted(session, done, "photos and files", delete(StoredFile).where(which))


def _erase_letters(session: Session, subject: Subject, done: Erased) -> None:
    """Letters about a messenger account, and those that came from the subject's addresses but belong to no ticket."""
    bindings = session.scalars(select(Binding.id).where(Binding.sender_id.in_(subject.sender_ids))).all()
    notices = LetterOut.ticket_number.is_(None) & or_(
        LetterOut.to_address.in_(subject.addresses), LetterOut.purpose.in_([f"linked:{number}" for number in bindings])
    )
    counted(session, done, "letters out", delete(LetterOut).where(notices))
    written = LetterIn.ticket_number.is_(None) & func.lower(LetterIn.from_address).in_(_lower(subject.addresses))
    blank_letters_in(session, written, done)


def _erase_identity(session: Session, subject: Subject, done: Erased) -> None:
    """What tells who somebody is: claims, typed addresses, links and bindings."""
    senders, customer = subject.sender_ids, subject.customer_id
    hashes = [hashlib.sha256(normalise_address(address).encode()).hexdigest() for address in subject.addresses]
    typed = or_(TypedAddress.sender_id.in_(senders), func.lower(TypedAddress.address).in_(_lower(subject.addresses)))
    of_customer = Link.customer_id == customer, Binding.customer_id == customer
    counted(
        session, done, "claims", delete(Claim).where(or_(Claim.sender_id.in_(senders), Claim.address_hash.in_(hashes)))
    )
    counted(session, done, "codes", delete(BindingCode).where(BindingCode.sender_id.in_(senders)))
    counted(session, done, "typed addresses", delete(TypedAddress).where(typed))
    counted(session, done, "personal links", delete(Link).where(or_(Link.used_by.in_(senders), of_customer[0])))
    counted(session, done, "bindings", delete(Binding).where(or_(Binding.sender_id.in_(senders), of_customer[1])))


def _lower(addresses: Collection[str]) -> list[str]:
    return [address.lower() for address in addresses]
