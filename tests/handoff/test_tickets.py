"""Tickets and the letters that each step owes to somebody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from email.message import EmailMessage

import pytest
from handoff_cases import NOW, PNG, RecordedNotices, a_case, body, letters, maria
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from handoff.case import Line, Opened
from handoff.crm.port import Customer
from handoff.desk import Desk
from handoff.entries import UnknownTicket
from handoff.files import keep_file
from handoff.mail.inbound import take_in
from handoff.models import LetterOut, StoredFile, Ticket, TicketEntry, Urgency
from handoff.ownership import NotAssignable, assign_requester, dispute_ticket
from handoff.tickets import add_to_ticket, open_ticket, open_ticket_of

LATER = NOW + timedelta(minutes=10)


def said(session: Session, number: int) -> list[tuple[str, str]]:
    entries = session.scalars(select(TicketEntry).where(TicketEntry.ticket_number == number).order_by(TicketEntry.id))
    return [(entry.author, entry.text) for entry in entries]


def count(session: Session, table: type) -> int:
    return session.scalars(select(func.count()).select_from(table)).one()


def test_a_case_becomes_a_ticket_with_two_letters(session: Session, desk: Desk) -> None:
    """The agents write first: they get everything, the customer only hears that he need not do anything."""
    opened = open_ticket(session, a_case(), maria(), desk, NOW)

    assert opened == Opened(
        number=1001,
        agent="Анна",
        deadline_text="сегодня до 16:20 по Москве",
        masked_address="m…a@example.com",
        joined=False,
        verified_pair=True,
    )
    assert [letter["To"] for letter in letters(session)] == ["agents@jeans.example", "maria@example.com"]
    ticket = session.get_one(Ticket, 1001)
    assert (ticket.requester, ticket.verified, ticket.customer_id) == ("maria@example.com", False, "c-1")
    assert (ticket.claimed_order, ticket.claimed_address) == (None, None)
    assert ticket.snapshot["order"]["item"] == "джинсы 32/34"


def test_the_same_case_again_changes_nothing_and_says_the_same(session: Session, desk: Desk) -> None:
    """Rasa's action may be called again after a crash between our commit and its answer."""
    first = open_ticket(session, a_case(), maria(), desk, NOW)
    again = open_ticket(session, a_case(), maria(), desk, NOW)

    assert again == first
    assert (count(session, Ticket), count(session, LetterOut), count(session, TicketEntry)) == (1, 2, 2)


def test_an_unverified_case_tells_the_agents_only_what_was_claimed(session: Session, desk: Desk) -> None:
    """Nothing from the CRM, and nobody else is mailed: the typed address may be anybody's."""
    opened = open_ticket(session, a_case(), None, desk, NOW)

    assert (opened.verified_pair, opened.masked_address) == (False, None)
    (letter,) = letters(session)
    assert letter["To"] == "agents@jeans.example"
    assert letter["X-Handoff-Requester"] is None
    text = body(letter)
    assert "НЕ ПОДТВЕРЖДЕНО" in text
    assert "maria@example.com" in text
    assert "джинсы 32/34" not in text
    ticket = session.get_one(Ticket, opened.number)
    assert (ticket.requester, ticket.customer_id, ticket.snapshot) == (None, None, {})


def test_the_same_question_about_the_same_order_joins_the_open_ticket(session: Session, desk: Desk) -> None:
    """One case, one ticket: only what is new is added, in the same thread, and the customer gets no second letter."""
    open_ticket(session, a_case(), maria(), desk, NOW)
    more = (*a_case().transcript, Line("customer", "Ну что там?", LATER))

    opened = open_ticket(session, a_case("case-2", transcript=more), maria(), desk, LATER)
    again = open_ticket(session, a_case("case-2", transcript=more), maria(), desk, LATER)

    assert opened.joined
    assert opened.number == 1001
    assert again == opened
    assert [text for _, text in said(session, 1001)][-1] == "Ну что там?"
    assert len(said(session, 1001)) == 3
    first, confirmation, follow_up = letters(session)
    assert follow_up["In-Reply-To"] == first["Message-ID"]
    assert "Ну что там?" in body(follow_up)
    assert "Обещали" not in body(follow_up)
    assert confirmation["To"] == "maria@example.com"


