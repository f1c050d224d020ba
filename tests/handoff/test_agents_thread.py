"""What agents read of each other: every answer, answers that crossed, a ticket closed and opened again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage

import pytest
from handoff_cases import NOW, PNG, RecordedNotices, a_case, body, fill_crm, letters, maria
from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.desk import Desk
from handoff.mail.inbound import take_in
from handoff.models import LetterIn, Ticket, TicketEntry
from handoff.ownership import assign_requester
from handoff.tickets import open_ticket

OLGA, ANNA = "Ольга <olga@jeans.example>", "Анна <anna@jeans.example>"


@pytest.fixture
def reply(session: Session, desk: Desk) -> Callable[..., LetterIn]:
    """An agent's reply to one of our letters, with the headers that a mail program writes."""
    sent = iter(range(1000))

    def send(
        to: EmailMessage, text: str = "Готово.", sender: str = OLGA, minutes: float = 10, **headers: str
    ) -> LetterIn:
        letter = EmailMessage()
        letter["From"], letter["To"] = sender, to["Reply-To"]
        letter["Message-ID"] = f"<agent-{next(sent)}@jeans.example>"
        letter["In-Reply-To"] = to["Message-ID"]
        letter["References"] = f"{to['References'] or ''} {to['Message-ID']}".strip()
        for name, value in headers.items():
            letter[name.replace("_", "-")] = value
        letter.set_content(text)
        return take_in(session, letter.as_bytes(), [], desk, NOW + timedelta(minutes=minutes))

    return send


def agents_letters(session: Session) -> list[EmailMessage]:
    return letters(session, "agents")


def notes(session: Session) -> list[str]:
    kept = select(TicketEntry.text).where(TicketEntry.kind == "note").order_by(TicketEntry.id)
    return list(session.scalars(kept))


def test_every_agent_reads_an_answer_in_the_agents_thread(session: Session, opened: Ticket, reply) -> None:
    """The reply came to us alone: without this letter a colleague would answer a second time."""
    reply(agents_letters(session)[0], "Отправим завтра.")

    first, note = agents_letters(session)
    assert note["References"].split() == [first["Message-ID"], "<agent-0@jeans.example>"]
    assert (note["To"], note["Reply-To"]) == ("agents@jeans.example", first["Reply-To"])
    assert note["Auto-Submitted"] == "auto-generated"
    assert "отвечает Ольга" in body(note)
    assert "Отправим завтра." in body(note)
    assert "№1001 открыто" in body(note)
    assert "olga@jeans.example" not in note.as_string()


def test_answers_that_crossed_are_shown_to_both_agents_and_both_go_out(session: Session, opened: Ticket, reply) -> None:
    """Nothing is held back: an answer that waits for a decision is a customer who waits."""
    ticket_letter = agents_letters(session)[0]
    reply(ticket_letter, "Отправим завтра.", OLGA, 10)
    reply(ticket_letter, "Уже отправили.", ANNA, 12)

    _, _, crossed = agents_letters(session)
    text = body(crossed)
    assert "ДВА ОТВЕТА РАЗОШЛИСЬ" in text
    assert text.index("Ольга (20.11.2026 15:30)") < text.index("Отправим завтра.") < text.index("Уже отправили.")
    assert "РАЗОШЛИСЬ" in body(crossed, "html")
    to_customer = [body(letter) for letter in letters(session, "customer")[1:]]
    assert ["Отправим завтра." in to_customer[0], "Уже отправили." in to_customer[1]] == [True, True]


@pytest.mark.parametrize("minutes", [1, 60, 23 * 60])
def test_who_answers_the_note_of_the_other_answer_has_read_it(session, opened, reply, minutes: int) -> None:
    """What a letter refers to tells what its writer had before him; the time it took tells nothing."""
    reply(agents_letters(session)[0], "Отправим завтра.", OLGA, 10)
    reply(agents_letters(session)[-1], "И трек-номер пришлём.", ANNA, 10 + minutes)

    assert "РАЗОШЛИСЬ" not in body(agents_letters(session)[-1])


def test_who_answers_a_later_letter_of_the_customer_has_read_the_answer(session, desk, opened, reply) -> None:
    """Later letters of the thread come after the note."""
    reply(agents_letters(session)[0], "Отправим завтра.", OLGA, 10)
    question = EmailMessage()
    question["From"], question["To"] = "maria@example.com", letters(session, "customer")[0]["Reply-To"]
    question["Message-ID"] = "<maria@mail.example>"
    question.set_content("А когда?")
    take_in(session, question.as_bytes(), [], desk, NOW + timedelta(minutes=20))

    reply(agents_letters(session)[-1], "Утром.", ANNA, 30)

    assert "РАЗОШЛИСЬ" not in body(agents_letters(session)[-1])


def test_an_agents_second_thought_crosses_nothing(session: Session, opened: Ticket, reply) -> None:
    """He knows what he wrote himself."""
    ticket_letter = agents_letters(session)[0]
    reply(ticket_letter, "Отправим завтра.", OLGA, 10)
    reply(ticket_letter, "Забыла: с трек-номером.", "Ольга <OLGA@jeans.example>", 12)

    assert "РАЗОШЛИСЬ" not in body(agents_letters(session)[-1])


def test_after_a_day_an_answer_to_an_old_letter_crosses_nothing(session: Session, opened: Ticket, reply) -> None:
    """Whoever picks an old letter to reply to has had the time to read the newer ones."""
    ticket_letter = agents_letters(session)[0]
    reply(ticket_letter, "Отправим завтра.", OLGA, 10)
    reply(ticket_letter, "Отправили.", ANNA, 10 + 24 * 60 + 1)

    assert "РАЗОШЛИСЬ" not in body(agents_letters(session)[-1])


