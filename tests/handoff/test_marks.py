"""The mark for a closed ticket: asked once, kept once, and a low one opens the ticket again."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage

import httpx
import pytest
from fastapi import FastAPI
from handoff_cases import NOW, RecordedNotices, a_case, body, letters, maria
from sqlalchemy import select
from sqlalchemy.orm import Session

from handoff.database import Database
from handoff.desk import Desk
from handoff.mail.addresses import link_token
from handoff.mail.inbound import take_in
from handoff.marks import MAX_WORDS, add_words, ask_for_mark, ask_the_unreached, keep_mark
from handoff.models import Csat, Ticket, TicketEntry
from handoff.ownership import dispute_ticket
from handoff.pages import mark_pages
from handoff.tickets import open_ticket

LATER = NOW + timedelta(minutes=10)


@pytest.fixture
def closed(session: Session, desk: Desk) -> Ticket:
    """Maria's ticket, answered and closed by an agent."""
    ticket = session.get_one(Ticket, open_ticket(session, a_case(), maria(), desk, NOW).number)
    close(session, desk)
    assert ticket.state == "closed"
    return ticket


def close(session: Session, desk: Desk, text: str = "Готово.\n/close", name: str = "<a@x>") -> None:
    letter = EmailMessage()
    letter["From"], letter["To"] = "olga@jeans.example", letters(session, "agents")[0]["Reply-To"]
    letter["Message-ID"] = name
    letter.set_content(text)
    take_in(session, letter.as_bytes(), [], desk, LATER)


def kept(session: Session, number: int = 1001) -> Csat:
    return session.get_one(Csat, number)


def test_the_chat_that_opened_the_ticket_is_asked_once(session, desk, notices: RecordedNotices, closed) -> None:
    """Closing a second time is no second question; nobody likes to be asked twice."""
    row = kept(session)
    assert (row.how, row.asked_at, row.mark) == ("chat", LATER, None)
    assert len(letters(session, "customer")) == 2

    closed.state = "open"
    close(session, desk, "/close", "<b@x>")

    assert closed.state == "closed"
    assert notices.asked == [1001]


@pytest.mark.parametrize("why", ["disputed", "blocked"])
@pytest.mark.parametrize("language", ["ru", "en"])
def test_a_chat_that_cannot_be_asked_leaves_the_mailbox(session, desk, notices, why: str, language: str) -> None:
    """The registered mailbox gets the question, with a link for each mark."""
    case = a_case(language=language, topic_title="Задержка" if language == "ru" else "Late order")
    open_ticket(session, case, maria(), desk, NOW)
    if why == "disputed":
        dispute_ticket(session, 1001, desk, NOW)
    else:
        notices.blocked.add("telegram:7")

    close(session, desk)

    assert notices.asked == []
    assert kept(session).how == "mail"
    question = letters(session, "customer")[-1]
    assert (question["To"], question["Auto-Submitted"]) == ("maria@example.com", "auto-generated")
    link = f"https://jeans.example/mark/{link_token(desk.signing_key, 'mark', 1001)}"
    assert link in body(question)
    assert re.findall(r'href="([^"]*)"', body(question, "html")) == [f"{link}?mark={mark}" for mark in range(1, 6)]


def test_an_unverified_ticket_without_a_chat_is_not_asked_about(session, desk, notices) -> None:
    """Nobody is mailed at a typed address."""
    ticket = session.get_one(Ticket, open_ticket(session, a_case(), None, desk, NOW).number)
    notices.blocked.add("telegram:7")

    ask_for_mark(session, ticket, desk, LATER)

    assert letters(session, "customer") == []
    assert session.get(Csat, 1001) is None


def test_a_question_that_the_messenger_refused_is_asked_by_mail(session, desk, notices, closed) -> None:
    """The customer blocked the bot between the case and its end; he is asked once all the same."""
    assert not ask_the_unreached(session, desk, LATER)
    notices.blocked.add("telegram:7")

    assert ask_the_unreached(session, desk, LATER)
    assert not ask_the_unreached(session, desk, LATER)

    assert kept(session).how == "mail"
    assert "/mark/" in body(letters(session, "customer")[-1])


@pytest.mark.parametrize("mark", [3, 4, 5])
def test_a_good_mark_is_kept_and_bothers_nobody(session, desk, closed, mark: int) -> None:
    """The scorecard counts it; the agents have other things to read."""
    written = len(letters(session))

    assert keep_mark(session, 1001, mark, "", "m1", desk, LATER) == "good"

    row = kept(session)
    assert (row.mark, row.at, closed.state) == (mark, LATER, "closed")
    assert len(letters(session)) == written