def test_another_channel_joins_the_same_ticket(session: Session, desk: Desk) -> None:
    """A customer who writes in Telegram and then in VK has one case, with both conversations in it."""
    open_ticket(session, a_case(), maria(), desk, NOW)
    lines = (Line("customer", "Пишу и сюда тоже", NOW - timedelta(minutes=1)),)

    opened = open_ticket(session, a_case(sender_id="vk:1", channel="vk", transcript=lines), maria(), desk, LATER)

    assert opened.joined
    assert ("customer", "Пишу и сюда тоже") in said(session, 1001)
    assert [open_ticket_of(session, chat, LATER).number for chat in ("telegram:7", "vk:1")] == [1001, 1001]
    assert open_ticket_of(session, "vk:2", LATER) is None


@pytest.mark.parametrize("difference", ["topic", "closed", "disputed"])
def test_another_topic_or_a_finished_ticket_opens_a_new_one(session: Session, desk: Desk, difference: str) -> None:
    """Only the same question about the same order is the same case."""
    open_ticket(session, a_case(), maria(), desk, NOW)
    if difference == "closed":
        session.get_one(Ticket, 1001).state = "closed"
    if difference == "disputed":
        dispute_ticket(session, 1001, desk, NOW)
    topic = "case/exchange" if difference == "topic" else "case/delay"

    opened = open_ticket(session, a_case("case-2", topic=topic, sender_id="vk:5"), maria(), desk, LATER)

    assert (opened.number, opened.joined) == (1002, False)


def test_past_tickets_are_shown_to_the_agents(session: Session, desk: Desk) -> None:
    """The history of communication belongs to the ticket (requirement R27)."""
    open_ticket(session, a_case(), maria(), desk, NOW)
    open_ticket(session, a_case("case-2", topic="case/exchange", topic_title="Обмен"), maria(), desk, LATER)

    assert "#1001:  Задержка заказа, 20.11.2026 15:20, открыто" in body(letters(session, "agents")[1])


@pytest.mark.parametrize(
    ("topic", "overload", "suggested"),
    [
        ("case/delay", False, "частичный возврат денег"),
        ("case/lost_parcel", True, "полный возврат денег"),
        ("case/exchange", True, None),
    ],
)
def test_compensation_is_suggested_to_the_agents_alone(
    session: Session, desk: Desk, topic: str, overload: bool, suggested: str | None
) -> None:
    """The team decides how to make up for it; the customer is told no sums and no promises."""
    desk = replace(desk, shop=replace(desk.shop, overload=overload))
    open_ticket(session, a_case(topic=topic), maria(), desk, NOW)

    to_agents, to_customer = letters(session)
    if suggested is None:
        assert "возврат денег" not in body(to_agents)
    else:
        assert suggested in body(to_agents)
        assert f"(правило: {'перегрузка' if overload else 'задержка'})" in body(to_agents)
    assert "возврат" not in body(to_customer)


@pytest.mark.parametrize(
    ("promised", "status", "late"),
    [
        (date(2026, 11, 18), "production", 2),
        (date(2026, 11, 19), "", 1),
        (date(2026, 11, 20), "production", 0),
        (date(2026, 11, 18), "Delivered", 0),
        (None, "production", 0),
    ],
)
def test_a_missed_promise_is_a_delay_whatever_the_customer_asks(
    session: Session, desk: Desk, promised: date | None, status: str, late: int
) -> None:
    """Two days are only our fault (requirements R20, R23); an order that is over is late no more."""
    requester = maria()
    assert requester.order is not None
    requester = replace(requester, order=replace(requester.order, promised_on=promised, status=status))
    open_ticket(session, a_case(topic="case/order_question"), requester, desk, NOW)

    text = body(letters(session, "agents")[0])
    assert (f"срок прошёл, дней: {late}" in text) == bool(late)
    assert ("частичный возврат денег (правило: задержка)" in text) == bool(late)


@pytest.mark.parametrize(
    ("status", "sum_", "shown"),
    [
        ("production", "8900.00", ["в производстве", "8900.00 ₽"]),
        ("сшит наполовину", "100 $", ["сшит наполовину", "100 $"]),
    ],
)
def test_order_facts_are_shown_as_people_write_them(
    session: Session, desk: Desk, status: str, sum_: str, shown: list[str]
) -> None:
    """Stages have a name, bare sums get the shop's currency; what we do not know is left alone."""
    desk = replace(desk, shop=replace(desk.shop, currency="₽"))
    requester = maria()
    assert requester.order is not None
    requester = replace(requester, order=replace(requester.order, status=status, sum=sum_))
    open_ticket(session, a_case(), requester, desk, NOW)

    for kind in ("plain", "html"):
        text = body(letters(session, "agents")[0], kind)
        assert all(part in text for part in shown)
        assert "100 $ ₽" not in text
        assert "production" not in text


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("anger", "покупатель рассержен"),
        ("complaint", "жалоба"),
        ("late", "с первым ответом опоздали"),
        ("day", "первого ответа ждали больше суток"),
        ("mark", "ответ не помог, оценка низкая"),
    ],
)
def test_an_urgent_letter_says_why(session: Session, desk: Desk, reason: Urgency, why: str) -> None:
    """The word "urgent" alone teaches agents to ignore it."""
    open_ticket(session, a_case(urgent_for=reason), maria(), desk, NOW)

    letter = letters(session, "agents")[0]
    assert f"СРОЧНО: {why}" in body(letter)
    assert f"СРОЧНО: {why}" in body(letter, "html")


