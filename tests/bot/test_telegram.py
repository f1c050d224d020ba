"""What a failed call to Telegram means: a message that certainly did not arrive, or one that may have."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from telegram.error import NetworkError, TimedOut

from bot.channel import MaybeSent, MessengerAway, SendLater
from bot.channels import telegram as channels
from bot.channels import telegram_request, telegram_updates
from bot.channels.telegram import TelegramChannel
from bot.channels.telegram_request import ProxyNotSupported, TelegramRequest
from bot.channels.telegram_updates import TelegramIntake
from bot.engine_process import free_port
from bot.models import OutboxItem

from ..messengers.fake_telegram import FakeTelegram
from ..messengers.telegram_customer import Customer

Channel = Callable[..., TelegramChannel]


@pytest.fixture
def customer(telegram: FakeTelegram) -> Customer:
    customer = telegram.customer()
    customer.starts()
    return customer


@pytest.fixture
async def channel(telegram: FakeTelegram) -> AsyncIterator[Channel]:
    """Makes a channel to Telegram, or to another address."""
    made = []

    def make(api_base: str = telegram.api_base) -> TelegramChannel:
        made.append(TelegramChannel(telegram.token, api_base))
        return made[-1]

    yield make
    for each in made:
        await each.close()


def item(customer: Customer, text: str = "one") -> OutboxItem:
    return OutboxItem(sender_id=f"telegram:{customer.chat_id}", text=text, buttons=[], maybe_sent=False)


def sends(telegram: FakeTelegram) -> int:
    """How many messages Telegram was asked to send."""
    return [call.method for call in telegram.calls].count("sendMessage")


async def test_text_and_buttons_arrive_as_they_are(telegram, customer, channel):
    text = "Готово & «ждём» 👖 a+b=100%\n" + "ы" * 4000
    buttons = [{"title": "Да, всё верно & точно", "key": "k=1&2"}]
    sent = item(customer, text)
    sent.buttons = buttons

    number = await channel().send(sent)

    [received] = customer.received
    assert (received.text, received.buttons) == (text, {"Да, всё верно & точно": "k=1&2"})
    assert number == str(received.message_id)


async def test_nobody_listens(customer, channel):
    with pytest.raises(SendLater, match="ClientConnectorError"):
        await channel(f"http://127.0.0.1:{free_port()}").send(item(customer))


async def test_nobody_of_that_name(customer, channel):
    with pytest.raises(SendLater, match="ClientConnectorDNSError"):
        await channel("http://telegram.invalid").send(item(customer))


async def test_no_encryption_there(telegram, customer, channel):
    with pytest.raises(SendLater):
        await channel(telegram.api_base.replace("http:", "https:")).send(item(customer))
    assert sends(telegram) == 0


async def test_a_connection_that_does_not_come_about(customer, channel, monkeypatch):
    """Taken by the system, but encryption is never agreed upon."""
    monkeypatch.setattr(telegram_request, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(SendLater, match="Timed out"):
        await channel(f"https://127.0.0.1:{silent.getsockname()[1]}").send(item(customer))


async def test_every_connection_is_busy(telegram, customer, channel, monkeypatch, eventually):
    """What waits for one has not left us."""
    monkeypatch.setattr(channels, "CONNECTIONS", 1)
    monkeypatch.setattr(telegram_request, "POOL_S", 0.1)
    monkeypatch.setattr(telegram_request, "CONNECT_S", 0.1)
    telegram.fault("sendMessage", "slow", seconds=1)
    to_telegram = channel()

    first = asyncio.create_task(to_telegram.send(item(customer, "first")))
    await eventually(lambda: sends(telegram) == 1)
    with pytest.raises(SendLater, match="Timed out"):
        await to_telegram.send(item(customer, "second"))
    await first

    assert [sent.text for sent in customer.received] == ["first"]
    assert sends(telegram) == 1


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "hang", "500_after", "garbage_after"])
@pytest.mark.parametrize("is_new", [True, False])
async def test_no_answer_to_what_has_left(telegram, customer, channel, monkeypatch, kind, is_new):
    """It may have arrived: nothing repeats it, neither on a new connection nor on one that was used before."""
    monkeypatch.setattr(channels, "ANSWER_S", 0.3)
    to_telegram = channel()
    if not is_new:
        await to_telegram.typing(f"telegram:{customer.chat_id}")
    telegram.fault("sendMessage", kind, seconds=1)

    with pytest.raises(MaybeSent) as raised:
        await to_telegram.send(item(customer))

    await asyncio.sleep(0.2)
    assert sends(telegram) == 1
    assert telegram.token not in str(raised.value)


async def test_telegram_hung_up_on_an_idle_connection(telegram, customer, channel):
    to_telegram = channel()
    await to_telegram.send(item(customer, "first"))
    telegram.stop()
    telegram.start()
    await asyncio.sleep(0.1)

    await to_telegram.send(item(customer, "second"))

    assert [sent.text for sent in customer.received] == ["first", "second"]
    assert sends(telegram) == 2


async def test_telegram_hangs_up_at_the_moment_of_sending(telegram, customer, channel):
    """Before we could have heard of it; the call is made once all the same."""
    to_telegram = channel()
    await to_telegram.send(item(customer, "first"))
    telegram.stop()
    telegram.start()  # all this while our event loop stands still

    with pytest.raises(MaybeSent):
        await to_telegram.send(item(customer, "second"))

    assert [sent.text for sent in customer.received] == ["first"]
    assert sends(telegram) == 1


async def test_a_redirection_is_not_followed(customer, channel):
    """Made again elsewhere, the call might have its effect twice."""
    asked = []

    async def redirect(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", redirect)
    async with TestServer(app) as server:
        with pytest.raises(MaybeSent):
            await channel(str(server.make_url("/"))).send(item(customer))

    assert [path.rpartition("/")[2] for path in asked] == ["sendMessage"]


async def test_the_proxy_of_the_environment(telegram, customer, channel, monkeypatch):
    """Where it lets nobody through, the message has not left."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.setenv(name, f"127.0.0.1:{telegram.port}" if name != "no_proxy" else "127.0.0.1")

    await channel("http://api.telegram.example").send(item(customer, "through it"))
    await channel().send(item(customer, "past it"))
    with pytest.raises(SendLater, match="ClientHttpProxyError"):
        await channel("https://api.telegram.example").send(item(customer, "refused"))

    assert [sent.text for sent in customer.received] == ["through it", "past it"]


