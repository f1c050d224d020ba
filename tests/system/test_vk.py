"""VK as customers see it: the real service, polling a fake VK that checks every call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.demo.examples import CUSTOMERS_FILE, ORDERS_FILE

from ..messengers.fake_vk import FakeVk
from ..messengers.vk_customer import Customer
from .chat import png
from .running import Running, lasting_port, own_engine, wait_for

pytestmark = pytest.mark.engine


@dataclass(frozen=True)
class Shop:
    """The service with its customers' messenger."""

    service: Running
    vk: FakeVk

    def tickets(self, customer: Customer) -> list[dict[str, object]]:
        """Tickets of one customer."""
        numbers = self.service.rows("SELECT number FROM ticket WHERE sender_id = ?", f"vk:{customer.user_id}")
        return [ticket for ticket in self.service.tickets() if (ticket["number"],) in numbers]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with FakeVk(strict_rate=True) as vk:
        service = Running(tmp_path_factory.mktemp("vk"), "run", **vk.environment)
        try:
            service.start()
            service.command("crm", "import", "--customers", CUSTOMERS_FILE, "--orders", ORDERS_FILE)
            yield Shop(service, vk)
            assert vk.violations == []
        finally:
            service.clean_up()


def test_a_case_from_hello_to_ticket(shop: Shop):
    maria = shop.vk.customer()
    maria.starts()
    assert "Getwear" in maria.wait_for(1)[0].text
    maria.says("У меня на джинсах разошёлся шов, заказ 47655, почта maria.sokolova@mail.example")
    asks = maria.wait_for(2)[1]
    assert len(asks.buttons) == 3, asks.text
    maria.presses(asks.buttons[0])
    promise = maria.wait_for(3)[2].text

    [ticket] = shop.tickets(maria)
    assert str(ticket["number"]) in promise
    assert (ticket["channel"], ticket["order"], ticket["requester"]) == ("vk", "47655", "maria.sokolova@mail.example")


def test_a_button_counts_once(shop: Shop):
    """Pressed again later its words are an ordinary message: never another confirmation, never silence."""
    elena = shop.vk.customer(first_name="Елена")
    elena.says("Где мой заказ 47902? elena.kim@mail.example")
    asks = elena.wait_for(1)[0]
    elena.presses(asks.buttons[0])
    elena.wait_for(2)
    elena.presses(asks.buttons[0], of=asks)
    elena.wait_for(3)
    assert len(shop.tickets(elena)) == 1


def test_photos_with_words_are_kept_and_answered(shop: Shop):
    ivan = shop.vk.customer(first_name="Иван")
    ivan.sends_photo(png(), caption="Вот как сидят мои джинсы, хочу обменять")
    ivan.wait_for(2, timeout=15)
    files = "SELECT count(*) FROM stored_file WHERE sender_id = ?"
    assert shop.service.rows(files, f"vk:{ivan.user_id}") == [(1,)]


def test_everything_else_gets_a_word(shop: Shop):
    anna = shop.vk.customer(first_name="Анна")
    for number, send in enumerate((anna.sends_sticker, anna.sends_voice, anna.sends_location), 1):
        send()
        anna.wait_for(number)
    assert len({message.text for message in anna.received}) == 3


def test_an_operator_who_answers_by_hand_is_not_talked_over(shop: Shop):
    olga = shop.vk.customer(first_name="Ольга")
    olga.says("Как снять мерки?")
    olga.wait_for(1)
    shop.vk.operator_replies(olga, "Ольга, здравствуйте! Я помогу вам сам.")
    paused = "SELECT paused_until FROM conversation WHERE sender_id = ? AND paused_until IS NOT NULL"
    wait_for(lambda: shop.service.rows(paused, f"vk:{olga.user_id}"), "the pause")
    olga.says("Спасибо, а как стирать?")

    left = "SELECT 1 FROM inbox WHERE sender_id = ? AND state = 'operator'"
    wait_for(lambda: shop.service.rows(left, f"vk:{olga.user_id}"), "a message left to the operator")
    assert [message.from_operator for message in olga.received] == [False, True]


def test_one_customers_trouble_is_nobody_elses(shop: Shop):
    """While his answer hangs or has to wait, others get theirs; on VK it never arrives twice."""
    troubles = [
        ("hang", {"seconds": 30}),
        ("slow", {"seconds": 3}),
        ("error", {"code": 9}),
        ("error", {"code": 6}),
        ("garbage_after", {}),
        ("drop_after", {}),
        ("500_before", {}),
    ]
    unlucky = [shop.vk.customer(first_name="Иван") for _ in troubles]
    for person, (kind, options) in zip(unlucky, troubles, strict=True):
        shop.vk.fault("messages.send", kind, peer_id=person.user_id, **options)
        person.says("Как снять мерки?")
    lucky = shop.vk.customer(first_name="Анна")
    lucky.says("Как снять мерки?")
    lucky.wait_for(1)

    assert unlucky[0].received == []
    sent = "SELECT 1 FROM outbox WHERE sender_id = ? AND state = 'sent'"
    for person, (_, options) in zip(unlucky, troubles, strict=True):
        if options.get("code") != 9:
            person.wait_for(1, timeout=40)
            wait_for(lambda: shop.service.rows(sent, f"vk:{person.user_id}"), "the row")  # noqa: B023
            assert len(person.received) == 1


def test_a_customer_who_allows_no_messages_holds_up_nobody(shop: Shop):
    gone = shop.vk.customer(first_name="Нина")
    shop.vk.fault("messages.send", "slow", peer_id=gone.user_id, seconds=0.5)
    gone.says("Как стирать джинсы?")
    gone.denies()
    state = "SELECT state FROM outbox WHERE sender_id = ? AND state != 'waiting'"
    wait_for(lambda: shop.service.rows(state, f"vk:{gone.user_id}"), "the refusal")
    assert shop.service.rows(state, f"vk:{gone.user_id}") == [("refused",)]


@pytest.mark.parametrize("failed", [1, 2, 3])
def test_events_that_vk_has_lost_are_found_again(shop: Shop, failed: int):
    """VK forgets events or the key; messages without an answer are looked for in the conversations."""
    vera = shop.vk.customer(first_name="Вера")
    with shop.vk.changed:
        vera.says("Как снять мерки?")
        if failed in (1, 3):
            shop.vk.forget_events()
        if failed in (2, 3):
            shop.vk.expire_key()
    vera.wait_for(1, timeout=40)
    assert len(vera.received) == 1


def test_callback_and_a_vk_that_comes_late(tmp_path: Path):
    """The service starts while VK is away, confirms its address, and lets nobody else in."""
    vk, port = FakeVk(), lasting_port()
    settings = vk.environment | {"VK_CALLBACK_SECRET": "a-secret", "VK_CONFIRMATION": "c0nf1rm"}
    with own_engine(tmp_path, port) as engine:
        _callback(vk, Running(tmp_path, "run", port=port, **settings, **engine))


def _callback(vk: FakeVk, service: Running) -> None:
    try:
        service.start()
        forged = {"type": "message_new", "group_id": vk.group_id, "secret": "guessed", "object": {}}
        assert service.http.post("/vk/callback", json=forged).status_code == 403
        with vk:
            vk.callback_to(f"{service.url}/vk/callback", "a-secret", "c0nf1rm")
            anna = vk.customer(first_name="Anna")
            anna.says("How do I measure myself?")
            assert "measur" in anna.wait_for(1)[0].text.lower()
            service.kill()
            anna.says("How do I wash them?")
            service.start()
            anna.wait_for(2, timeout=60)
            assert vk.violations == []
    finally:
        service.clean_up()
