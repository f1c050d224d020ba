"""What `support tickets --json` and `support letters --json` print; outside programs rely on these names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.models import LetterIn, Ticket


def tickets_as_json(session: Session) -> Iterator[dict[str, Any]]:
    """One object for each ticket, by number; moments in ISO 8601."""
    for ticket in session.scalars(select(Ticket).order_by(Ticket.number)):
        yield {
            "number": ticket.number,
            "state": ticket.state,
            "topic": ticket.topic,
            "order": ticket.shown_order,
            "requester": ticket.requester,
            "verified": ticket.verified,
            "channel": ticket.channel,
            "opened_at": ticket.opened_at.isoformat(),
        }


def letters_as_json(session: Session) -> Iterator[dict[str, Any]]:
    """One object for each letter taken in, in the order of arrival; moments in ISO 8601."""
    for letter in session.scalars(select(LetterIn).order_by(LetterIn.id)):
        yield {
            "message_id": letter.message_id,
            "received_at": letter.received_at.isoformat(),
            "outcome": letter.outcome,
            "reason": letter.reason,
            "ticket": letter.ticket_number,
            "author": letter.author,
            "from": letter.from_address,
            "text": letter.text,
            "attachments": letter.attachments,
        }
