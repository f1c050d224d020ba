"""Messages from VK: each is kept once, whatever VK repeats, loses or delays, and whatever we are doing meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from bot import outbox
from bot.channels import vk_events
from bot.channels.vk import VkChannel, random_id
from bot.channels.vk_events import VkIntake
from bot.engine_process import free_port
from bot.inbox import OPERATOR_PAUSE
from bot.lease import Presence
from bot.models import ChannelState, Conversation, InboxItem, OutboxItem

from ..messengers.fake_vk import OPERATOR, FakeVk

SECRET, CONFIRMATION = "s3cret", "a1b2c3d4"


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
def woken():
    """How often the gateway was told that there is something."""
    return []


@pytest.fixture
def intake(database, channel, woken):
    return VkIntake(database, channel, received=lambda: woken.append(1))


@pytest.fixture
def customer(vk):
    return vk.customer(501_000)


@pytest.fixture
def presence(database):
    return Presence(database)


@pytest.fixture
def lease(presence):
    return presence.lease("vk:777")


@pytest.fixture
def polling(intake, presence, lease, running, monkeypatch):
    """Asks VK for events inside a block."""
    monkeypatch.setattr(vk_events, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(vk_events, "EMPTY_S", 0.05)

    async def poll():
        async with presence.kept():
            await intake.poll(lease)

    return lambda: running(poll)


@pytest.fixture
def inbox(database):
    def read():
        with database.session_scope() as session:
            return session.scalars(select(InboxItem).order_by(InboxItem.id)).all()

    return read


@pytest.fixture
def texts(inbox):
    return lambda: [item.text for item in inbox()]


@pytest.fixture
def ts(database):
    """The place in VK's row of events that we have kept; None before the first."""

    def read():
        with database.session_scope() as session:
            state = session.get(ChannelState, "vk:777:ts")
            return state and state.value

    return read


@pytest.fixture
def says(database, channel):
    """The bot says something; given back is its row."""

    async def say(customer, text, *buttons):
        with database.session_scope() as session:
            sender_id, purpose = f"vk:{customer.user_id}", f"answer:{text}"
            outbox.put(
                session, purpose=purpose, sender_id=sender_id, channel="vk", text=text, now=datetime.now(UTC),
                buttons=buttons,
            )  # fmt: skip
            row = session.scalars(select(OutboxItem).where(OutboxItem.purpose == purpose)).one()
        await channel.send(row)
        return row

    return say


@pytest.fixture
def first_commit_fails(database):
    """The database goes away once, when all is written and nothing is final."""
    failed = []

    def fail(connection):
        if not failed:
            failed.append(1)
            raise OperationalError("COMMIT", {}, Exception("the database is away"))

    return lambda: event.listen(database.engine, "commit", fail)


@pytest.fixture
def received(vk, database, ts, inbox, polling, eventually):
    """What is in the inbox once VK has told us of everything."""

    async def read():
        if ts() is None:
            with database.session_scope() as session:
                session.add(ChannelState(name="vk:777:ts", value="1"))
        async with polling():
            await eventually(lambda: ts() == str(vk.ts))
        return inbox()

    return read


# --- long poll --------------------------------------------------------------------------------------------------------


async def test_messages_are_kept_while_we_ask_for_them(customer, inbox, woken, intake, polling, eventually):
    async with polling():
        await eventually(lambda: intake.polled_at is not None)
        customer.says("  где\x00 мой заказ? ")
        customer.says("47655")
        await eventually(lambda: len(inbox()) == 2 and woken)

    assert [(item.kind, item.text) for item in inbox()] == [("text", "где мой заказ?"), ("text", "47655")]
    first = inbox()[0]
    assert (first.sender_id, first.channel, first.language, first.state) == ("vk:501000", "vk", None, "waiting")
    assert time.monotonic() - intake.polled_at < 5


async def test_what_came_while_we_were_down_is_fetched(vk, customer, texts, ts, polling, eventually):
    async with polling():
        await eventually(lambda: ts() is not None)
    customer.says("ночью")
    asked = len(vk.calls)

    async with polling():
        await eventually(lambda: texts() == ["ночью"])

    assert {call.method for call in vk.calls[asked:]} == {"groups.getLongPollServer", "poll"}