def test_the_latest_reason_to_hurry_is_named(session: Session, desk: Desk) -> None:
    """Who waited in peace is not called angry, until he is."""
    ticket = session.get_one(Ticket, open_ticket(session, a_case(), maria(), desk, NOW).number)
    ticket.make_urgent("late")
    add_to_ticket(session, ticket.number, "Есть новости?", [], "1", desk, NOW)
    add_to_ticket(session, ticket.number, "Сколько можно!", [], "2", desk, NOW, urgent_for="anger")

    first, calm, loud = letters(session, "agents")
    assert "СРОЧНО" not in body(first)
    assert "СРОЧНО: с первым ответом опоздали" in body(calm)
    assert "СРОЧНО: покупатель рассержен" in body(loud)


def test_files_of_the_conversation_go_with_the_case(session: Session, desk: Desk) -> None:
    """A photo of the defect is half of the case."""
    keep_file(session, desk.data_dir, "telegram:7", PNG, "update:1", NOW)

    open_ticket(session, a_case(), maria(), desk, NOW)

    to_agents, to_customer = letters(session)
    (photo,) = to_agents.iter_attachments()
    assert (photo.get_content(), photo.get_content_type(), photo.get_filename()) == (
        PNG,
        "image/png",
        "photo-GW-48213-1.png",
    )
    assert not list(to_customer.iter_attachments())
    assert session.scalars(select(StoredFile)).one().name not in str(to_agents)


def test_a_follow_up_reaches_the_agents_once(session: Session, desk: Desk, opened: Ticket) -> None:
    """What the customer adds in the conversation arrives in the thread, however often the update comes."""
    photo = keep_file(session, desk.data_dir, "telegram:7", PNG, "update:9", LATER)

    assert add_to_ticket(session, opened.number, "Вот чек", [photo], "update:9", desk, LATER)
    assert not add_to_ticket(session, opened.number, "Вот чек", [photo], "update:9", desk, LATER)

    first, follow_up = letters(session, "agents")
    assert follow_up["References"] == first["Message-ID"]
    assert follow_up["Subject"] == f"Re: {first['Subject']}"
    assert "Вот чек" in body(follow_up)
    assert [file.get_filename() for file in follow_up.iter_attachments()] == ["photo-GW-48213-1.png"]
    assert "[20.11.2026 15:30] Покупатель: [файл photo-GW-48213-1.png]" in body(follow_up)
    assert photo.ticket_number == opened.number


def test_files_of_one_thread_have_names_of_their_own(session: Session, desk: Desk) -> None:
    """Two pictures of one name are saved over each other; what a customer typed as his order is no file name."""
    keep_file(session, desk.data_dir, "telegram:7", PNG, "update:1", NOW)
    number = open_ticket(session, a_case(claimed_order="../№ 48213"), None, desk, NOW).number
    more = keep_file(session, desk.data_dir, "telegram:7", PNG, "update:9", LATER)
    add_to_ticket(session, number, "", [more], "update:9", desk, LATER)

    names = [file.get_filename() for letter in letters(session, "agents") for file in letter.iter_attachments()]
    assert names == ["photo-48213-1.png", "photo-48213-2.png"]


def test_an_unknown_ticket_is_named(session: Session, desk: Desk) -> None:
    """A wrong number is a mistake of the caller, not of the customer."""
    with pytest.raises(UnknownTicket):
        add_to_ticket(session, 9, "x", [], "k", desk, NOW)


def test_a_conversation_finds_its_newest_open_ticket(session: Session, desk: Desk) -> None:
    """Further messages go to it, until it is closed or the mailbox's owner has disputed it."""
    open_ticket(session, a_case(), None, desk, NOW)
    open_ticket(session, a_case("case-2"), None, desk, NOW)

    newest = open_ticket_of(session, "telegram:7", NOW)
    assert newest is not None
    assert newest.number == 1002
    newest.state = "closed"
    session.get_one(Ticket, 1001).disputed = True
    session.flush()
    assert open_ticket_of(session, "telegram:7", NOW) is None
    assert open_ticket_of(session, "telegram:8", NOW) is None


