"""The fake Telegram behaves as Telegram does: towards python-telegram-bot, and towards calls it would never make."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from telegram import InlineKeyboardButton, InlineKeyboardMarkup, LinkPreviewOptions
from telegram.error import BadRequest, Forbidden, InvalidToken, NetworkError, RetryAfter, TelegramError, TimedOut
from telegram.ext import ExtBot, Updater

from ..system.running import lasting_port
from .fake_telegram import TOKEN, FakeTelegram
from .telegram_http import Request, Server

YES = InlineKeyboardButton("Yes", callback_data="key")

Api = Callable[..., httpx.Response]


@pytest.fixture
def telegram() -> Iterator[FakeTelegram]:
    with FakeTelegram() as telegram:
        telegram.webhook_retry_s = 0.02
        yield telegram


@pytest.fixture
def api(telegram: FakeTelegram) -> Iterator[Api]:
    """Calls a method with parameters in JSON."""
    with httpx.Client(base_url=f"{telegram.api_base}{TOKEN}/", timeout=5, verify=False) as http:
        yield lambda method, **params: http.post(method, json=params)


@pytest.fixture
async def bot(telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ExtBot[None]]:
    monkeypatch.setenv("PTB_TIMEDELTA", "1")  # else the library warns whenever Telegram says how long to wait
    async with ExtBot(TOKEN, base_url=telegram.api_base, base_file_url=telegram.file_base) as bot:
        yield bot


def texts(response: httpx.Response) -> list[str]:
    """What a getUpdates brought."""
    return [update["message"]["text"] for update in response.json()["result"]]


def keyboard(**button: Any) -> dict[str, Any]:
    return {"inline_keyboard": [[{"text": "Yes", **button}]]}


@pytest.mark.parametrize(
    ("method", "params", "description"),
    [
        ("sendMessage", {"text": "x" * 4097}, "message is too long"),
        ("sendMessage", {"text": "👖" * 2049}, "message is too long"),
        ("sendMessage", {"text": ""}, "text is empty"),
        ("sendMessage", {"text": "<b> </b>", "parse_mode": "HTML"}, "text must be non-empty"),
        ("sendMessage", {"text": "1 < 2", "parse_mode": "HTML"}, "can't parse entities"),
        ("sendMessage", {"text": "Q&A", "parse_mode": "HTML"}, "can't parse entities"),
        ("sendMessage", {"text": "<b>a</i>", "parse_mode": "HTML"}, "can't parse entities"),
        ("sendMessage", {"text": "<b>a", "parse_mode": "HTML"}, "can't parse entities"),
        ("sendMessage", {"text": "<p>a</p>", "parse_mode": "HTML"}, "can't parse entities"),
        ("sendMessage", {"text": "a", "parse_mode": "MarkdownV2"}, "parse_mode"),
        ("sendMessage", {"text": "a", "reply_markup": keyboard(callback_data="я" * 32 + "x")}, "BUTTON_DATA_INVALID"),
        ("sendMessage", {"text": "a", "reply_markup": keyboard()}, "exactly one"),
        ("sendMessage", {"text": "a", "reply_markup": keyboard(callback_data="a", url="https://a.example")}, "one"),
        ("sendMessage", {"text": "a", "reply_markup": "no JSON"}, "can't parse JSON"),
        ("sendMessage", {"text": "a", "reply_markup": []}, "not an object"),
        ("sendMessage", {"text": "a", "mood": "good"}, "unknown parameter mood"),
        ("sendMessage", {"text": "a", "protect_content": "perhaps"}, "protect_content"),
        ("getUpdates", {"limit": 101}, "limit"),
        ("getUpdates", {"allowed_updates": ["messages"]}, "allowed_updates"),
        ("setMyDescription", {"description": "x" * 513}, "description"),
        ("setMyCommands", {"commands": [{"command": "Help", "description": "a"}]}, "command"),
        ("setWebhook", {"url": "http://bot.example/"}, "HTTPS"),
        ("sendDice", {}, "method not found"),
    ],
)
def test_calls_that_no_bot_should_make(telegram: FakeTelegram, api: Api, method: str, params: Any, description: str):
    customer = telegram.customer()

    response = api(method, **({"chat_id": customer.chat_id} if method == "sendMessage" else {}), **params)

    assert response.status_code in (400, 404)
    assert description in response.json()["description"]
    assert len(telegram.violations) == 1
    assert telegram.violations[0].startswith(f"{method}: ")
    assert not customer.received


async def test_what_the_library_sends_is_no_violation(telegram: FakeTelegram, bot: ExtBot[None]):
    customer = telegram.customer()
    rows = [
        [InlineKeyboardButton("Да", callback_data="я" * 32)],
        [InlineKeyboardButton("Shop", url="https://a.example")],
    ]

    sent = await bot.send_message(
        customer.chat_id, '<b>1 &lt; 2</b> &amp; <a href="https://a.example/?a=1&amp;b=2">so</a>', parse_mode="HTML",
        reply_markup=InlineKeyboardMarkup(rows), link_preview_options=LinkPreviewOptions(is_disabled=True),
    )  # fmt: skip
    await bot.edit_message_reply_markup(customer.chat_id, sent.message_id)
    await bot.send_photo(customer.chat_id, b"\xff\xd8\r\n\x00", caption="a photo")
    await bot.send_chat_action(customer.chat_id, "typing")
    await bot.set_my_name("Getwear", language_code="en")
    await bot.set_my_commands([("start", "Begin")])

    assert telegram.violations == []
    assert [seen.text for seen in customer.received] == ["1 < 2 & so", "a photo"]
    assert customer.received[0].buttons == {}
    assert telegram.profile["setMyName", "en"] == {"name": "Getwear"}


def test_an_update_is_handed_out_until_a_higher_offset_confirms_it(telegram: FakeTelegram, api: Api):
    customer = telegram.customer()
    first, *_ = [customer.says(text)["update_id"] for text in ("one", "two", "three")]
    telegram.inject("chat_member", {"chat": customer.chat})  # not asked for

    assert texts(api("getUpdates", limit=2)) == ["one", "two"]
    assert texts(api("getUpdates")) == ["one", "two", "three"]
    assert texts(api("getUpdates", offset=first + 2)) == ["three"]
    assert texts(api("getUpdates", offset=-1)) == ["three"]
    assert texts(api("getUpdates", offset=first + 3)) == []
    assert telegram.pending() == []


def test_updates_come_twice_and_out_of_order_on_request(telegram: FakeTelegram, api: Api):
    customer = telegram.customer()
    with telegram.holding_back():
        customer.says("one")
    two = customer.says("two")["update_id"]
    assert texts(api("getUpdates")) == ["two"]
    telegram.release()

    assert texts(api("getUpdates", offset=two + 1)) == ["one"]
    assert texts(api("getUpdates", offset=two + 1)) == []
    telegram.redeliver(1)
    assert texts(api("getUpdates", offset=two + 1)) == ["one"]


def test_of_two_polls_the_newer_one_stays(telegram: FakeTelegram, api: Api):
    answers: list[httpx.Response] = []
    older = threading.Thread(target=lambda: answers.append(api("getUpdates", timeout=5)))
    older.start()
    telegram.wait_until(lambda: telegram._poll == 1)
    newer = threading.Thread(target=lambda: answers.append(api("getUpdates", timeout=5)))
    newer.start()
    older.join()

    telegram.customer().says("hello")
    newer.join()

    assert [response.status_code for response in answers] == [409, 200]
    assert texts(answers[1]) == ["hello"]


@pytest.fixture
async def updates(bot: ExtBot[None]) -> AsyncIterator[asyncio.Queue[Any]]:
    """What the library polls."""
    updater = Updater(bot, asyncio.Queue[Any]())
    async with asyncio.timeout(5), updater:
        await updater.start_polling(allowed_updates=["message", "callback_query", "my_chat_member"])
        yield updater.update_queue
        await updater.stop()


async def test_a_conversation_with_the_library(telegram: FakeTelegram, updates: asyncio.Queue[Any]):
    customer = telegram.customer()

    customer.starts("order-47655")
    started = (await updates.get()).message
    await started.reply_text("Sure?", reply_markup=InlineKeyboardMarkup.from_button(YES))
    customer.presses("Yes")
    pressed = (await updates.get()).callback_query
    await pressed.answer()

    assert (started.text, started.from_user.language_code, pressed.data) == ("/start order-47655", "ru", "key")
    assert telegram.answers == {pressed.id: {}}
    assert not telegram.queries
    with pytest.raises(BadRequest, match=r"(?i)query is too old"):
        await pressed.answer()


async def test_what_customers_send_besides_texts(telegram: FakeTelegram, updates: asyncio.Queue[Any]):
    customer = telegram.customer()

    customer.sends_photo(b"the photo", "look", album="7")
    photo = (await updates.get()).message.photo[-1]
    assert await (await photo.get_file()).download_as_bytearray() == b"the photo"
    customer.sends_document(b"x" * (20 << 20) + b"x", "big.pdf", "application/pdf")
    document = (await updates.get()).message.document
    with pytest.raises(BadRequest, match=r"(?i)file is too big"):
        await document.get_file()
    for sends in (customer.sends_sticker, customer.sends_voice, customer.sends_location, customer.sends_contact):
        sends()
        assert (await updates.get()).message.text is None


async def test_a_customer_who_blocks_the_bot(telegram: FakeTelegram, bot: ExtBot[None], updates: asyncio.Queue[Any]):
    customer = telegram.customer()
    customer.blocks()

    assert (await updates.get()).my_chat_member.new_chat_member.status == "kicked"
    with pytest.raises(Forbidden, match="blocked"):
        await bot.send_message(customer.chat_id, "Goodbye")
    with pytest.raises(BadRequest, match=r"(?i)chat not found"):
        await bot.send_message(1, "Who is there?")
    customer.starts()
    await bot.send_message(customer.chat_id, "Welcome back")


@pytest.mark.parametrize(
    ("kind", "error", "has_effect"),
    [
        ("429", RetryAfter, False),
        ("400", BadRequest, False),
        ("403", Forbidden, False),
        ("404", InvalidToken, False),
        ("500_before", NetworkError, False),
        ("500_after", NetworkError, True),
        ("drop_before", NetworkError, False),
        ("drop_after", NetworkError, True),
        ("garbage", TelegramError, False),
        ("garbage_after", TelegramError, True),
        ("hang", TimedOut, False),
        ("slow", TimedOut, True),
    ],
)
async def test_faults(
    telegram: FakeTelegram, bot: ExtBot[None], kind: str, error: type[TelegramError], has_effect: bool
):
    """Where a call has an effect without an answer, the test must know: the bot may send the same again."""
    customer, other = telegram.customer(), telegram.customer()
    telegram.fault("sendMessage", kind, chat_id=customer.chat_id, seconds=0.5, retry_after=7)

    await bot.send_message(other.chat_id, "to another chat")
    with pytest.raises(error):
        await bot.send_message(customer.chat_id, "first", read_timeout=0.1 if error is TimedOut else 5)
    await bot.send_message(customer.chat_id, "second")
    customer.wait_for(2 if has_effect else 1)

    first = [("first", True)] if has_effect else []
    assert sorted((seen.text, seen.ambiguous) for seen in customer.received) == [*first, ("second", False)]
    assert [call.fault for call in telegram.calls if call.method == "sendMessage"] == ["", kind, ""]


def test_sends_over_the_limits_are_refused(telegram: FakeTelegram, api: Api):
    telegram.strict_limits = True
    customers = [telegram.customer() for _ in range(30)]
    moment = 100.0
    telegram.clock = lambda: moment

    to_one = [api("sendMessage", chat_id=customers[0].chat_id, text="a").status_code for _ in range(4)]
    to_all = [api("sendMessage", chat_id=customer.chat_id, text="a").status_code for customer in customers[1:]]
    moment += 1
    later = [api("sendMessage", chat_id=customers[0].chat_id, text="a").status_code for _ in range(2)]

    assert to_one == [200, 200, 200, 429]
    assert to_all == [200] * 27 + [429] * 2
    assert later == [200, 429]
    assert telegram.refused == 4


def test_telegram_comes_back_with_all_it_knew(telegram: FakeTelegram, api: Api):
    customer = telegram.customer()
    customer.says("one")
    telegram.stop()
    with pytest.raises(httpx.TransportError):
        api("getUpdates")
    customer.says("two")
    telegram.start()

    assert texts(api("getUpdates")) == ["one", "two"]


def test_weather_makes_doubles_only_where_it_was_ambiguous(telegram: FakeTelegram, api: Api):
    customer = telegram.customer()
    telegram.weather(random.Random(7), 0.5, ["drop_before", "drop_after", "500_after", "429"])
    for number in range(20):
        while True:
            try:
                if api("sendMessage", chat_id=customer.chat_id, text=f"{number}").is_success:
                    break
            except httpx.TransportError:
                continue

    for number in range(20):
        copies = [seen for seen in customer.received if seen.text == f"{number}"]
        assert [copy.ambiguous for copy in copies] == [True] * (len(copies) - 1) + [False]
    assert len(customer.received) > 20


def test_a_webhook_gets_updates_in_order_until_it_takes_them(telegram: FakeTelegram, api: Api):
    pushed: list[tuple[str, Any]] = []
    failures: list[BaseException] = []
    statuses = iter([500, None, 503])

    def take(request: Request) -> tuple[int, str, bytes] | None:
        pushed.append((request.path, request.params))
        status = next(statuses, 200)
        return None if status is None else (status, "text/plain", b"")

    server = Server(lasting_port(), take, failures.append)
    try:
        customer = telegram.customer()
        customer.says("one")
        assert api("setWebhook", url=f"http://127.0.0.1:{server.server_port}/tg", secret_token="s3cret").is_success
        customer.says("two")
        assert telegram.wait_until(lambda: not len(telegram.updates), 5)
        assert api("getUpdates").status_code == 409
        info = api("getWebhookInfo").json()["result"]
        assert api("deleteWebhook").is_success
    finally:
        server.close()

    assert [path for path, _ in pushed] == ["/tg"] * 5
    assert [update["message"]["text"] for _, update in pushed] == ["one"] * 4 + ["two"]
    assert (info["pending_update_count"], info["last_error_message"][-3:]) == (0, "503")
