"""Tickets that a customer's own letter opens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.case import Case, Line
from handoff.crm.sql import find_customer
from handoff.desk import Desk
from handoff.entries import add_entry
from handoff.identifiers import normalise_address
from handoff.identity import Requester
from handoff.mail.addresses import without_reply_addresses
from handoff.mail.posting import post_letter
from handoff.mail.reading import ReadLetter, header
from handoff.models import LetterIn, Ticket
from handoff.promises import promise_text
from handoff.tickets import case_facts, new_ticket
from handoff.words import words

#: Such a ticket's channel, its topic, and how much of the letter's subject its title keeps.
LETTER_CHANNEL = "email"
LETTER_TOPIC = "letter"
SUBJECT_LENGTH = 100


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
    ticket = new_ticket(session, case, Requester(customer, None, normalise_address(read.from_address)), desk, now)
    ticket.verified = True
    # Before any letter is written: the customer's is the beginning of the thread.
    letter.ticket_number = ticket.number
    add_entry(session, ticket, "customer", "letter", letter.text, now, letter, f"letter:{letter.id}")
    facts = case_facts(session, ticket, case, desk, now, read.attachments)
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
