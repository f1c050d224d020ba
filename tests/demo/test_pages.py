from __future__ import annotations

import re
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from bot.demo.examples import load_examples
from bot.demo.pages import STATIC, demo_router, load_texts
from handoff.mail.reading import dedupe_key
from handoff.settings import Settings
from handoff.shop import load_shop

AGENTS = "agents@jeans.example"
MARIA = "maria.sokolova@mail.example"
OUR_PAGE = {"X-Demo": "1"}
REPLY = {"id": "6a0f1c52-0000-4000-8000-000000000001", "text": "Спасибо!", "language": "ru"}
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def browser(mailboxes, mail_server) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(_env_file=None, agents_address=AGENTS)
    app = FastAPI()
    app.include_router(demo_router(mailboxes, mail_server, settings, load_shop(ROOT / "shop.yml"), load_examples()))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


def place(address: str, letter_id: str) -> str:
    return f"/demo/letters/{address}/{letter_id}"


async def test_the_page_allows_nothing_from_elsewhere(browser):
    """No script or style inside the page, no other host: what a letter smuggles in cannot run."""
    answer = await browser.get("/")

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert not re.search(r"(src|href)=\"https?:|<script>|<style| style=| on\w+=", answer.text)


async def test_every_file_of_the_page_is_served(browser):
    for path in STATIC.iterdir():
        assert (await browser.get(f"/demo/static/{path.name}")).status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "..%2Ftexts.yml", "%2e%2e%2fpages.py"])
async def test_nothing_else_is_served(browser, name):
    assert (await browser.get(f"/demo/static/{name}")).status_code == 404


async def test_a_letter_is_listed_and_opened(browser, mailboxes, letter):
    letter_id = mailboxes.deliver(MARIA, letter("Ваши джинсы", html="<p>Hello</p>").as_bytes())

    listed = (await browser.get("/demo/mailboxes")).json()
    opened = (await browser.get(place(MARIA, letter_id))).json()

    [maria] = [mailbox for mailbox in listed["customers"] if mailbox["address"] == MARIA]
    assert maria["unread"] == 1
    assert maria["letters"][0]["subject"] == opened["subject"] == "Ваши джинсы"
    assert opened["html"].strip() == "<p>Hello</p>"
    assert ["Message-ID", "<one@jeans.example>"] in opened["headers"]


async def test_a_letter_is_marked_as_read(browser, mailboxes, letter):
    letter_id = mailboxes.deliver(AGENTS, letter().as_bytes())

    answer = await browser.post(f"{place(AGENTS, letter_id)}/read", headers=OUR_PAGE)

    assert answer.status_code == 204
    assert (await browser.get("/demo/mailboxes")).json()["agents"]["unread"] == 0


@pytest.mark.parametrize("address", ["nobody@mail.example", "..%2F..%2Fetc@mail.example"])
async def test_only_the_mailboxes_of_the_demo_are_open(browser, address):
    assert (await browser.get(place(address, "0" * 32))).status_code == 404


async def test_pictures_are_shown_and_other_files_saved(browser, mailboxes, letter):
    """A file that came by mail must never run in the page's name."""
    message = letter()
    message.add_attachment(b"\x89PNG", "image", "png", filename="фото.png")
    message.add_attachment("<script>alert(1)</script>", subtype="html", filename="page.html")
    letter_id = mailboxes.deliver(AGENTS, message.as_bytes())

    picture, file = [
        await browser.get(part["url"]) for part in (await browser.get(place(AGENTS, letter_id))).json()["files"]
    ]

    assert (picture.headers["content-type"], picture.content) == ("image/png", b"\x89PNG")
    assert picture.headers["content-disposition"].startswith("inline")
    assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''page.html"
    assert file.headers["content-type"] == "application/octet-stream"
    assert file.headers["x-content-type-options"] == "nosniff"


async def test_a_reply_travels_through_the_mail_server(browser, mailboxes, taken_in, letter):
    raw = letter(headers={"Reply-To": "support+t0ken@jeans.example"}).as_bytes()
    letter_id = mailboxes.deliver(MARIA, raw)

    answer = await browser.post(f"{place(MARIA, letter_id)}/reply", json=REPLY, headers=OUR_PAGE)

    assert answer.json()["to"] == "support+t0ken@jeans.example"
    [(taken, recipients)] = taken_in.letters
    message = message_from_bytes(taken, policy=default)
    assert recipients == ["support+t0ken@jeans.example"]
    assert message["From"] == f"Мария Соколова <{MARIA}>"
    assert message["In-Reply-To"] == "<one@jeans.example>"
    assert mailboxes.letter(MARIA, letter_id).answered