def test_one_mailbox_of_several_agents_is_told_apart_by_name(session: Session, opened: Ticket, reply) -> None:
    """Small shops answer from one address."""
    ticket_letter = agents_letters(session)[0]
    reply(ticket_letter, "Отправим завтра.", "Ольга <team@jeans.example>", 10)
    reply(ticket_letter, "Уже отправили.", "Анна <team@jeans.example>", 11)

    assert "РАЗОШЛИСЬ" in body(agents_letters(session)[-1])


def test_answers_that_waited_for_an_owner_may_have_crossed_too(session: Session, desk: Desk, reply) -> None:
    """They go out together once the customer is found, so the agents hear of it then."""
    fill_crm(session)
    number = open_ticket(session, a_case(), None, desk, NOW).number
    ticket_letter = agents_letters(session)[0]
    for sender, text, minutes in ((OLGA, "Отправим завтра.", 1), (ANNA, "Уже отправили.", 2)):
        assert reply(ticket_letter, text, sender, minutes).outcome == "quarantined"

    assign_requester(session, number, maria().customer, None, desk, NOW + timedelta(days=3))

    assert "РАЗОШЛИСЬ" in body(agents_letters(session)[-1])
    assert len(letters(session, "customer")) == 3


@pytest.mark.parametrize(
    ("text", "headers", "sent"),
    [
        ("/close", {}, None),
        ("/Close \nХорошего дня.", {}, "Хорошего дня."),
        ("Хорошего дня.\n\n/close", {}, "Хорошего дня."),
        ("Хорошего дня.", {"X_Handoff_Close": "yes"}, "Хорошего дня."),
        ("\n", {"X_Handoff_Close": "Yes"}, None),
    ],
)
def test_closing_is_one_line_or_one_header_and_is_confirmed(
    session: Session, opened: Ticket, reply, notices: RecordedNotices, text: str, headers: dict[str, str], sent
) -> None:
    """Agents need no console, programs no line; the customer sees neither."""
    letter = reply(agents_letters(session)[0], text, **headers)

    assert (letter.outcome, opened.state) == ("threaded", "closed")
    note = body(agents_letters(session)[-1])
    assert "закрыто" in note
    assert ("закрывает Ольга" in note) == (sent is None)
    answers = letters(session, "customer")[1:]
    assert [sent in body(letter) for letter in answers] == ([True] if sent else [])
    assert not any("/close" in body(letter).lower() for letter in answers)
    assert notices.asked == [opened.number]


@pytest.mark.parametrize("text", ["Напишите /close, и закроем.", "> /close", "Готово\n/close it\nОльга"])
def test_a_line_that_only_speaks_of_closing_closes_nothing(session: Session, opened: Ticket, reply, text: str) -> None:
    """The command is the whole line."""
    reply(agents_letters(session)[0], text)

    assert opened.state == "open"


def test_a_file_beside_the_command_is_a_signatures_picture(session: Session, opened: Ticket, desk: Desk) -> None:
    """Without a word to the customer nothing is sent to him."""
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Message-ID"] = OLGA, agents_letters(session)[0]["Reply-To"], "<f@x>"
    letter.set_content("/close")
    letter.add_attachment(PNG, maintype="image", subtype="png", filename="logo.png")
    take_in(session, letter.as_bytes(), [], desk, NOW)

    assert opened.state == "closed"
    assert len(letters(session, "customer")) == 1


def test_the_customers_letter_opens_a_closed_ticket_and_the_agents_see_that(session, desk, opened, reply) -> None:
    """Closed is never the end of it for the customer."""
    reply(agents_letters(session)[0], "Готово.\n/close")
    question = EmailMessage()
    question["From"], question["To"] = "maria@example.com", letters(session, "customer")[0]["Reply-To"]
    question["Message-ID"] = "<maria@mail.example>"
    question.set_content("Не готово.")
    take_in(session, question.as_bytes(), [], desk, NOW + timedelta(minutes=20))

    assert opened.state == "open"
    assert "Обращение было закрыто и снова открыто." in body(agents_letters(session)[-1])
    assert notes(session) == ["closed", "reopened"]

    reply(agents_letters(session)[-1], "Теперь готово.\n/close", minutes=30)
    assert opened.state == "closed"
    assert notes(session) == ["closed", "reopened", "closed"]


@pytest.mark.parametrize("agents_language", ["en"])
def test_english_agents_read_english_notes(session: Session, desk: Desk, reply) -> None:
    """The agents' letters are in the shop's language, all of them."""
    open_ticket(session, a_case(language="en", topic_title="Late order"), maria(), desk, NOW)
    ticket_letter = agents_letters(session)[0]
    reply(ticket_letter, "Tomorrow.", "Olga <olga@jeans.example>", 1)
    reply(ticket_letter, "Sent.\n/close", "Anna <anna@jeans.example>", 2)

    _, note, crossed = agents_letters(session)
    assert "Olga is answering the customer" in body(note)
    assert "TWO ANSWERS HAVE CROSSED" in body(crossed)
    assert "Ticket #1001 is closed." in body(crossed)


def test_a_note_names_a_writer_without_a_name_by_his_mailbox(session: Session, opened: Ticket, reply) -> None:
    """Some programs send no name; the address itself stays out of letters that may be handed on."""
    reply(agents_letters(session)[0], sender="olga@jeans.example")

    assert "отвечает olga (" in body(agents_letters(session)[-1])
