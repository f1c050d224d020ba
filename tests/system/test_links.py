"""A personal link from the command line to the ticket: tapped on a fake Telegram, answered by the real service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from bot.demo.examples import CUSTOMERS_FILE, ORDERS_FILE

from ..messengers.fake_telegram import FakeTelegram
from ..messengers.telegram_customer import Customer, Received
from .running import Running

pytestmark = pytest.mark.engine

#: What a stranger must never see: Maria's orders and her address.
MARIAS = r"48213|47655|индиго|зауженные|m…a@"


@dataclass(frozen=True)
class Shop:
    """The service with its customers' messenger."""

    service: Running
    telegram: FakeTelegram

    def token(self, customer_id: str) -> str:
        """What an operator sends to a customer."""
        found = re.search(r"https://t\.me/getwear_bot\?start=([\w-]+)", self.service.command("link", customer_id))
        assert found is not None
        return found[1]

    def bound(self, customer_id: str, **about: str) -> Customer:
        """A customer who has just tapped his link."""
        customer = self.telegram.customer(**about)
        said(customer, customer.starts, self.token(customer_id))
        return customer

    def tickets(self, customer: Customer) -> list[tuple[str | None, str | None]]:
        """Order and requester of each ticket from a conversation."""
        query = "SELECT order_number, requester FROM ticket WHERE sender_id = ? ORDER BY number"
        return self.service.rows(query, f"telegram:{customer.chat_id}")

    def unlink_address(self, address: str) -> str:
        """Where the link in the newest letter about a binding leads."""
        query = "SELECT raw FROM letter_out WHERE template = 'linked' AND to_address = ? ORDER BY id DESC"
        letter = message_from_bytes(self.service.rows(query, address)[0][0], policy=policy.default)
        found = re.search(r"http\S+(/unlink/\S+)", letter.get_body(("plain",)).get_content())
        assert found is not None
        return found[1]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with FakeTelegram() as telegram:
        service = Running(
            tmp_path_factory.mktemp("links"), "run",
            TELEGRAM_TOKEN=telegram.token, TELEGRAM_API_BASE=telegram.api_base, TELEGRAM_FILE_BASE=telegram.file_base,
        )  # fmt: skip
        try:
            service.start()
            service.command("crm", "import", "--customers", CUSTOMERS_FILE, "--orders", ORDERS_FILE)
            yield Shop(service, telegram)
            assert telegram.violations == []
        finally:
            service.clean_up()


def said(customer: Customer, act, *what: str) -> Received:
    """The bot's answer to what a customer does."""
    known = len(customer.received)
    act(*what)
    return customer.wait_for(known + 1, timeout=30)[-1]


def test_after_one_tap_only_a_yes_is_needed(shop: Shop):
    """Who he is and which order can only be meant is known; the mailbox hears of the binding."""
    maria = shop.telegram.customer(first_name="Мария")

    linked = said(maria, maria.starts, shop.token("c-101"))
    asked = said(maria, maria.says, "Где мой заказ?")
    opened = said(maria, maria.presses, "Всё верно")

    assert "Getwear" in linked.text
    assert "m…a@mail.example" in linked.text
    assert "48213" in asked.text
    assert "m…a@mail.example" in asked.text
    assert "m…a@mail.example" in opened.text
    assert shop.tickets(maria) == [("48213", "maria.sokolova@mail.example")]
    assert shop.unlink_address("maria.sokolova@mail.example")


def test_a_wrong_guess_is_corrected_with_a_button_for_each_order(shop: Shop):
    sophie = shop.bound("c-105", first_name="Sophie", language_code="en")

    guessed = said(sophie, sophie.says, "When will my order arrive?")
    choice = said(sophie, sophie.presses, "Change it")
    asked = said(sophie, sophie.presses, next(title for title in choice.buttons if title.startswith("47731")))
    said(sophie, sophie.presses, "That's right")

    assert "48390" in guessed.text
    assert [title.partition(" ")[0] for title in choice.buttons][:2] == ["48390", "47731"]
    assert list(choice.buttons)[2:] == ["Not about an order", "Cancel"]
    assert "47731" in asked.text
    assert "s…n@post.example" in asked.text
    assert shop.tickets(sophie) == [("47731", "sophie.brown@post.example")]


