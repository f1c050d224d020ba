"""What `support tickets --json` and `support letters --json` print."""

from __future__ import annotations

import json

from handoff_cases import NOW, a_case
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.mail.inbound import take_in
from handoff.models import Ticket
from handoff.reports import letters_as_json, tickets_as_json
from handoff.tickets import open_ticket


def test_tickets_have_the_names_that_others_rely_on(session: Session, desk: Desk, opened: Ticket) -> None:
    """An unverified ticket shows the claimed order and no requester."""
    open_ticket(session, a_case("2", claimed_order="999"), None, desk, NOW)

    first, second = map(json.loads, map(json.dumps, tickets_as_json(session)))

    assert first == {
        "number": 1001,
        "state": "open",
        "topic": "case/delay",
        "order": "GW-48213",
        "requester": "maria@example.com",
        "verified": False,
        "channel": "telegram",
        "opened_at": "2026-11-20T12:20:00+00:00",
    }
    assert (second["order"], second["requester"]) == ("999", None)


def test_letters_have_the_names_that_others_rely_on(session: Session, desk: Desk) -> None:
    """Every letter taken in is there, whatever became of it."""
    take_in(session, b"Message-ID: <1@x>\r\nFrom: A <a@example.com>\r\n\r\nHi\r\n", [], desk, NOW)

    (letter,) = map(json.loads, map(json.dumps, letters_as_json(session)))

    assert letter == {
        "message_id": "<1@x>",
        "received_at": "2026-11-20T12:20:00+00:00",
        "outcome": "quarantined",
        "reason": "belongs to no ticket: no reply address or letter of ours in it",
        "ticket": None,
        "author": "other",
        "from": "a@example.com",
        "text": "Hi",
        "attachments": 0,
    }
