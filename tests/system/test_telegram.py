"""Telegram as customers see it: the real service, polling a fake Bot API that checks every call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.demo.examples import CUSTOMERS_FILE, ORDERS_FILE

from ..messengers.fake_telegram import FakeTelegram
from ..messengers.telegram_customer import Customer
from .chat import png
from .running import Running, lasting_port, own_engine, wait_for

pytestmark = pytest.mark.engine


@dataclass(frozen=True)
class Shop:
    """The service with its customers' messenger."""

    service: Running
    telegram: FakeTelegram

    def tickets(self, customer: Customer) -> list[dict[str, object]]:
        """Tickets of one customer."""
        numbers = self.service.rows("SELECT number FROM ticket WHERE sender_id = ?", f"telegram:{customer.chat_id}")
        return [ticket for ticket in self.service.tickets() if (ticket["number"],) in numbers]


def settings_of(telegram: FakeTelegram) -> dict[str, str]:
    """What the operator sets."""
    return {
        "TELEGRAM_TOKEN": telegram.token,
        "TELEGRAM_API_BASE": telegram.api_base,
        "TELEGRAM_FILE_BASE": telegram.file_base,
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with FakeTelegram(strict_limits=True) as telegram:
        service = Running(tmp_path_factory.mktemp("telegram"), "run", **settings_of(telegram))
        try:
            service.start()
            service.command("crm", "import", "--customers", CUSTOMERS_FILE, "--orders", ORDERS_FILE)
            yield Shop(service, telegram)
            assert telegram.violations == []
        finally:
            service.clean_up()


def test_a_case_from_hello_to_ticket(shop: Shop):
    maria = shop.telegram.customer(first_name="Мария")
    maria.starts()
    assert "Getwear" in maria.wait_for(1)[0].text
    maria.says("У меня на джинсах разошёлся шов, заказ 47655, почта maria.sokolova@mail.example")
    asks = maria.wait_for(2)[1]
    assert len(asks.buttons) == 3, asks.text
    maria.presses(next(iter(asks.buttons)))
    promise = maria.wait_for(3)[2].text

    [ticket] = shop.tickets(maria)
    assert str(ticket["number"]) in promise
    expected = ("telegram", "47655", "maria.sokolova@mail.example")
    assert (ticket["channel"], ticket["order"], ticket["requester"]) == expected
    [answered] = [call for call in shop.telegram.calls if call.method == "answerCallbackQuery"]
    assert "text" not in answered.params


def test_an_english_customer_is_answered_in_english(shop: Shop):
    james = shop.telegram.customer(first_name="James", language_code="en-GB")
    james.says("How do I measure myself?")

    assert "measur" in james.wait_for(1)[0].text.lower()


def test_a_button_counts_once(shop: Shop):
    """Pressed again later it must not answer another question; the press is answered with a word."""
    elena = shop.telegram.customer(first_name="Елена")
    elena.says("Где мой заказ 47902? elena.kim@mail.example")
    asks = elena.wait_for(1)[0]
    elena.presses_data(asks.buttons[next(iter(asks.buttons))])
    elena.wait_for(2)
    elena.presses_data(asks.buttons[next(iter(asks.buttons))], under=asks)

    wait_for(lambda: any("кнопка" in str(answer) for answer in shop.telegram.answers.values()), "a word")
    assert len(elena.received) == 2
    assert len(shop.tickets(elena)) == 1


def test_an_album_with_words_is_kept_and_answered_as_one(shop: Shop):
    ivan = shop.telegram.customer(first_name="Иван")
    ivan.sends_photo(png(), caption="Вот как сидят мои джинсы, хочу обменять", album="a1")
    ivan.sends_photo(png(), album="a1")
    ivan.sends_photo(png(), album="a1")

    wait_for(lambda: len(ivan.received) == 2, "two answers", 15)
    files = "SELECT count(*) FROM stored_file WHERE sender_id = ?"
    assert shop.service.rows(files, f"telegram:{ivan.chat_id}") == [(3,)]


def test_a_file_that_is_no_picture_is_refused_kindly(shop: Shop):
    """By what Telegram says of it, or by its content when that lies."""
    liar = shop.telegram.customer(first_name="Олег")
    liar.sends_document(b"MZ\x90\x00" + b"\0" * 100, "photo.jpg", "image/jpeg")
    assert "PDF" in liar.wait_for(1)[0].text
    liar.sends_document(b"PK\x03\x04", "mail.zip", "application/zip")
    assert "PDF" in liar.wait_for(2)[1].text
    assert not any(call.method == "getFile" and "zip" in str(call) for call in shop.telegram.calls)


def test_everything_else_gets_a_word(shop: Shop):
    """Stickers, voice, places and contacts; each is answered once, none is an error."""
    anna = shop.telegram.customer(first_name="Анна")
    for number, send in enumerate((anna.sends_sticker, anna.sends_voice, anna.sends_location, anna.sends_contact), 1):
        send()
        anna.wait_for(number)
    assert len({message.text for message in anna.received}) == 4


def test_groups_and_other_updates_are_no_business_of_ours(shop: Shop):
    stranger = shop.telegram.customer(first_name="Пётр")
    before = shop.service.rows("SELECT count(*) FROM inbox")
    sender = {"id": stranger.chat_id, "is_bot": False, "first_name": "Пётр"}
    group = {"id": -100123, "type": "supergroup", "title": "Швейный клуб"}
    shop.telegram.inject("message", {"message_id": 5, "date": 1, "chat": group, "from": sender, "text": "бот?"})
    shop.telegram.inject("channel_post", {"message_id": 6, "date": 1, "chat": group, "text": "новость"})
    stranger.says("спасибо")
    stranger.wait_for(1)

    [(after,)] = shop.service.rows("SELECT count(*) FROM inbox")
    assert after == before[0][0] + 1


def test_an_edit_is_not_answered_again(shop: Shop):
    olga = shop.telegram.customer(first_name="Ольга")
    olga.says("Как снять мерки?")
    olga.wait_for(1)
    olga.edits("Как снять мерки правильно?")
    olga.says("спасибо")
    olga.wait_for(2)
    assert len(olga.received) == 2


def test_a_customer_who_blocked_the_bot_holds_up_nobody(shop: Shop):
    gone, here = shop.telegram.customer(first_name="Нина"), shop.telegram.customer(first_name="Вера")
    gone.says("Как стирать джинсы?")
    gone.blocks()
    here.says("Как стирать джинсы?")
    here.wait_for(1, timeout=5)

    reason = "SELECT state, last_error FROM outbox WHERE sender_id = ?"
    wait_for(lambda: shop.service.rows(reason, f"telegram:{gone.chat_id}"), "an answer")
    wait_for(lambda: shop.service.rows(reason, f"telegram:{gone.chat_id}")[0][0] != "waiting", "the refusal")
    [(state, error)] = shop.service.rows(reason, f"telegram:{gone.chat_id}")
    assert state == "refused"
    assert "blocked" in error


def test_the_profile_is_set_in_both_languages(shop: Shop):
    """Role and hours stand where a customer looks before writing."""
    wait_for(lambda: ("setMyName", "ru") in shop.telegram.profile, "the profile")
    for method, word in (("setMyDescription", "19:00"), ("setMyShortDescription", "Getwear")):
        for language in ("", "ru", "en"):
            assert word in str(shop.telegram.profile[method, language])


def test_health_says_when_telegram_last_answered(shop: Shop):
    health = shop.service.http.get("/healthz").json()
    assert 0 <= health["channels"]["telegram"]["last_poll_age_s"] < 60
    assert re.search(r'support_poll_age_seconds{channel="telegram"} \d', shop.service.http.get("/metrics").text)


def test_one_customers_trouble_is_nobody_elses(shop: Shop):
    """While his answer hangs or has to wait, others get theirs; what went wrong and could be repeated arrives."""
    troubles = {
        "hang": {"seconds": 30},
        "slow": {"seconds": 3},
        "429": {"retry_after": 30},
        "garbage": {},
        "drop_before": {},
        "500_before": {},
    }
    unlucky = {kind: shop.telegram.customer(first_name="Иван") for kind in troubles}
    for kind, options in troubles.items():
        shop.telegram.fault("sendMessage", kind, chat_id=unlucky[kind].chat_id, **options)
        unlucky[kind].says("Как снять мерки?")
    wait_for(lambda: {call.fault for call in shop.telegram.calls} >= troubles.keys(), "all the faults")
    lucky = shop.telegram.customer(first_name="Анна")
    lucky.says("Как снять мерки?")
    lucky.wait_for(1)

    assert unlucky["hang"].received == []
    assert unlucky["429"].received == []
    for kind in troubles.keys() - {"429"}:
        unlucky[kind].wait_for(1, timeout=40)


def test_what_was_delivered_twice_is_answered_once(shop: Shop):
    vera = shop.telegram.customer(first_name="Вера")
    vera.says("Как снять мерки?")
    vera.wait_for(1)
    shop.telegram.redeliver(3)
    vera.says("спасибо")
    vera.wait_for(2)
    assert len(vera.received) == 2


def test_webhook_and_a_telegram_that_comes_late(tmp_path: Path):
    """The service starts while Telegram is away, sets the webhook once it is there, and lets nobody else in."""
    telegram = FakeTelegram()
    port = lasting_port()
    url = f"http://127.0.0.1:{port}/from-telegram"
    with own_engine(tmp_path, port) as engine:
        settings = settings_of(telegram) | engine | {"TELEGRAM_WEBHOOK_URL": url}
        _webhook(telegram, Running(tmp_path, "run", port=port, **settings))


def _webhook(telegram: FakeTelegram, service: Running) -> None:
    try:
        service.start()
        forged = {"update_id": 1, "message": {"message_id": 1, "text": "hi"}}
        assert service.http.post("/from-telegram", json=forged).status_code == 403
        secret = {"X-Telegram-Bot-Api-Secret-Token": "guessed"}
        assert service.http.post("/from-telegram", json=forged, headers=secret).status_code == 403
        with telegram:
            anna = telegram.customer(first_name="Anna", language_code="en")
            wait_for(lambda: any(call.method == "setWebhook" for call in telegram.calls), "a webhook")
            anna.says("How do I measure myself?")
            assert "measur" in anna.wait_for(1)[0].text.lower()
            service.kill()
            anna.says("How do I wash them?")
            service.start()
            anna.wait_for(2, timeout=60)
            assert telegram.violations == []
    finally:
        service.clean_up()