async def test_messages_and_their_place_are_kept_together(
    customer, texts, ts, intake, presence, lease, polling, eventually, first_commit_fails
):
    """Whatever happens between the two, VK is asked again for what we do not have."""
    async with polling():
        await eventually(lambda: ts() is not None)
    before = ts()
    customer.says("привет")
    async with presence.kept():
        first_commit_fails()
        with pytest.raises(OperationalError):
            await intake.poll(lease)
        assert (texts(), ts()) == ([], before)

    async with polling():
        await eventually(lambda: texts() == ["привет"] and ts() != before)


async def test_a_message_that_vk_tells_of_again_is_the_same(vk, customer, texts, polling, eventually):
    """Under the same event_id after a reconnect, under another one after a repair."""
    async with polling():
        message = customer.says("привет")
        vk.redeliver()
        vk.inject("message_new", {"message": message, "client_info": {}})
        customer.says("ещё")
        await eventually(lambda: "ещё" in texts())

    assert texts() == ["привет", "ещё"]


@pytest.mark.parametrize(("failed", "repaired"), [(1, True), (2, False), (3, True)])
async def test_a_failed_poll_loses_nothing(vk, customer, texts, ts, polling, eventually, failed, repaired):
    """VK has lost its events (1), our key (2) or both (3); what customers wrote is still in their conversations."""
    async with polling():
        await eventually(lambda: ts() is not None)
    asked = len(vk.calls)
    customer.says("первое")
    customer.says("второе")
    vk.fault("poll", "failed", failed=failed)

    async with polling():
        await eventually(lambda: texts() == ["первое", "второе"])
        customer.says("третье")
        await eventually(lambda: len(texts()) == 3)

    assert ("messages.getHistory" in {call.method for call in vk.calls[asked:]}) is repaired
    assert texts() == ["первое", "второе", "третье"]


async def test_the_first_start_finds_who_waits_for_an_answer(vk, texts, says, polling, eventually, monkeypatch):
    """Not who was answered, not who wrote long ago, and of a conversation only what came after the last answer."""
    monkeypatch.setattr(vk_events, "PAGE", 2)
    waiting, half_answered, answered, long_ago = (vk.customer() for _ in range(4))
    long_ago.says("прошлым летом", date=int(time.time() - timedelta(days=2).total_seconds()))
    answered.says("отвечено")
    half_answered.says("отвечено")
    await says(answered, "Здравствуйте!")
    vk.operator_replies(half_answered, "Это Ольга")
    half_answered.says("ещё не отвечено")
    waiting.says("где заказ?")
    waiting.says("47655")

    async with polling():
        await eventually(lambda: len(texts()) == 3)
        waiting.says("теперь")
        await eventually(lambda: len(texts()) == 4)

    assert sorted(texts()) == sorted(["где заказ?", "47655", "ещё не отвечено", "теперь"])


async def test_a_repair_is_tried_again_but_not_for_ever(vk, texts, polling, eventually):
    """A conversation that VK does not show must not keep the others from being heard."""
    shown, hidden = vk.customer(), vk.customer()
    hidden.says("не видно")
    shown.says("видно")
    vk.fault("messages.getConversations", "error", code=10)
    vk.fault("messages.getHistory", "error", peer_id=hidden.user_id, code=936, times=None)

    async with polling():
        await eventually(lambda: texts() == ["видно"])

    assert [call.outcome for call in vk.calls if call.method == "messages.getConversations"] == ["error 10", "ok"]


async def test_a_poll_that_goes_wrong_is_repeated(vk, customer, texts, ts, polling, eventually):
    kinds = ["drop_before", "drop_after", "500_before", "500_after", "garbage", "failed"]
    said = [f"сообщение {number}" for number in range(12)]

    async with polling():
        await eventually(lambda: ts() is not None)
        vk.weather(random.Random(3), 0.4, kinds)
        for text in said:
            customer.says(text)
            await asyncio.sleep(0.02)
        await eventually(lambda: len(texts()) == len(said))

    assert sorted(texts()) == sorted(said)


async def test_a_poll_that_hangs_is_given_up(vk, customer, texts, ts, polling, eventually, monkeypatch):
    monkeypatch.setattr(vk_events, "STALLED_S", 0.3)
    async with polling():
        await eventually(lambda: ts() is not None)
    vk.fault("poll", "hang", seconds=60)

    async with polling():
        customer.says("слышно?")
        await eventually(lambda: texts() == ["слышно?"])


