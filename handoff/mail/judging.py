"""Which ticket a person's letter belongs to, and who has written it; whatever cannot be told waits for a person.

The rules and their reasons: docs/decisions/0005-signed-reply-addresses.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.identifiers import normalise_address
from handoff.letter_tickets import open_letter_ticket
from handoff.letters_filed import without_command
from handoff.mail.addresses import read_reply_address
from handoff.mail.authentication import Authenticity, authenticate
from handoff.mail.reading import ReadLetter, header
from handoff.models import Audience, CrmAddress, LetterOut, Outcome, Ticket

#: How subjects of our letters name their ticket.
SUBJECT_NUMBER = re.compile(r"\[#(\d{1,9})\]")

#: Why a letter that was believed for its signed address alone proves nothing about its sender.
NOT_AUTHENTICATED = "not authenticated"


@dataclass(frozen=True)
class Filing:
    """What becomes of a letter; a "new" one opens a ticket of `customer_id`."""

    outcome: Outcome
    reason: str = ""
    ticket: Ticket | None = None
    author: Literal["customer", "agent", "other"] | None = None
    customer_id: str = ""


def judge(session: Session, read: ReadLetter, recipients: list[str], desk: Desk) -> Filing:
    """Which ticket a person's letter belongs to, and who has written it."""
    authentic = authenticate(read.message, read.from_address, desk.auth_results_id)
    filing = _whose(session, read, recipients, desk, authentic)
    if authentic == "fail":
        # Never the agent of a ticket: `support assign` sends on what its agents wrote.
        return replace(filing, outcome="quarantined", reason="forged: the sender's domain disowns it", author="other")
    if authentic == "none" and filing.outcome == "threaded":
        return replace(filing, reason=NOT_AUTHENTICATED)
    return filing


def _whose(session: Session, read: ReadLetter, recipients: list[str], desk: Desk, authentic: Authenticity) -> Filing:
    """The same, the sender believed as far as `authentic` goes."""
    signed = _signed(desk, [*recipients, *read.recipients])
    ticket = session.get(Ticket, signed[0]) if signed else None
    if signed and ticket is not None:
        return _of_agent(ticket, read) if signed[1] == "agents" else _of_customer(ticket, read)
    answered = _answered(session, read)
    if answered is None:
        return _of_nobody(session, read, authentic)
    ticket = session.get(Ticket, answered.ticket_number) if answered.ticket_number else None
    if ticket is None:
        return Filing("quarantined", "answers a notice about a messenger account", author="other")
    if answered.audience == "customer":
        if authentic == "none":
            # An id travels further than a reply address: it is in the letters of whoever was written to in copy.
            return Filing("quarantined", "not authenticated, and without the reply address", ticket, "other")
        return _of_customer(ticket, read)
    # An agent's name is given only to whoever uses the address that was given to the agents.
    return Filing("quarantined", "answers a letter to the agents without its reply address", ticket, "other")


def _of_nobody(session: Session, read: ReadLetter, authentic: Authenticity) -> Filing:
    """A letter that is no answer of ours: a customer's own, if his mail server stands for him."""
    if authentic == "pass":
        named = SUBJECT_NUMBER.search(header(read.message, "Subject"))
        ticket = session.get(Ticket, int(named[1])) if named else None
        if ticket is not None and _is_of_requester(ticket, read):
            return Filing("threaded", "", ticket, "customer")
        registered = session.get(CrmAddress, normalise_address(read.from_address))
        if registered is not None:
            ticket = open_letter_ticket(session, registered.customer_id)
            if ticket is not None and _is_of_requester(ticket, read):
                return Filing("threaded", "", ticket, "customer")
            return Filing("new", author="customer", customer_id=registered.customer_id)
    return Filing("quarantined", "belongs to no ticket: no reply address or letter of ours in it", author="other")


def _of_agent(ticket: Ticket, read: ReadLetter) -> Filing:
    closes, text = without_command(read)
    if not text and not closes and all(file.media_type.startswith("message/") for file in read.attachments):
        return Filing("quarantined", "nothing in it but the quoted letter", ticket, "agent")
    if ticket.requester is None and (text or not closes):
        reason = f"ticket has no registered address; support assign {ticket.number} sends it"
        return Filing("quarantined", reason, ticket, "agent")
    return Filing("threaded", "", ticket, "agent")


def _of_customer(ticket: Ticket, read: ReadLetter) -> Filing:
    if not _is_of_requester(ticket, read):
        return Filing("quarantined", "not from the ticket's registered address", ticket, "other")
    return Filing("threaded", "", ticket, "customer")


def _is_of_requester(ticket: Ticket, read: ReadLetter) -> bool:
    """Whether the letter says that it is from the ticket's registered address."""
    return ticket.requester is not None and normalise_address(read.from_address) == normalise_address(ticket.requester)


def _signed(desk: Desk, candidates: Iterable[str]) -> tuple[int, Audience] | None:
    """The first of the addresses that we signed."""
    return next(filter(None, (read_reply_address(desk.signing_key, address) for address in candidates)), None)


def _answered(session: Session, read: ReadLetter) -> LetterOut | None:
    """The newest of our letters that this one answers."""
    for name in read.references:
        sent = session.scalar(select(LetterOut).where(LetterOut.message_id == name))
        if sent is not None:
            return sent
    return None
