"""The pages behind the "this was not me" link and the "unlink" link."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from handoff_cases import NOW, a_case, letters, maria
from sqlalchemy import select

from handoff.database import Database
from handoff.desk import Desk
from handoff.mail.addresses import link_token
from handoff.models import Binding, Ticket
from handoff.pages import not_me_pages, unlink_pages
from handoff.tickets import open_ticket


@pytest.fixture
def browser(database: Database, desk: Desk) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(not_me_pages(database, desk))
    app.include_router(unlink_pages(database, desk))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://jeans.example")


def open_and_find_link(database: Database, desk: Desk, language: str = "ru") -> str:
    with database.session_scope() as session:
        number = open_ticket(session, a_case(language=language), maria(), desk, NOW).number
    return f"/not-me/{link_token(desk.signing_key, 'not-me', number)}"


def disputed(database: Database) -> bool:
    with database.session_scope() as session:
        return session.get_one(Ticket, 1001).disputed


def bound(database: Database, **changes: object) -> None:
    """A Telegram chat that belongs to Maria."""
    binding = {
        "sender_id": "telegram:7",
        "channel": "telegram",
        "customer_id": "c-1",
        "registered_address": "maria@example.com",
        "language": "ru",
        "bound_at": NOW,
        "used_at": NOW,
    }
    with database.session_scope() as session:
        session.add(Binding(**binding | changes))


def is_bound(database: Database) -> bool:
    with database.session_scope() as session:
        return session.scalars(select(Binding)).first() is not None


async def test_looking_changes_nothing_and_the_button_does(database, desk, browser) -> None:
    """Mail scanners open every link."""
    link = open_and_find_link(database, desk)

    page = await browser.get(link)
    assert (page.status_code, disputed(database)) == (200, False)
    assert "Это был не я" in page.text
    assert page.headers["referrer-policy"] == "no-referrer"

    done = await browser.post(link)
    assert (done.status_code, disputed(database)) == (200, True)
    assert "остановили" in done.text
    assert "остановили" in (await browser.get(link)).text
    assert (await browser.post(link)).status_code == 200
    with database.session_scope() as session:
        assert len(letters(session, "agents")) == 2


async def test_the_page_speaks_the_customers_language(database, desk, browser) -> None:
    """As the letter that leads to it does."""
    page = await browser.get(open_and_find_link(database, desk, "en"))

    assert "This was not me" in page.text


@pytest.mark.parametrize("kind", ["not-me", "unlink"])
@pytest.mark.parametrize("token", ["1001.aaaaaaaaaaaaaaaaaaaaaaaaaa", "x", "1001"])
async def test_a_wrong_link_gets_a_friendly_page(database, desk, browser, kind: str, token: str) -> None:
    """Half a link is a copying mistake; a guessed one learns nothing."""
    open_and_find_link(database, desk)
    bound(database, id=1001)

    for answer in (await browser.get(f"/{kind}/{token}"), await browser.post(f"/{kind}/{token}")):
        assert answer.status_code == 404
        assert "reply to the letter" in answer.text
    assert not disputed(database)
    assert is_bound(database)


async def test_a_right_link_to_a_ticket_that_is_gone_is_a_wrong_link(database, desk, browser) -> None:
    """Tickets may be erased."""
    answer = await browser.get(f"/not-me/{link_token(desk.signing_key, 'not-me', 4711)}")

    assert answer.status_code == 404


async def test_a_binding_ends_with_the_button_and_its_conversation_hears_of_it_once(
    database, desk, browser, notices
) -> None:
    """Looking at the page ends nothing: a mail scanner would unlink every customer at once."""
    bound(database, id=5)
    link = f"/unlink/{link_token(desk.signing_key, 'unlink', 5)}"

    page = await browser.get(link)
    assert (page.status_code, is_bound(database)) == (200, True)
    assert "Отвязать" in page.text

    for answer in (await browser.post(link), await browser.post(link), await browser.get(link)):
        assert answer.status_code == 200
        assert "no longer linked" in answer.text
    assert not is_bound(database)
    assert notices.freed == ["telegram:7"]


async def test_the_unlink_page_speaks_the_customers_language(database, desk, browser) -> None:
    """As the letter that leads to it does."""
    bound(database, id=5, language="en")

    assert "Unlink the chat" in (await browser.get(f"/unlink/{link_token(desk.signing_key, 'unlink', 5)}")).text