async def test_vk_may_be_away_when_we_start(vk, customer, texts, intake, polling, eventually):
    vk.stop()
    async with polling():
        await asyncio.sleep(0.3)
        assert intake.polled_at is None
        customer.says("пока вас не было")
        vk.start()
        await eventually(lambda: texts() == ["пока вас не было"])


async def test_an_event_that_cannot_be_read_holds_up_nothing(vk, customer, received, caplog):
    vk.inject("message_new", {"message": {"text": "Тайное"}})
    vk.inject("message_edit", {"text": "Тайное"})
    vk.inject("message_reply", {"admin_author_id": 1, "text": "Тайное"})
    vk.inject("message_event", {"payload": {"key": "Тайное"}})
    customer.says("привет")

    assert [item.text for item in await received()] == ["привет"]
    assert caplog.text.count("cannot be read") == 3
    assert "Тайное" not in caplog.text


async def test_who_loses_the_lease_stops_asking(vk, customer, texts, intake, presence, lease, eventually):
    """What a request under way still brings is kept."""
    async with presence.kept():
        asking = asyncio.create_task(intake.poll(lease))
        await eventually(lambda: vk.calls and vk.calls[-1].method == "poll")
    customer.says("последнее")

    async with asyncio.timeout(5):
        await asking
    assert texts() == ["последнее"]


def test_the_end_does_not_wait_for_vk(vk, database, presence, lease):
    """VK holds a request for 20 s, and SIGTERM leaves us 10."""

    async def ask_for_a_moment():
        channel = VkChannel(vk.token, vk.group_id, vk.url)
        intake = VkIntake(database, channel, received=lambda: None)
        async with presence.kept():
            asking = asyncio.create_task(intake.poll(lease))
            assert await asyncio.to_thread(vk.wait_until, lambda: any(call.method == "poll" for call in vk.calls))
            asking.cancel()
        await channel.close()

    began = time.monotonic()
    asyncio.run(ask_for_a_moment())

    assert time.monotonic() - began < 5


async def test_an_edited_message_counts_as_long_as_it_waits(vk, customer, received):
    message = customer.says("где закас?")
    await received()
    customer.edits(message, "где заказ?")

    (item,) = await received()

    assert (item.text, item.state) == ("где заказ?", "waiting")


# --- buttons ----------------------------------------------------------------------------------------------------------


async def test_a_chosen_button_says_what_it_stands_for(customer, says, received):
    customer.allows()
    await says(customer, "Всё верно?", ("Всё верно", "/affirm"), ("Исправить", "/deny"))
    customer.presses("Всё верно")

    (item,) = await received()

    assert (item.kind, item.text, item.payload) == ("button", "Всё верно", "/affirm")


async def test_a_button_that_counts_no_longer_is_the_text_that_it_sent(vk, customer, says, received):
    """Its message stands in the conversation: it must not stay without an answer. Told of again it is the same."""
    customer.allows()
    await says(customer, "Всё верно?", ("Всё верно", "/affirm"))
    question = customer.received[0]
    await says(customer, "Спасибо!")
    customer.presses("Всё верно", of=question)
    customer.says("Да", payload='{"key": "made-up"}')
    vk.redeliver(2)

    items = await received()

    assert [(item.kind, item.text, item.payload) for item in items] == [
        ("text", "Всё верно", None),
        ("text", "Да", None),
    ]


async def test_a_pressed_callback_button_is_answered_at_once(vk, customer, ts, polling, eventually):
    """Buttons of this kind may be set up by an operator; pressed, they go on turning until somebody answers."""
    async with polling():
        await eventually(lambda: ts() is not None)
        vk.press(customer.user_id, {"anything": 1}, 1)
        await eventually(lambda: customer.popups == [{}])


async def test_a_callback_button_of_ours_counts_once(vk, customer, says, received):
    customer.allows()
    row = await says(customer, "Всё верно?", ("Всё верно", "/affirm"))
    vk.press(customer.user_id, {"key": row.buttons[0]["key"]}, 1)
    vk.redeliver()

    (item,) = await received()

    assert (item.kind, item.payload) == ("button", "/affirm")
    assert item.key.startswith("vk:777:event:")


# --- an operator ------------------------------------------------------------------------------------------------------


@pytest.fixture
def paused_until(database):
    def read():
        with database.session_scope() as session:
            conversation = session.get(Conversation, "vk:501000")
            return conversation and conversation.paused_until

    return read