@pytest.mark.parametrize("mark", [1, 2])
def test_a_low_mark_opens_the_ticket_as_urgent_and_tells_the_agents(session, desk, closed, mark: int) -> None:
    """A customer who was not helped comes before all others."""
    assert keep_mark(session, 1001, mark, "Никто не ответил\0", "m1", desk, LATER) == "low"

    assert (closed.state, closed.priority, closed.urgent_for) == ("open", "urgent", "mark")
    letter = letters(session, "agents")[-1]
    assert letter["X-Priority"] == "1"
    assert f"ОЦЕНКА {mark} ИЗ 5" in body(letter)
    assert "Никто не ответил" in body(letter)
    said = session.scalars(select(TicketEntry.text).where(TicketEntry.author == "customer")).all()
    assert said[-2:] == [f"mark {mark}", "Никто не ответил"]


def test_the_first_mark_counts_and_the_same_message_is_told_the_same(session, desk, closed) -> None:
    """Buttons are pressed twice, and a turn is played again after a crash."""
    keep_mark(session, 1001, 1, "", "m1", desk, LATER)
    written = len(letters(session))

    assert keep_mark(session, 1001, 1, "", "m1", desk, LATER) == "low"
    assert keep_mark(session, 1001, 5, "", "m2", desk, LATER) == "known"
    assert keep_mark(session, 4711, 5, "", "m3", desk, LATER) == "known"
    assert (kept(session).mark, len(letters(session))) == (1, written)


def test_words_follow_a_mark_once(session, desk, closed) -> None:
    """What is said in the chat after the mark goes with it."""
    keep_mark(session, 1001, 4, "", "m1", desk, LATER)
    for words in ("Долго", "Долго", "и дорого"):
        add_words(session, 1001, words)

    assert kept(session).words == "Долго\n\nи дорого"


@pytest.fixture
def asked_by_mail(database: Database, desk: Desk, notices: RecordedNotices) -> Callable[[str], str]:
    """The link of a question that went by mail."""

    def ask(language: str = "ru") -> str:
        notices.blocked.add("telegram:7")
        with database.session_scope() as session:
            open_ticket(session, a_case(language=language), maria(), desk, NOW)
            close(session, desk)
        return f"/mark/{link_token(desk.signing_key, 'mark', 1001)}"

    return ask


@pytest.fixture
def browser(database: Database, desk: Desk, woken: list[str]) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(mark_pages(database, desk, lambda: woken.append("letters")))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://jeans.example")


@pytest.fixture
def woken() -> list[str]:
    return []


def mark_of(database: Database) -> int | None:
    with database.session_scope() as session:
        return kept(session).mark


async def test_the_link_chooses_a_mark_and_the_button_gives_it(database, browser, asked_by_mail, woken) -> None:
    """Mail scanners open every link: all five of them, one after the other."""
    link = asked_by_mail()
    for mark in range(1, 6):
        page = await browser.get(f"{link}?mark={mark}")
        assert page.status_code == 200
        assert re.findall(r'value="(\d)" required checked', page.text) == [str(mark)]
    assert mark_of(database) is None

    done = await browser.post(link, data={"mark": "4", "words": "Спасибо Ольге"})

    assert "Оценка у нас" in done.text
    with database.session_scope() as session:
        assert (kept(session).mark, kept(session).words) == (4, "Спасибо Ольге")
    assert woken == ["letters"]
    assert "Оценка у нас" in (await browser.get(link)).text


async def test_a_low_mark_on_the_page_is_met_with_an_apology(database, browser, asked_by_mail) -> None:
    """And the next letter is ours."""
    link = asked_by_mail("en")

    assert "Sorry that we didn't help" in (await browser.post(link, data={"mark": "1", "words": "x" * 9000})).text
    assert "Sorry that we didn't help" in (await browser.post(link, data={"mark": "5"})).text
    with database.session_scope() as session:
        assert (kept(session).mark, len(kept(session).words)) == (1, MAX_WORDS)
        assert "ОЦЕНКА 1 ИЗ 5" in body(letters(session, "agents")[-1])


@pytest.mark.parametrize("mark", ["", "0", "6", "5 ", "-1", "пять", "9" * 500])
async def test_what_is_no_mark_is_asked_for_again(database, browser, asked_by_mail, mark: str) -> None:
    """The page is shown again, with nothing chosen."""
    link = asked_by_mail()
    page = await browser.post(link, data={"mark": mark})

    assert (page.status_code, mark_of(database)) == (200, None)
    assert "Как мы справились?" in page.text
    assert "checked" not in page.text


@pytest.mark.parametrize("token", ["1001.aaaaaaaaaaaaaaaaaaaaaaaaaa", "x", "1001"])
async def test_a_wrong_link_gives_no_mark(database, desk, browser, asked_by_mail, token: str) -> None:
    """Nor does the link for another purpose, or for a ticket that nobody asked about."""
    asked_by_mail()
    other = link_token(desk.signing_key, "not-me", 1001)
    unasked = link_token(desk.signing_key, "mark", 1002)

    for each in (token, other, unasked):
        assert (await browser.post(f"/mark/{each}", data={"mark": "1"})).status_code == 404
        assert (await browser.get(f"/mark/{each}")).status_code == 404
    assert mark_of(database) is None