def test_a_matter_without_an_order_is_the_customers_as_well(shop: Shop):
    sophie = shop.bound("c-105", first_name="Sophie", language_code="en")

    said(sophie, sophie.says, "Please change the e-mail of my account")
    said(sophie, sophie.presses, "Not about an order")

    assert shop.tickets(sophie) == [(None, "sophie.brown@post.example")]


def test_a_link_tapped_inside_the_form_saves_the_rest_of_it(shop: Shop):
    daniel = shop.telegram.customer(first_name="Daniel", language_code="en")

    said(daniel, daniel.says, "My order 47988 is late")
    asked = said(daniel, daniel.starts, shop.token("c-106"))

    assert "47988" in asked.text
    assert "d…k@mail.example" in asked.text
    said(daniel, daniel.presses, "That's right")
    assert shop.tickets(daniel) == [("47988", "daniel.novak@mail.example")]


@pytest.mark.parametrize("kind", ["used", "unknown"])
def test_a_link_that_does_not_work_makes_nobody_a_customer(shop: Shop, kind: str):
    """Forwarded, guessed or old: the same words, and the form asks as it asks everybody."""
    token = shop.token("c-101") if kind == "used" else "AAAAAAAAAAAAAAAAAAAAAA"
    if kind == "used":
        maria = shop.telegram.customer(first_name="Мария")
        said(maria, maria.starts, token)
    stranger = shop.telegram.customer(first_name="Пётр")

    refused = said(stranger, stranger.starts, token)
    asked = said(stranger, stranger.says, "Где мой заказ?")

    assert "номер" in asked.text
    assert not re.search(MARIAS, refused.text + asked.text + str([*refused.buttons, *asked.buttons]))
    binding = "SELECT count(*) FROM binding WHERE sender_id = ?"
    assert shop.service.rows(binding, f"telegram:{stranger.chat_id}") == [(0,)]


def test_the_owner_of_the_mailbox_ends_a_binding_and_the_chat_is_a_strangers(shop: Shop):
    """Also in the middle of a case; a mail scanner that only looks ends nothing."""
    thief = shop.bound("c-103", first_name="Вор")
    asked = said(thief, thief.says, "Отмените мой заказ")
    page = shop.unlink_address("elena.kim@mail.example")

    assert "47902" in asked.text
    assert "Отвязать" in shop.service.http.get(page).text
    assert len(thief.received) == 2
    heard = said(thief, shop.service.http.post, page)
    again = said(thief, thief.says, "да, всё верно")

    assert "ссылк" in heard.text
    assert "почт" in again.text
    assert not re.search(r"e…m@|Елен", heard.text + again.text)
    assert shop.tickets(thief) == []


def test_forget_makes_a_stranger_of_a_customer(shop: Shop):
    """Whatever was begun ends; what is kept is said."""
    james = shop.bound("c-104", first_name="James", language_code="en")
    said(james, james.says, "My jeans are late")

    forgotten = said(james, james.says, "/forget")
    asked = said(james, james.says, "My jeans are late")

    assert "letters" in forgotten.text
    assert "48120" not in asked.text
    assert "number" in asked.text
    assert shop.service.rows("SELECT count(*) FROM binding WHERE sender_id = ?", f"telegram:{james.chat_id}") == [(0,)]


def test_no_log_holds_a_token(shop: Shop):
    """Whoever reads logs must not be able to tap before the customer does."""
    token = shop.token("c-102")
    ivan = shop.telegram.customer(first_name="Иван")
    said(ivan, ivan.starts, token)

    logs = [shop.service.log, shop.service.data_dir / "engine.log"]
    assert not any(token in Path(log).read_text(encoding="utf-8") for log in logs)
