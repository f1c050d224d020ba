"""What a person does with letters that nobody could place."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from handoff_cases import NOW, a_case, body, letters
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.entries import UnknownTicket
from handoff.mail.inbound import MAX_LETTER_BYTES, take_in
from handoff.mail.queue import NotPlaceable, dismiss_letter, place_letter, quarantined
from handoff.models import LetterIn, Ticket
from handoff.tickets import open_ticket

LATER = NOW + timedelta(minutes=30)


@pytest.fixture
def stray(session: Session, desk: Desk) -> Callable[..., LetterIn]:
    """A letter that belongs nowhere."""

    def take(raw: bytes = b"Message-ID: <1@x>\r\nFrom: Maria <m@elsewhere.example>\r\n\r\nIt is me\r\n") -> LetterIn:
        letter = take_in(session, raw, [], desk, LATER)
        assert letter.outcome == "quarantined"
        return letter

    return take


def test_a_customers_letter_is_filed_and_told_to_the_agents(
    session: Session, desk: Desk, opened: Ticket, stray
) -> None:
    """An operator knows who wrote it; that the mailbox is the registered one, it still does not prove."""
    letter = stray()
    reason = letter.reason

    place_letter(session, letter.id, opened.number, "customer", desk, LATER)

    assert (letter.outcome, letter.ticket_number, letter.author) == ("threaded", opened.number, "customer")
    assert letter.reason == f"placed by an operator; before: {reason}"
    passed_on = letters(session, "agents")[-1]
    assert "It is me" in body(passed_on)
    assert (passed_on["X-Handoff-Verified"], opened.verified) == ("no", False)
    assert quarantined(session) == []


def test_an_agents_letter_is_filed_and_sent_to_the_customer(
    session: Session, desk: Desk, opened: Ticket, stray
) -> None:
    """As if it had come to the signed address."""
    place_letter(session, stray().id, opened.number, "agent", desk, LATER)

    answer = letters(session, "customer")[-1]
    assert (answer["To"], answer["Auto-Submitted"]) == ("maria@example.com", None)
    assert "It is me" in body(answer)


def test_a_placed_letter_cannot_be_placed_again(session: Session, desk: Desk, opened: Ticket, stray) -> None:
    """Two operators, one answer."""
    letter = stray()
    place_letter(session, letter.id, opened.number, "agent", desk, LATER)

    with pytest.raises(NotPlaceable, match="not in the queue"):
        place_letter(session, letter.id, opened.number, "agent", desk, LATER)
    with pytest.raises(NotPlaceable, match="not in the queue"):
        dismiss_letter(session, letter.id)
    assert len(letters(session, "customer")) == 2


def test_what_cannot_be_placed_says_why(session: Session, desk: Desk, opened: Ticket, stray) -> None:
    """An operator must know what to do instead."""
    large = take_in(session, b"From: a@b.example\r\n\r\n" + b"x" * MAX_LETTER_BYTES, [], desk, LATER)
    broken = stray(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 500)
    empty = stray(b"Message-ID: <2@x>\r\nFrom: a@b.example\r\n\r\n")
    fine = stray()
    unverified = open_ticket(session, a_case("2"), None, desk, NOW).number

    for letter, reason in ((large, "beginning"), (broken, "cannot be read"), (empty, "nothing")):
        with pytest.raises(NotPlaceable, match=reason):
            place_letter(session, letter.id, opened.number, "customer", desk, LATER)
    with pytest.raises(NotPlaceable, match=re.escape(f"support assign {unverified}")):
        place_letter(session, fine.id, unverified, "agent", desk, LATER)
    with pytest.raises(UnknownTicket):
        place_letter(session, fine.id, 4711, "agent", desk, LATER)
    assert len(quarantined(session)) == 4


def test_a_dismissed_letter_leaves_the_queue_and_stays(session: Session, desk: Desk, stray) -> None:
    """With the reason why it waited."""
    letter = stray()

    dismiss_letter(session, letter.id)

    assert quarantined(session) == []
    assert (letter.outcome, letter.reason[:32]) == ("ignored", "dismissed by an operator; before")
