"""Messages to VK: each arrives once, within VK's limits, and what VK objects to has a reason."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import select

from bot import outbox
from bot.channel import FileGone, SendLater, SendRefused
from bot.channels import vk as vk_channel
from bot.channels import vk_lines
from bot.channels.vk import VkChannel, random_id
from bot.models import OutboxItem, RemoteFile
from bot.outbox import Sender
from handoff.files import FileTooLarge

from ..messengers import fake_vk
from ..messengers.fake_vk import FakeVk
from ..messengers.vk_http import Response, Server

CREATED = datetime(2026, 8, 3, 9, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def vk():
    with FakeVk() as vk:
        yield vk
    assert vk.violations == []


@pytest.fixture
async def channel(vk):
    channel = VkChannel(vk.token, vk.group_id, vk.url)
    yield channel
    await channel.close()


@pytest.fixture
def customer(vk):
    customer = vk.customer()
    customer.allows()
    return customer


def item(customer, text="Здравствуйте!", id=1, **fields):
    """A row of the outbox."""
    given = {"buttons": [], "created_at": CREATED, "maybe_sent": False, **fields}
    return OutboxItem(id=id, sender_id=f"vk:{customer.user_id}", text=text, **given)


def button(title, key="k3y_of-it"):
    return {"title": title, "key": key}


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "/", "/method", "/method/"])
async def test_a_message_arrives_at_whatever_address_is_set(vk, customer, end):
    channel = VkChannel(vk.token, vk.group_id, vk.url + end)

    remote_id = await channel.send(item(customer, "Смотрите: https://getwear.example/care"))

    await channel.close()
    (message,) = customer.received
    assert (message.text, str(message.message_id)) == ("Смотрите: https://getwear.example/care", remote_id)
    assert vk.calls[-1].params["dont_parse_links"] == "1"


async def test_buttons_are_messages_to_choose_from_below_the_text(channel, customer):
    """The choice then shows in the conversation, whatever program the customer uses."""
    await channel.send(item(customer, buttons=[button("Всё верно", "yes"), button("Исправить", "no")]))

    (message,) = customer.received
    rows = [[button["action"] for button in row] for row in message.keyboard["buttons"]]
    assert message.keyboard["inline"] is True
    assert [[(action["type"], action["label"], json.loads(action["payload"])) for action in row] for row in rows] == [
        [("text", "Всё верно", {"key": "yes"})],
        [("text", "Исправить", {"key": "no"})],
    ]


async def test_buttons_are_cut_to_what_vk_shows(channel, customer):
    await channel.send(item(customer, buttons=[button("ж" * 40), *(button("ж" * 41) for _ in range(7))]))

    assert customer.received[0].buttons == ("ж" * 40, *["ж" * 39 + "…"] * 5)


def test_a_row_has_one_random_id_and_no_other_row_has_it(customer):
    """VK drops a message whose random_id it has seen: it must not change, and not come again after a new start."""
    first = random_id(item(customer))

    assert first == random_id(item(customer))
    others = [item(customer, id=2), item(customer, created_at=CREATED + timedelta(microseconds=1))]
    assert first not in {random_id(other) for other in others}
    ids = {random_id(item(customer, id=number)) for number in range(1000)}
    assert len(ids) == 1000
    assert all(0 < each < 2**31 for each in ids)


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "500_before", "500_after", "garbage_after"])
async def test_a_message_whose_answer_is_lost_is_sent_again_and_arrives_once(vk, channel, customer, fault):
    vk.fault("messages.send", fault)

    with pytest.raises(SendLater):
        await channel.send(item(customer))
    await channel.send(item(customer))

    assert len(customer.received) == 1


async def test_vk_that_is_away_is_no_refusal(vk, channel, customer):
    vk.stop()

    with pytest.raises(SendLater, match="VK cannot be reached: ConnectionError"):
        await channel.send(item(customer))

    vk.start()
    await channel.send(item(customer))
    assert len(customer.received) == 1


# --- what VK objects to -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "after", "reason"),
    [
        (1, None, "Unknown error"),
        (5, None, "VK_TOKEN is not accepted"),
        (6, timedelta(seconds=1), "Too many requests per second"),
        (9, timedelta(minutes=1), "Flood control"),
        (10, None, "Internal server error"),
        (14, timedelta(minutes=1), "Captcha needed"),
        (15, None, "VK_TOKEN is not accepted"),
    ],
)
async def test_what_may_be_over_the_next_time_is_tried_again(vk, channel, customer, code, after, reason):
    vk.fault("messages.send", "error", code=code)

    with pytest.raises(SendLater, match=reason) as later:
        await channel.send(item(customer))

    assert later.value.after == after
    assert len(vk.calls) == 1, "the library tried again by itself"


@pytest.mark.parametrize(
    ("code", "unreachable"), [(100, False), (911, False), (914, False), (917, False), (900, True), (902, True)]
)
async def test_what_vk_will_never_take_ends_with_its_reason(vk, channel, customer, code, unreachable):
    vk.fault("messages.send", "error", code=code)

    with pytest.raises(SendRefused, match=rf"\[{code}\]") as refused:
        await channel.send(item(customer))

    assert refused.value.unreachable is unreachable


async def test_a_customer_who_denies_messages_is_not_tried_again(database, vk, channel, customer, running, eventually):
    """A mark, not a loop: and he is answered again when he writes again."""
    with database.session_scope() as session:
        for number in (1, 2):
            outbox.put(
                session, purpose=f"answer:{number}", sender_id=f"vk:{customer.user_id}", channel="vk",
                text=f"Ответ {number}", now=datetime.now(UTC),
            )  # fmt: skip
    customer.denies()

    def states():
        with database.session_scope() as session:
            return [row.state for row in session.scalars(select(OutboxItem))]

    async with running(Sender(database, {"vk": channel}).run):
        await eventually(lambda: states() == ["refused", "refused"])

    assert [call.outcome for call in vk.calls] == ["error 901"]
    with database.session_scope() as session:
        assert "permission" in session.scalars(select(OutboxItem.last_error)).first()


async def test_neither_log_nor_reason_holds_the_token_or_a_text(vk, channel, customer, caplog):
    """VK gives back what it was sent in `request_params`, and urllib3 writes addresses into its log."""
    caplog.set_level(logging.DEBUG)
    vk.fault("messages.send", "error", code=100)
    vk.fault("messages.send", "drop_after")

    secret_item = item(customer, "Тайное")

    for expected in (SendRefused, SendLater):
        with pytest.raises(expected) as raised:
            await channel.send(secret_item)
        logging.getLogger("bot").warning("message waits: %s", raised.value, exc_info=raised.value)

    assert vk.token not in caplog.text
    assert "Тайное" not in caplog.text


# --- pace -------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def strict():
    """VK that refuses the 21st call of any second, with a channel and 60 customers who may be written to."""
    with FakeVk(strict_rate=True) as vk:
        channel = VkChannel(vk.token, vk.group_id, vk.url)
        customers = [vk.customer() for _ in range(60)]
        for customer in customers:
            customer.allows()
        yield vk, channel, customers
        await channel.close()
        assert (vk.refused, vk.violations) == (0, [])


async def sent_to(channel, customers):
    sends = [channel.send(item(customer, id=number)) for number, customer in enumerate(customers, 1)]
    return await asyncio.gather(*sends, return_exceptions=True)


async def test_all_calls_together_keep_to_vks_limit(strict):
    _, channel, customers = strict
    typing = (channel.typing(f"vk:{customer.user_id}") for customer in customers)

    await asyncio.gather(sent_to(channel, customers), *typing)

    assert [len(customer.received) for customer in customers] == [1] * 60


async def test_at_the_limit_those_that_wait_leave_in_one_call(strict):
    vk, channel, customers = strict

    numbers = await sent_to(channel, customers)

    assert numbers == [str(customer.received[0].message_id) for customer in customers]
    calls = Counter(call.method for call in vk.calls)
    assert calls["messages.send"] == 60
    assert calls["execute"] == 2, calls  # 19 leave at once, each alone


async def test_one_that_is_refused_takes_no_other_with_it(strict):
    vk, channel, customers = strict
    customers[40].denies()
    vk.fault("messages.send", "error", peer_id=customers[50].user_id, code=9)

    outcomes = await sent_to(channel, customers)

    assert [place for place, outcome in enumerate(outcomes) if isinstance(outcome, Exception)] == [40, 50]
    assert isinstance(outcomes[40], SendRefused)
    assert outcomes[40].unreachable
    assert outcomes[50].after == timedelta(seconds=60)
    assert [len(customer.received) for customer in customers] == [int(place not in (40, 50)) for place in range(60)]


@pytest.mark.parametrize(
    "fault",
    [{"kind": "error", "code": 3}, {"kind": "error", "code": 13}, {"kind": "500_before"}, {"kind": "500_after"}],
)
async def test_what_vk_does_not_take_together_goes_alone(strict, caplog, fault):
    vk, channel, customers = strict
    vk.fault("execute", times=None, **fault)

    outcomes = await sent_to(channel, customers[:30])

    assert all(isinstance(outcome, str) for outcome in outcomes)
    assert [len(customer.received) for customer in customers[:30]] == [1] * 30
    assert [call.method for call in vk.calls].count("execute") == 1
    assert "now each goes alone" in caplog.text
    assert "Здравствуйте" not in caplog.text


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "garbage_after"])
async def test_what_may_have_arrived_together_arrives_once(strict, kind):
    vk, channel, customers = strict
    vk.fault("execute", kind)

    outcomes = await sent_to(channel, customers)
    failed = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, SendLater)]
    again = [channel.send(item(customers[place], id=place + 1)) for place in failed]

    assert len(failed) == 25
    assert all([await one for one in again])
    assert [len(customer.received) for customer in customers] == [1] * 60


async def test_an_answer_of_another_form_is_no_delivery(strict, monkeypatch):
    """A server that answers 1 to whatever it does not know."""
    _, channel, customers = strict
    monkeypatch.setattr(fake_vk, "execute", lambda *_: (1, []))

    outcomes = await sent_to(channel, customers[:30])

    assert all(isinstance(outcome, str) for outcome in outcomes)
    assert [len(customer.received) for customer in customers[:30]] == [1] * 30


async def test_calls_that_hang_hold_up_nobody_else(vk, channel, customer, monkeypatch):
    monkeypatch.setattr(vk_lines, "TIME_OUTS", (1.5, 1.5))
    hanging = [vk.customer() for _ in range(5)]
    for each in hanging:
        each.allows()
        vk.fault("messages.send", "hang", peer_id=each.user_id, seconds=5)
    held = [asyncio.create_task(channel.send(item(each, id=number))) for number, each in enumerate(hanging, 2)]
    assert await asyncio.to_thread(vk.wait_until, lambda: len(vk.calls) == 5)

    began = time.monotonic()
    await channel.send(item(customer))

    assert time.monotonic() - began < 1.2
    for each in await asyncio.gather(*held, return_exceptions=True):
        assert isinstance(each, SendLater)
        assert "ReadTimeout" in str(each)


async def test_typing_is_shown_unless_answers_need_the_calls(vk, channel, customer):
    await channel.typing(f"vk:{customer.user_id}")
    assert len(customer.typing) == 1

    sending = [asyncio.create_task(channel.send(item(customer, str(id), id=id))) for id in range(1, 12)]
    assert await asyncio.to_thread(vk.wait_until, lambda: len(vk.calls) == 12)
    await channel.typing(f"vk:{customer.user_id}")

    await asyncio.gather(*sending)
    assert len(customer.typing) == 1


async def test_each_message_arrives_once_and_in_order_whatever_the_weather(
    database, vk, channel, running, eventually, monkeypatch
):
    monkeypatch.setattr(outbox, "FIRST_WAIT", timedelta(milliseconds=5))
    monkeypatch.setattr(outbox, "LONGEST_WAIT", timedelta(milliseconds=20))
    customers = [vk.customer() for _ in range(4)]
    texts = [f"Ответ {number}" for number in range(4)]
    with database.session_scope() as session:
        for customer in customers:
            customer.allows()
            for text in texts:
                outbox.put(
                    session, purpose=f"{customer.user_id}:{text}", sender_id=f"vk:{customer.user_id}", channel="vk",
                    text=text, now=datetime.now(UTC),
                )  # fmt: skip
    vk.weather(random.Random(7), 0.4, ["drop_before", "drop_after", "500_after", "garbage_after", "error"], code=10)

    async with running(Sender(database, {"vk": channel}).run):
        await eventually(lambda: all(len(customer.received) >= len(texts) for customer in customers))

    assert [[message.text for message in customer.received] for customer in customers] == [texts] * 4
    assert any(call.outcome == "drop_after" for call in vk.calls)


# --- files ------------------------------------------------------------------------------------------------------------


def remote(address, size=None):
    return RemoteFile(id=address, size=size, type="image/jpeg")


async def test_files_are_fetched_from_where_vk_says(channel, customer):
    photo = customer.sends_photo(b"large photo")["attachments"][0]["photo"]
    document = customer.sends_document(b"%PDF-1.4", "чек.pdf")["attachments"][0]["doc"]
    largest = max(photo["sizes"], key=lambda size: size["width"])

    assert await channel.download(remote(largest["url"])) == b"large photo"
    assert await channel.download(remote(document["url"])) == b"%PDF-1.4"


async def test_a_file_is_read_no_further_than_we_take(vk, channel, monkeypatch):
    monkeypatch.setattr(vk_channel, "MAX_FILE_BYTES", 100)
    address = vk.keep_file(b"x" * 101, "large.jpg")

    with pytest.raises(FileTooLarge):
        await channel.download(remote(address))


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_file_that_vk_no_longer_has_is_gone(channel, status):
    server = Server(0, lambda request: Response(b"", status))

    with pytest.raises(FileGone):
        await channel.download(remote(f"http://127.0.0.1:{server.server_port}/photo.jpg"))

    server.close()
    with pytest.raises(FileGone):
        await channel.download(remote(""))


async def test_a_file_may_come_the_next_time(channel):
    """Its address does not go into what an operator reads: whoever has it has the file."""
    server = Server(0, lambda request: Response(b"", 502))
    address = f"http://127.0.0.1:{server.server_port}/photo.jpg"

    with pytest.raises(ConnectionError) as trouble:
        await channel.download(remote(address))

    server.close()
    assert "photo.jpg" not in repr(trouble.value)
    with pytest.raises(httpx.ConnectError):
        await channel.download(remote(address))