def test_a_proxy_that_cannot_be_used_is_told_at_the_start(monkeypatch):
    """Later each message would fail, and perhaps count as sent."""
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:1080")
    with pytest.raises(ProxyNotSupported, match="HTTPS_PROXY"):
        TelegramChannel("1:secret")


async def test_an_errors_text_holds_no_token(telegram):
    """It is kept with the message, and `support stuck` shows it."""
    request = TelegramRequest(1)
    for url, error in {
        f"nonsense://127.0.0.1/bot{telegram.token}/getMe": "NonHttpUrlClientError",
        f"http:///bot{telegram.token}/getMe": "InvalidUrlClientError",
        f"http://127.0.0.1:{free_port()}/bot{telegram.token}/getMe": "ClientConnectorError: Cannot connect to host",
    }.items():
        with pytest.raises(NetworkError, match=error) as raised:
            await request.post(url)
        assert telegram.token not in str(raised.value)
    await request.shutdown()


async def test_time_is_up_as_the_caller_says(telegram):
    """Updates are waited for longer than answers; None is for ever."""
    request = TelegramRequest(1, 0.1)
    address = f"{telegram.api_base}{telegram.token}/getMe"
    for _ in range(3):
        telegram.fault("getMe", "slow", seconds=0.3)

    with pytest.raises(TimedOut):
        await request.post(address)
    for patience in (1.0, None):
        assert await request.post(address, read_timeout=patience, connect_timeout=patience, pool_timeout=patience)
    await request.shutdown()


async def test_closed_it_stays_closed_until_it_is_begun_again(telegram):
    request = TelegramRequest(1)
    address = f"{telegram.api_base}{telegram.token}/getMe"
    await request.shutdown()
    for _ in range(2):
        await request.initialize()
        await request.initialize()
        assert await request.post(address)
        await request.shutdown()
        await request.shutdown()
        with pytest.raises(NetworkError, match="closed"):
            await request.post(address)


class Held:
    """A lease that is not lost."""

    held = True


@pytest.mark.parametrize("how", ["hangs", "is away"])
async def test_a_poller_that_is_given_up_leaves_no_connection(telegram, channel, texts, monkeypatch, how):
    """It is built anew until Telegram answers."""
    monkeypatch.setattr(telegram_updates, "STALLED_S", 0.1)
    monkeypatch.setattr(telegram_updates, "STOP_S", 0.1)
    intake = TelegramIntake(None, channel(), texts, lambda: None)
    telegram.fault("getUpdates", "hang", seconds=60, times=9)
    if how == "is away":
        telegram.stop()

    began = time.monotonic()
    with pytest.raises(MessengerAway):
        await intake.poll(Held())

    assert time.monotonic() - began < 5
    assert [each for each in asyncio.all_tasks() if each is not asyncio.current_task()] == []
