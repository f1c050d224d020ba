"""What letters do to their tickets: an agent's answer goes to the customer, the customer's reply to the agents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from email.message import Message
from email.utils import parseaddr
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.entries import add_entry
from handoff.mail.addresses import without_reply_addresses
from handoff.mail.compose import MAX_NAME_LENGTH, Attachment, moment, one_line
from handoff.mail.posting import post_letter
from handoff.mail.reading import ReadLetter, header, parse
from handoff.marks import ask_for_mark
from handoff.models import LetterIn, LetterOut, Ticket
from handoff.promises import promise_text

#: An agent writes this on the first or the last line to close a ticket; programs set the header to "yes".
CLOSE_COMMAND = "/close"
CLOSE_HEADER = "X-Handoff-Close"

#: An answer this much older than another was there to be read, even if that one answers a letter from before it.
CROSSING = timedelta(hours=24)

#: Ids that a letter refers to; mail programs keep a few dozen.
MOST_REFERENCES = 100


def without_command(read: ReadLetter) -> tuple[bool, str]:
    """Whether an agent's letter closes its ticket, and its text without the line that says so."""
    lines = read.text.strip().split("\n")
    closes = header(read.message, CLOSE_HEADER).lower() == "yes"
    for place in (0, -1):
        if lines and lines[place].strip().lower() == CLOSE_COMMAND:
            del lines[place]
            closes = True
    return closes, "\n".join(lines).strip()


def file_agent_letter(
    session: Session, ticket: Ticket, letter: LetterIn, read: ReadLetter, desk: Desk, now: datetime
) -> None:
    """An agent's answer goes on to the registered address under the agent's name in this ticket.

    The other agents read it in their thread, since it came to us alone. It may close the ticket.
    """
    closes, text = without_command(read)
    text = without_reply_addresses(text, desk.support_address)
    # A forwarded letter would carry our own letters, with what only agents may read, to the customer.
    files = [file for file in read.attachments if not file.media_type.startswith("message/")]
    answers = bool(text) or (bool(files) and not closes)
    if answers:
        _answer(session, ticket, letter, text, files, desk, now)
    closes = closes and ticket.state == "open"
    if closes:
        ticket.state = "closed"
        add_entry(session, ticket, "agent", "note", "closed", now, letter, f"closed:{letter.id}")
    if answers or closes:
        _tell_the_other_agents(session, ticket, letter, read, text, len(files) if answers else 0, desk, now)
    if closes:
        ask_for_mark(session, ticket, desk, now)


def file_customer_letter(
    session: Session,
    ticket: Ticket,
    letter: LetterIn,
    read: ReadLetter,
    desk: Desk,
    now: datetime,
    *,
    proves_mailbox: bool = True,
) -> None:
    """The customer's letter: it reopens the ticket, tells the agents, and may prove that the mailbox is his."""
    reopened = ticket.state == "closed"
    ticket.verified = ticket.verified or proves_mailbox
    ticket.state = "open"
    if reopened:
        add_entry(session, ticket, "system", "note", "reopened", now, letter, f"reopened:{letter.id}")
    add_entry(session, ticket, "customer", "letter", letter.text, now, letter, f"letter:{letter.id}")
    text = without_reply_addresses(letter.text, desk.support_address)
    post_letter(
        session,
        ticket,
        desk,
        "agents",
        "customer_reply",
        f"customer:{ticket.number}:{letter.id}",
        {
            "text": text,
            "promised": promise_text(ticket, desk, now, desk.shop.language),
            "reopened": reopened,
            "proven": proves_mailbox,
        },
        now,
        read.attachments,
    )


def _answer(
    session: Session,
    ticket: Ticket,
    letter: LetterIn,
    text: str,
    files: Sequence[Attachment],
    desk: Desk,
    now: datetime,
) -> None:
    add_entry(session, ticket, "agent", "letter", text, now, letter, f"letter:{letter.id}")
    post_letter(
        session,
        ticket,
        desk,
        "customer",
        "answer",
        f"answer:{ticket.number}:{letter.id}",
        {"text": text},
        now,
        files,
        automatic=False,
    )
    ticket.first_answer_at = ticket.first_answer_at or now
    if not ticket.disputed:
        desk.notices.announce(session, ticket, "answer_sent", now)


def _tell_the_other_agents(
    session: Session,
    ticket: Ticket,
    letter: LetterIn,
    read: ReadLetter,
    text: str,
    files: int,
    desk: Desk,
    now: datetime,
) -> None:
    """The answer, and what the ticket is now, in the agents' thread; one that crossed another's comes with that one.

    Another desk shows its agents what it sent, and would take our note for the customer's words.
    """
    if desk.mode.name == "external":
        return
    answered = bool(text) or files > 0
    other = _unseen(session, ticket, letter, read) if answered else None
    facts: dict[str, Any] = {
        "who": _name(read.message),
        "text": text,
        "files": files,
        "closed": ticket.state == "closed",
        "crossed": _crossed(other, ticket, desk) if other else None,
        "urgent": "",
    }
    purpose = _note_of(letter, ticket) if answered else f"closed:{ticket.number}:{letter.id}"
    post_letter(session, ticket, desk, "agents", "answered", purpose, facts, now)


def _note_of(letter: LetterIn, ticket: Ticket) -> str:
    """The purpose of the letter that shows an agent's answer to the others."""
    return f"answered:{ticket.number}:{letter.id}"


def _unseen(session: Session, ticket: Ticket, letter: LetterIn, read: ReadLetter) -> LetterIn | None:
    """The latest answer of another agent, if the writer of this one cannot have read it.

    A letter refers to what its writer had before him. If that ends before our note of the other answer, the two have
    crossed, however long each was on its way. One name at one address is one agent: he knows what he wrote.
    """
    referred = LetterOut.message_id.in_(read.references[:MOST_REFERENCES])
    known = select(func.max(LetterOut.id)).where(LetterOut.ticket_number == ticket.number, referred)
    last_read = session.scalar(known) or 0
    others = session.scalars(
        select(LetterIn)
        .where(LetterIn.ticket_number == ticket.number, LetterIn.author == "agent", LetterIn.outcome == "threaded")
        .where(LetterIn.id != letter.id, LetterIn.received_at >= letter.received_at - CROSSING)
        .order_by(LetterIn.id.desc())
    )
    for other in others:
        note = session.scalar(select(LetterOut.id).where(LetterOut.purpose == _note_of(other, ticket)))
        if note is not None and _writer(parse(other.raw)) != _writer(read.message):
            return other if note > last_read else None
    return None


def _crossed(other: LetterIn, ticket: Ticket, desk: Desk) -> dict[str, str]:
    return {
        "who": _name(parse(other.raw)),
        "text": without_reply_addresses(other.text, desk.support_address),
        "at": moment(desk, other.received_at, desk.shop.language),
    }


def _name(message: Message) -> str:
    """What the writer calls himself, else the first part of his address."""
    name, address = _writer(message)
    return one_line(name, MAX_NAME_LENGTH) or one_line(address.partition("@")[0], MAX_NAME_LENGTH)


def _writer(message: Message) -> tuple[str, str]:
    name, address = parseaddr(header(message, "From"))
    return name, address.casefold()