async def test_an_operators_reply_makes_the_bot_pause(vk, customer, received, paused_until):
    customer.says("есть кто живой?")
    vk.operator_replies(customer, "Да, это Ольга")
    customer.says("спасибо")

    assert [item.state for item in await received()] == ["operator", "operator"]
    assert abs(paused_until() - datetime.now(UTC) - OPERATOR_PAUSE) < timedelta(seconds=30)


async def test_an_operators_reply_that_comes_late_or_again_pauses_from_when_it_was_written(
    vk, customer, received, paused_until
):
    reply = vk.add_message(501_000, -777, "Да", admin_author_id=OPERATOR, date=int(time.time()) - 7200)
    vk.inject("message_reply", reply)
    await received()
    until = paused_until()
    customer.says("ещё вопрос")
    vk.inject("message_reply", reply)

    (item,) = await received()

    assert item.state == "waiting"
    assert paused_until() == until < datetime.now(UTC)


async def test_our_own_messages_make_no_pause(vk, customer, says, received, paused_until):
    """Even if VK should say that they were written by the administrator whose token it is."""
    customer.says("привет")
    row = await says(customer, "Здравствуйте!")
    vk.inject("message_reply", vk.sent[501_000, random_id(row)] | {"admin_author_id": OPERATOR})

    assert [item.state for item in await received()] == ["waiting"]
    assert paused_until() is None


# --- callbacks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def app(intake):
    app = FastAPI()
    app.include_router(intake.router(SECRET, CONFIRMATION))
    return app


@pytest.fixture
async def posted(app):
    """Posts as VK does, to an app that answers 500 when it breaks."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as caller:

        async def post(body, headers=None):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            answer = await caller.post("/vk/callback", content=content, headers=headers)
            return answer.status_code, answer.text

        yield post


@pytest.fixture
async def address(app, eventually):
    """The app on a port."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="critical"))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    yield f"http://127.0.0.1:{server.config.port}/vk/callback"
    server.should_exit = True
    await serving


def message_new(vk, customer, text="привет"):
    """An event as VK posts it."""
    message = vk.add_message(customer.user_id, customer.user_id, text)
    return {**vk.inject("message_new", {"message": message}), "secret": SECRET}


async def test_vk_confirms_the_address_and_calls(vk, address, customer, texts, intake, eventually, first_commit_fails):
    """What cannot be kept is not acknowledged: VK calls again, and what is kept is kept once."""
    await asyncio.to_thread(vk.callback_to, address, SECRET, CONFIRMATION, 0.05)
    first_commit_fails()
    customer.says("привет")
    customer.says("где мой заказ?")
    await eventually(lambda: not vk.callbacks_waiting)

    assert texts() == ["привет", "где мой заказ?"]
    assert time.monotonic() - intake.polled_at < 5


async def test_a_repeated_call_is_judged_by_what_it_brings(vk, customer, texts, posted):
    """`X-Retry-Counter` does not say whether we have it: bots that leave out what has one lose messages."""
    new = message_new(vk, customer)

    assert await posted(new, {"X-Retry-Counter": "2"}) == (200, "ok")
    assert await posted(new, {"X-Retry-Counter": "3"}) == (200, "ok")
    assert texts() == ["привет"]


@pytest.mark.parametrize(
    "change", [{"secret": "wrong"}, {"secret": None}, {"secret": "\ud800"}, {"group_id": 778}, {"type": "confirmation"}]
)
async def test_who_is_not_vk_gets_nothing(vk, customer, texts, posted, intake, change):
    forged = {**message_new(vk, customer), "secret": "wrong", **change}

    assert (await posted(forged))[0] == 403
    assert texts() == []
    assert intake.polled_at is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000])
async def test_what_is_no_event_is_refused(posted, body):
    assert (await posted(body))[0] == 403


async def test_an_address_is_confirmed_before_vk_knows_the_secret(posted):
    """VK's settings want the address confirmed first."""
    assert await posted({"type": "confirmation", "group_id": 777}) == (200, CONFIRMATION)
    assert (await posted({"type": "confirmation", "group_id": 778}))[0] == 403


async def test_an_event_that_cannot_be_read_is_acknowledged(posted, texts):
    """VK would post it again and again, and stop calling."""
    assert await posted({"type": "message_new", "group_id": 777, "object": {}, "secret": SECRET}) == (200, "ok")
    assert texts() == []
