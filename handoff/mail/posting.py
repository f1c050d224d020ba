"""Writes letters into the outbox, each into its thread and each purpose once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.mail.compose import Attachment, Draft, compose, compose_notice, split_attachments
from handoff.models import Audience, LetterIn, LetterOut, Ticket


def post_letter(
    session: Session,
    ticket: Ticket,
    desk: Desk,
    audience: Audience,
    template: str,
    purpose: str,
    facts: dict[str, Any],
    now: datetime,
    files: Sequence[Attachment] = (),
    automatic: bool = True,
    to_address: str | None = None,
) -> None:
    """Write a letter into the outbox, in the ticket's thread with this audience; once for each purpose.

    It goes to the registered address or to the agents; `to_address` is a manager who reads what agents read.
    """
    if _is_posted(session, purpose):
        return
    to_address = ticket.requester if audience == "customer" else to_address or desk.agents_address
    if to_address is None:
        raise AssertionError(f"ticket {ticket.number} has nobody to write to")
    attached, left_out = split_attachments(files)
    draft = Draft(
        purpose=purpose,
        audience=audience,
        template=template,
        to_address=to_address,
        facts={**facts, "attached": [file.name for file in attached], "left_out": left_out},
        thread=_thread(session, ticket, audience),
        attachments=attached,
        automatic=automatic,
    )
    _post(session, draft, compose(desk, ticket, draft, now), ticket.number, now)


def post_notice(
    session: Session,
    desk: Desk,
    language: str,
    to_address: str,
    template: str,
    purpose: str,
    facts: dict[str, Any],
    now: datetime,
) -> None:
    """Write an automatic letter to a customer, about no ticket, into the outbox; once for each purpose."""
    if not _is_posted(session, purpose):
        draft = Draft(purpose, "customer", template, to_address, facts)
        _post(session, draft, compose_notice(desk, language, draft, now), None, now)


def _is_posted(session: Session, purpose: str) -> bool:
    return session.scalar(select(LetterOut.id).where(LetterOut.purpose == purpose)) is not None


def _post(session: Session, draft: Draft, letter: EmailMessage, ticket_number: int | None, now: datetime) -> None:
    session.add(
        LetterOut(
            purpose=draft.purpose,
            ticket_number=ticket_number,
            audience=draft.audience,
            message_id=str(letter["Message-ID"]),
            to_address=draft.to_address,
            template=draft.template,
            raw=letter.as_bytes(),
            not_before=now,
            created_at=now,
        )
    )
    session.flush()


def _thread(session: Session, ticket: Ticket, audience: Audience) -> list[str]:
    """Message-IDs of what this audience has had from us and written to us, oldest first.

    The two sides of a ticket are two threads; what one side's programs write never shows up in the other's headers.
    """
    author = "agent" if audience == "agents" else "customer"
    sent = session.execute(
        select(LetterOut.created_at, LetterOut.message_id)
        .where(LetterOut.ticket_number == ticket.number, LetterOut.audience == audience)
        .order_by(LetterOut.id)
    ).all()
    received = session.execute(
        select(LetterIn.received_at, LetterIn.message_id)
        .where(LetterIn.ticket_number == ticket.number, LetterIn.author == author)
        .where(LetterIn.outcome.in_(("threaded", "new")))
        .order_by(LetterIn.id)
    ).all()
    # Of the same moment, the letter that came in is the cause of ours.
    return [name for _, name in sorted([*received, *sent], key=lambda row: row[0]) if name]
