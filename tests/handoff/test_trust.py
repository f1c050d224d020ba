"""How far a letter is believed when our mail server has checked its sender (AUTH_RESULTS_ID)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from email import policy
from email.message import EmailMessage

import pytest
from handoff_cases import NOW, PNG, a_case, body, fill_crm, letters, maria
from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.mail.inbound import take_in
from handoff.models import LetterIn, LetterOut, Ticket
from handoff.ownership import assign_requester
from handoff.tickets import open_ticket

LATER = NOW + timedelta(minutes=30)
PASS = "mx.jeans.example; dmarc=pass header.from=example.com"
FAIL = "mx.jeans.example; dmarc=fail header.from=example.com"


@pytest.fixture
def desk(desk: Desk) -> Desk:
    return replace(desk, auth_results_id="mx.jeans.example")


@pytest.fixture
def arrive(session: Session, desk: Desk) -> Callable[..., LetterIn]:
    """Take in a letter made from its sender, what the server found about him, and its text."""
    count = 0

    def take(
        sender: str, found: str | None, text: str = "Спасибо!", file: bytes | None = None, **headers: str
    ) -> LetterIn:
        nonlocal count
        count += 1
        letter = EmailMessage(policy=policy.SMTP)
        if found:
            letter["Authentication-Results"] = found
        headers = {"to": "support@jeans.example", "message_id": f"<{count}@mail.example>"} | headers
        letter["From"] = sender
        for name, value in headers.items():
            letter[name.replace("_", "-").title()] = value
        letter.set_content(text)
        if file:
            letter.add_attachment(file, maintype="image", subtype="png", filename="a.png")
        return take_in(session, letter.as_bytes(), [], desk, LATER)

    return take


def test_a_forged_letter_is_quarantined_whatever_it_knows(session: Session, opened: Ticket, reply_to, arrive) -> None:
    """Also with the signed address: it may have been read over a shoulder."""
    customer = arrive("maria@example.com", FAIL, to=reply_to("customer"))
    agent = arrive("olga@example.com", FAIL, "Верните деньги", to=reply_to("agents"))

    for letter in (customer, agent):
        assert (letter.outcome, letter.ticket_number, letter.author) == ("quarantined", opened.number, "other")
        assert letter.reason.startswith("forged")
    assert not opened.verified
    assert len(letters(session)) == 2


def test_a_forged_agent_is_not_sent_on_when_the_ticket_is_assigned(session: Session, desk: Desk, arrive) -> None:
    """What agents wrote to an unverified ticket waits for its requester; what others wrote does not."""
    fill_crm(session)
    open_ticket(session, a_case(), None, desk, NOW)
    address = str(letters(session, "agents")[0]["Reply-To"])
    arrive("olga@example.com", FAIL, "Пришлите номер карты", to=address)

    assign_requester(session, 1001, maria().customer, None, desk, LATER)

    assert [row.template for row in session.scalars(select(LetterOut).where(LetterOut.audience == "customer"))] == [
        "confirmation"
    ]


def test_an_authentic_answer_proves_the_mailbox(opened: Ticket, reply_to, arrive) -> None:
    """Signed address and mail server say the same."""
    letter = arrive("maria@example.com", PASS, to=reply_to("customer"))

    assert (letter.outcome, letter.reason, opened.verified) == ("threaded", "", True)


@pytest.mark.parametrize("found", [None, "mx.jeans.example; none", "i=1; mx.jeans.example; dmarc=pass"])
def test_an_answer_that_nobody_checked_is_passed_on_and_proves_nothing(
    session: Session, opened: Ticket, reply_to, arrive, found: str | None
) -> None:
    """The signed address was in a letter to him; it is no leave to move money, and the agents are told."""
    letter = arrive("maria@example.com", found, "Отмените заказ", to=reply_to("customer"))

    assert (letter.outcome, letter.author, letter.reason) == ("threaded", "customer", "not authenticated")
    assert not opened.verified
    passed_on = letters(session, "agents")[-1]
    assert passed_on["X-Handoff-Verified"] == "no"
    assert "не подтвердил" in body(passed_on)
    assert "не подтвердил" in body(passed_on, "html")


def test_an_agent_whom_nobody_checked_is_believed_for_the_signed_address(opened: Ticket, reply_to, arrive) -> None:
    """It was given to the agents alone; shops whose own server signs nothing must be able to answer."""
    letter = arrive("olga@jeans.example", None, to=reply_to("agents"))

    assert (letter.outcome, letter.author, letter.reason) == ("threaded", "agent", "not authenticated")


def test_without_the_reply_address_only_an_authentic_letter_is_threaded(
    session: Session, opened: Ticket, arrive
) -> None:
    """Ids of letters travel further than reply addresses."""
    name = letters(session, "customer")[0]["Message-ID"]

    unchecked = arrive("maria@example.com", None, in_reply_to=name)
    authentic = arrive("maria@example.com", PASS, in_reply_to=name)

    assert (unchecked.outcome, unchecked.ticket_number) == ("quarantined", opened.number)
    assert (authentic.outcome, authentic.ticket_number) == ("threaded", opened.number)


@pytest.mark.parametrize(
    ("sender", "found", "outcome", "ticket"),
    [
        ("maria@example.com", PASS, "threaded", 1001),
        ("maria@example.com", None, "quarantined", None),
        ("maria@example.com", FAIL, "quarantined", None),
        ("peter@example.com", PASS, "quarantined", None),
    ],
)
def test_the_number_in_a_subject_counts_for_the_owner_alone(
    opened: Ticket, arrive, sender: str, found: str | None, outcome: str, ticket: int | None
) -> None:
    """And only if the mail server stands for him: numbers are easily guessed."""
    letter = arrive(sender, found, subject="Ответ: [#1001] Задержка заказа")

    assert (letter.outcome, letter.ticket_number) == (outcome, ticket)


def test_a_customers_own_letter_opens_a_ticket(session: Session, arrive) -> None:
    """Authentic and from a registered address: nobody's letter waits unread."""
    fill_crm(session)

    letter = arrive(
        "Мария <maria@example.com>", PASS, "Джинсы малы, что делать?", PNG, subject="Малы в поясе", message_id="<q@x>"
    )

    ticket = session.scalars(select(Ticket)).one()
    assert (letter.outcome, letter.author, letter.ticket_number) == ("new", "customer", ticket.number)
    assert (ticket.requester, ticket.verified, ticket.channel) == ("maria@example.com", True, "email")
    (to_agents,) = letters(session, "agents")
    assert to_agents["Subject"] == "[#1001] Малы в поясе"
    assert (to_agents["X-Handoff-Verified"], to_agents["X-Handoff-Channel"]) == ("yes", "email")
    assert "Джинсы малы, что делать?" in body(to_agents)
    assert [part.get_content() for part in to_agents.iter_attachments()] == [PNG]
    (to_customer,) = letters(session, "customer")
    assert (to_customer["In-Reply-To"], to_customer["Auto-Submitted"]) == ("<q@x>", "auto-generated")
    assert "это были не вы" not in body(to_customer).lower()

    answer = arrive("olga@example.com", PASS, "Поменяем бесплатно.", to=str(to_agents["Reply-To"]))
    assert answer.outcome == "threaded"
    sent = letters(session, "customer")[-1]
    assert sent["References"] == f"<q@x> {to_customer['Message-ID']}"


