"""A letter that came back: agents hear of it, and the chat is asked for another address without hearing the old one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from handoff_cases import NOW, RecordedNotices, a_case, body, letters, maria
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.stuck import retry, stuck_lines
from handoff.bounces import take_other_address
from handoff.case import Opened
from handoff.desk import Desk
from handoff.identity import keep_address
from handoff.mail.inbound import take_in
from handoff.models import LetterOut, Ticket
from handoff.ownership import dispute_ticket
from handoff.tickets import open_ticket

LATER = NOW + timedelta(minutes=30)


@pytest.fixture
def bounce(session: Session, desk: Desk) -> Callable[..., None]:
    """A delivery report about the newest letter to the customer, or to the agents."""
    reports = iter(range(1000))

    def send(status: str = "5.1.1", audience: str = "customer", at: datetime = LATER, action: str = "failed") -> None:
        name = letters(session, audience)[-1]["Message-ID"]
        report = f"""From: MAILER-DAEMON@mail.example
To: support@jeans.example
Message-ID: <report-{next(reports)}@mail.example>
Subject: Undelivered Mail
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

Sorry.
--b
Content-Type: message/delivery-status

Final-Recipient: rfc822; maria@example.com
Action: {action}
Status: {status}
Diagnostic-Code: smtp; 550 {status} user unknown

--b
Content-Type: text/rfc822-headers

Message-ID: {name}
--b--
"""
        assert take_in(session, report.replace("\n", "\r\n").encode(), [], desk, at).outcome == "bounce"

    return send


def test_the_chat_is_asked_for_help_once_and_the_agents_know_that(session, opened, bounce, notices) -> None:
    """Whatever comes back later is the same mailbox."""
    bounce()
    bounce()

    assert notices.announced == [(opened.number, "letter_bounced")]
    first, again = letters(session, "agents")[1:]
    assert "В чате мы спросили, нет ли на заказах другого адреса" in body(first)
    assert "В чате мы спросили" not in body(again)


@pytest.mark.parametrize("why", ["for now", "disputed", "blocked", "to the agents"])
def test_the_chat_is_not_asked(session, desk, opened, bounce, notices: RecordedNotices, why: str) -> None:
    """A full mailbox empties itself; a stranger is not asked for addresses; what agents do not get is no customer's."""
    if why == "disputed":
        dispute_ticket(session, opened.number, desk, NOW)
    if why == "blocked":
        notices.blocked.add(opened.sender_id)

    bounce("4.2.2" if why == "for now" else "5.1.1", "agents" if why == "to the agents" else "customer")

    assert (opened.number, "letter_bounced") not in notices.announced


@pytest.mark.parametrize(
    ("status", "action", "state"),
    [("5.1.1", "failed", "stuck"), ("4.4.7", "failed", "stuck"), ("4.4.1", "delayed", "sent")],
)
def test_what_the_agents_did_not_get_waits_for_an_operator(
    session: Session, opened: Opened, bounce, status: str, action: str, state: str
) -> None:
    """Nobody else would know that nobody has read of the case; a server that goes on trying is let try."""
    to_agents = session.scalars(select(LetterOut).where(LetterOut.audience == "agents")).one()
    to_agents.state = "sent"

    bounce(status, "agents", action=action)

    assert to_agents.state == state
    stuck = [f"letter {to_agents.id}, ticket {opened.number}: came back: 550 {status} user unknown"]
    assert list(stuck_lines(session)) == (stuck if state == "stuck" else [])

    if state == "stuck":
        retry(session, "letter", to_agents.id, LATER)
        bounce(status, "agents", action=action)
        assert to_agents.state == "waiting", "a report about the first attempt must not stop the second"


def test_another_address_goes_to_the_agents_and_nowhere_else(session, desk, opened, bounce) -> None:
    """It is a claim: the agents compare it with the CRM, nothing is mailed to what was typed."""
    bounce()
    opened.state = "closed"
    reference = keep_address(session, opened.sender_id, "masha@new.example", LATER)

    for _ in range(2):
        taken = take_other_address(session, opened.sender_id, reference, "m1", desk, LATER)
        assert taken is opened

    assert opened.state == "open"
    assert opened.requester == "maria@example.com"
    assert body(letters(session, "agents")[-1]).count("masha@new.example") == 1
    assert len(letters(session, "agents")) == 3
    addresses = set(session.scalars(select(LetterOut.to_address)))
    assert addresses == {"agents@jeans.example", "maria@example.com"}


def test_an_address_that_nobody_asked_for_is_left_alone(session, desk, opened, bounce) -> None:
    """Of another chat, long after the question, or without any letter that came back."""
    reference = keep_address(session, opened.sender_id, "masha@new.example", LATER)
    assert take_other_address(session, opened.sender_id, reference, "m1", desk, LATER) is None

    bounce()
    elsewhere = keep_address(session, "vk:9", "masha@new.example", LATER)
    assert take_other_address(session, "vk:9", elsewhere, "m2", desk, LATER) is None
    assert take_other_address(session, opened.sender_id, elsewhere, "m3", desk, LATER) is None
    weeks_later = LATER + timedelta(days=8)
    assert take_other_address(session, opened.sender_id, reference, "m4", desk, weeks_later) is None


@pytest.mark.parametrize("agents_language", ["en"])
def test_a_bounce_is_told_in_the_shops_language(session: Session, desk: Desk, bounce) -> None:
    """As every letter to the agents."""
    open_ticket(session, a_case(language="en"), maria(), desk, NOW)
    bounce()

    assert "In the chat we have asked for another address" in body(letters(session, "agents")[-1])
    assert session.get_one(Ticket, 1001).state == "open"