def test_a_dispute_warns_the_agents_once(
    session: Session, desk: Desk, opened: Ticket, notices: RecordedNotices
) -> None:
    """People press a button twice."""
    dispute_ticket(session, opened.number, desk, LATER)
    dispute_ticket(session, opened.number, desk, LATER)

    assert opened.disputed
    assert notices.announced == [(opened.number, "ticket_disputed")]
    assert len(letters(session, "agents")) == 2
    assert "Это был не я" in body(letters(session, "agents")[1])


def an_agents_reply(to: str, text: str, message_id: str = "<a1@agents.example>") -> bytes:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Message-ID"] = "olga@jeans.example", to, message_id
    letter["Subject"] = "Re: x"
    letter.set_content(text)
    return letter.as_bytes()


def test_assigning_a_requester_confirms_and_lets_waiting_answers_go(session: Session, desk: Desk) -> None:
    """An agent who answers an unverified ticket loses nothing: the answer goes out once the owner is found."""
    number = open_ticket(session, a_case(), None, desk, NOW).number
    to = letters(session)[0]["Reply-To"]
    assert take_in(session, an_agents_reply(to, "Отправим завтра."), [], desk, NOW).outcome == "quarantined"

    assign_requester(session, number, maria().customer, maria().order, desk, LATER)

    ticket = session.get_one(Ticket, number)
    assert (ticket.requester, ticket.order_number, ticket.verified) == ("maria@example.com", "GW48213", False)
    found = letters(session, "agents")[1]
    assert found["X-Handoff-Requester"] == "maria@example.com"
    assert "Мария Ковалёва" in body(found)
    confirmation, answer = letters(session, "customer")
    assert confirmation["Auto-Submitted"] == "auto-generated"
    assert "Отправим завтра." in body(answer)
    assert answer["References"].startswith(confirmation["Message-ID"])


def test_a_ticket_with_a_requester_cannot_be_given_away(session: Session, desk: Desk, opened: Ticket) -> None:
    """Its thread would change its reader."""
    with pytest.raises(NotAssignable):
        assign_requester(
            session, opened.number, Customer("c-2", "Peter", "en", frozenset({"p@e.example"})), None, desk, LATER
        )


def test_texts_that_no_database_takes_are_mended(session: Session, desk: Desk) -> None:
    """PostgreSQL refuses NUL, UTF-8 knows no half characters; a case must not fail on either."""
    lines = (Line("customer", "a\0b\ud83dc", NOW),)
    opened = open_ticket(session, a_case(display_name="x\0", transcript=lines), maria(), desk, NOW)

    assert said(session, opened.number) == [("customer", "ab?c")]


def test_english_customers_read_english(session: Session, desk: Desk) -> None:
    """Letters, names and deadline are in the customer's language."""
    opened = open_ticket(session, a_case(language="en", topic_title="Late order"), maria(), desk, NOW)

    assert (opened.agent, opened.deadline_text) == ("Anna", "today by 16:20 Moscow time")
    to_agents, to_customer = letters(session)
    assert to_agents["Subject"] == "[#1001] Late order · GW-48213"
    assert "Sorry for the trouble" in body(to_customer)


@pytest.mark.parametrize(
    ("language", "labels"),
    [
        ("ru", ["Ответ обещан:  в пятницу, 20 ноября, до 16:20", "Язык:          английский", "«Anna, Getwear»"]),
        ("en", ["Answer promised:  by 16:20 Moscow time on Friday, 20 November", '"Anna, Getwear"']),
    ],
)
def test_agents_read_labels_in_the_shops_language(
    session: Session, desk: Desk, language: str, labels: list[str]
) -> None:
    """An agent reads a hundred letters a day at a glance; the customer's words and name for him stay as they are."""
    desk = replace(desk, shop=replace(desk.shop, language=language))
    open_ticket(session, a_case(language="en", topic_title="Late order"), maria(), desk, NOW)

    to_agents, _ = letters(session)
    assert to_agents["Subject"] == "[#1001] Late order · GW-48213"
    for label in [*labels, "Где мои джинсы? Обещали восемнадцатого"]:
        assert label in body(to_agents)


def test_reply_addresses_differ_for_the_two_sides(reply_to: Callable[[str], str]) -> None:
    """No letter can change sides."""
    assert reply_to("agents") != reply_to("customer")