def test_his_next_letter_belongs_to_the_ticket_that_is_open(session: Session, arrive) -> None:
    """Five letters in a row are one case for the agents and one confirmation for him."""
    fill_crm(session)
    arrive("maria@example.com", PASS, "Где заказ?", subject="")

    again = arrive("maria@example.com", PASS, "Ау!", subject="Ещё раз")
    other = arrive("m.kovaleva@example.org", PASS.replace(".com", ".org"), "С другой почты")

    assert (again.outcome, again.ticket_number) == ("threaded", 1001)
    assert (other.outcome, other.ticket_number) == ("new", 1002)
    assert letters(session, "agents")[0]["Subject"] == "[#1001] Письмо без темы"
    assert [letter["To"] for letter in letters(session, "customer")] == [
        "maria@example.com",
        "m.kovaleva@example.org",
    ]


@pytest.mark.parametrize(("sender", "found"), [("maria@example.com", None), ("nobody@example.com", PASS)])
def test_a_strangers_letter_opens_nothing(session: Session, arrive, sender: str, found: str | None) -> None:
    """Nobody is mailed because of a letter that anybody may have written."""
    fill_crm(session)

    assert arrive(sender, found, subject="Привет").outcome == "quarantined"
    assert letters(session) == []


def test_a_machines_letter_opens_nothing(session: Session, arrive) -> None:
    """Or two programs would write to each other."""
    fill_crm(session)

    assert arrive("maria@example.com", PASS, auto_submitted="auto-replied").outcome == "ignored"
    assert letters(session) == []