async def test_a_reply_sent_once_more_is_the_same_letter(browser, mailboxes, taken_in, letter):
    """The page sends again when it heard no answer; the shop must be able to see that it is the same letter."""
    letter_id = mailboxes.deliver(MARIA, letter().as_bytes())

    for _ in range(2):
        await browser.post(f"{place(MARIA, letter_id)}/reply", json=REPLY, headers=OUR_PAGE)

    assert len(taken_in.letters) == 2
    assert len({dedupe_key(message_from_bytes(raw)) for raw, _ in taken_in.letters}) == 1


@pytest.mark.parametrize(("asked", "shown"), [("Olga", "Olga"), ("Mallory", "Анна")])
async def test_an_agent_writes_under_a_name_of_the_shop(browser, mailboxes, taken_in, letter, asked, shown):
    letter_id = mailboxes.deliver(AGENTS, letter().as_bytes())

    await browser.post(f"{place(AGENTS, letter_id)}/reply", json=REPLY | {"name": asked}, headers=OUR_PAGE)

    assert message_from_bytes(taken_in.letters[0][0], policy=default)["From"] == f"{shown} <{AGENTS}>"


async def test_a_foreign_page_cannot_send_letters(browser, mailboxes, taken_in, letter):
    """Any page a person visits may post to loopback, but not with our header."""
    letter_id = mailboxes.deliver(MARIA, letter().as_bytes())

    answer = await browser.post(f"{place(MARIA, letter_id)}/reply", json=REPLY)

    assert answer.status_code == 403
    assert taken_in.letters == []


async def test_a_reply_the_mail_server_does_not_take_is_an_error_in_words(browser, mailboxes, taken_in, letter):
    taken_in.failing = True
    letter_id = mailboxes.deliver(MARIA, letter().as_bytes())

    answer = await browser.post(f"{place(MARIA, letter_id)}/reply", json=REPLY, headers=OUR_PAGE)

    assert answer.status_code == 502
    assert answer.json()["detail"] == load_texts()["ru"]["reply_refused"]
    assert not mailboxes.letter(MARIA, letter_id).answered


@pytest.mark.parametrize("sender", ["", "a b@@c", "undisclosed:;"])
async def test_a_letter_from_nobody_cannot_be_answered(browser, mailboxes, sender):
    letter_id = mailboxes.deliver(MARIA, f"From: {sender}\r\nSubject: x\r\n\r\nhello".encode())

    answer = await browser.post(f"{place(MARIA, letter_id)}/reply", json=REPLY, headers=OUR_PAGE)

    assert answer.status_code == 422
    assert answer.json()["detail"] == load_texts()["ru"]["reply_nobody"]


async def test_an_empty_reply_is_refused(browser, mailboxes, letter):
    letter_id = mailboxes.deliver(MARIA, letter().as_bytes())

    answer = await browser.post(f"{place(MARIA, letter_id)}/reply", json=REPLY | {"text": " "}, headers=OUR_PAGE)

    assert answer.status_code == 422


def test_every_text_of_the_page_exists_in_both_languages():
    """A key without words would be shown as the key."""
    texts = load_texts()
    sources = "".join(path.read_text(encoding="utf-8") for path in STATIC.iterdir())
    used = set(re.findall(r"data-(?:text|label|title|placeholder)=\"(\w+)\"|page\.text\(\"(\w+)\"", sources))

    assert {next(filter(None, pair)) for pair in used} <= set(texts["ru"])
    assert set(texts["ru"]) == set(texts["en"])
    for key, words in texts["ru"].items():
        assert sorted(re.findall(r"{\w+}", words)) == sorted(re.findall(r"{\w+}", texts["en"][key]))


def test_the_examples_fit_together():
    customers = load_examples()

    assert [customer.language for customer in customers].count("ru") == 3
    assert len(customers) == 6
    assert sum(len(customer.orders) for customer in customers) == 8
    assert {order.status for customer in customers for order in customer.orders} == {
        "order",
        "production",
        "delivery",
        "delivered",
    }
