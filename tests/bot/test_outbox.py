"""What goes out: once, in order, and one messenger's trouble is not another's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from bot import outbox
from bot.channel import MaybeSent, SendLater, SendRefused
from bot.channels.telegram import TelegramChannel
from bot.models import Button, OutboxItem
from bot.outbox import Sender, split

from ..messengers.fake_telegram import FakeTelegram


class RecordingChannel:
    """A messenger that takes messages, unless something is planned for a text: exceptions, or an event to wait for."""

    def __init__(self, **planned: list[Exception | asyncio.Event]) -> None:
        self.planned = planned
        self.taken: list[tuple[str, str]] = []

    async def send(self, item: OutboxItem, leaves: Callable[[], object]) -> str:
        while plan := self.planned.get(item.text):
            step = plan.pop(0)
            if isinstance(step, Exception):
                raise step
            await step.wait()
        self.taken.append((item.sender_id, item.text))
        return f"remote-{len(self.taken)}"


@pytest.fixture
def say(database):
    """Puts a message to a customer into the outbox."""

    def put(text, sender_id="web:a", channel="web", purpose=None, **fields):
        now = datetime.now(UTC)
        purpose = purpose or f"answer:{sender_id}:{text}"
        with database.session_scope() as session:
            outbox.put(session, purpose=purpose, sender_id=sender_id, channel=channel, text=text, now=now, **fields)

    return put


@pytest.fixture
def rows(database):
    """The rows of the outbox, by text."""

    def read():
        with database.session_scope() as session:
            return {item.text: item for item in session.scalars(select(OutboxItem))}

    return read


@pytest.fixture
def its_time_comes(database):
    """Lets the wait of a message be over."""

    def pass_time(text):
        with database.session_scope() as session:
            row = session.scalars(select(OutboxItem).where(OutboxItem.text == text)).one()
            row.not_before = datetime.now(UTC)

    return pass_time


def test_a_purpose_is_served_once(say, rows):
    """A turn that is played again may word it differently; the customer has heard it."""
    say("Of course.", purpose="answer:1", buttons=[("Yes", "/affirm")])
    say("Sure.", purpose="answer:1", buttons=[("Yes", "/affirm")])

    assert list(rows()) == ["Of course."]


def test_a_button_leaves_the_house_as_title_and_opaque_key(database, say, rows):
    """What it says to Rasa stays in our table, so it cannot be forged."""
    say("Is that right?", buttons=[("Yes", "/affirm"), ("No", "/deny")])

    shown = rows()["Is that right?"].buttons
    with database.session_scope() as session:
        kept = {button.key: button for button in session.scalars(select(Button))}
    assert [(b["title"], kept[b["key"]].payload) for b in shown] == [("Yes", "/affirm"), ("No", "/deny")]
    assert {frozenset(button) for button in shown} == {frozenset({"title", "key"})}
    assert {button.sender_id for button in kept.values()} == {"web:a"}


async def test_messages_of_a_conversation_are_sent_in_order(database, running, eventually, say, rows):
    channel = RecordingChannel()
    for text in ("one", "two", "three"):
        say(text)

    async with running(Sender(database, {"web": channel}).run):
        await eventually(lambda: len(channel.taken) == 3)
        await eventually(lambda: {row.state for row in rows().values()} == {"sent"})

    assert [text for _, text in channel.taken] == ["one", "two", "three"]
    assert [rows()[text].remote_id for text in ("one", "two", "three")] == ["remote-1", "remote-2", "remote-3"]
    assert all(row.sent_at and row.attempts == 1 for row in rows().values())


async def test_nothing_is_sent_again_after_a_restart(database, running, eventually, say, rows):
    channel = RecordingChannel()
    say("one")
    async with running(Sender(database, {"web": channel}).run):
        await eventually(lambda: rows()["one"].state == "sent")

    say("two")
    async with running(Sender(database, {"web": channel}).run):
        await eventually(lambda: rows()["two"].state == "sent")

    assert [text for _, text in channel.taken] == ["one", "two"]


async def test_a_slow_conversation_does_not_hold_up_others(database, running, eventually, say):
    released = asyncio.Event()
    channel = RecordingChannel(slow=[released])
    say("slow", "web:a")
    say("after slow", "web:a")
    say("quick", "web:b")

    async with running(Sender(database, {"web": channel}).run):
        await eventually(lambda: ("web:b", "quick") in channel.taken)
        assert [text for _, text in channel.taken] == ["quick"]
        released.set()
        await eventually(lambda: len(channel.taken) == 3)

    assert [text for _, text in channel.taken] == ["quick", "slow", "after slow"]


async def test_a_messenger_that_says_when_to_come_back_is_obeyed(
    database, running, eventually, say, rows, its_time_comes
):
    """Telegram's and VK's flood limits name the seconds; asking earlier prolongs them. Others go on meanwhile."""
    channel = RecordingChannel(first=[SendLater("too many requests", timedelta(hours=1))])
    say("first", "web:a")
    say("second", "web:a")
    say("elsewhere", "web:b")
    sender = Sender(database, {"web": channel})

    async with running(sender.run):
        await eventually(lambda: rows()["first"].attempts == 1)
        await eventually(lambda: rows()["elsewhere"].state == "sent")
        first = rows()["first"]
        assert first.state == "waiting"
        assert "too many requests" in first.last_error
        assert timedelta(minutes=59) < first.not_before - datetime.now(UTC) <= timedelta(hours=1)
        assert [text for _, text in channel.taken] == ["elsewhere"]

        its_time_comes("first")
        sender.wake()
        await eventually(lambda: len(channel.taken) == 3)

    assert [text for _, text in channel.taken] == ["elsewhere", "first", "second"]


@pytest.mark.parametrize(("attempts", "least_s", "most_s"), [(0, 0.7, 1.3), (3, 6, 10), (40, 230, 370)])
async def test_waits_grow_up_to_five_minutes(database, running, eventually, say, rows, attempts, least_s, most_s):
    """A messenger that is away for long is not hammered, and one that hiccups is asked at once."""
    channel = RecordingChannel(one=[SendLater("away")])
    say("one")
    with database.session_scope() as session:
        session.scalars(select(OutboxItem)).one().attempts = attempts

    async with running(Sender(database, {"web": channel}).run):
        await eventually(lambda: rows()["one"].attempts == attempts + 1)
        wait = rows()["one"].not_before - datetime.now(UTC)

    assert least_s < wait.total_seconds() < most_s


async def test_a_refused_message_is_stuck_with_its_reason_and_the_next_one_goes(
    database, running, eventually, say, rows
):
    """Never dropped: a person looks. The conversation goes on."""
    channel = RecordingChannel(refused=[SendRefused("the customer blocked the bot")])
    say("refused")
    say("next")

    async with running(Sender(database, {"web": channel}).run):
        await eventually(lambda: rows()["next"].state == "sent")

    assert (rows()["refused"].state, rows()["refused"].last_error) == ("stuck", "the customer blocked the bot")
    assert channel.taken == [("web:a", "next")]


async def test_a_customer_who_cannot_be_reached_is_left_alone(database, running, eventually, say, rows):
    """One refusal is enough: what else waits for him is given up too, and nobody is alarmed."""
    channel = RecordingChannel(one=[SendRefused("blocked by the user", unreachable=True)])
    say("one")
    say("two")

    async with running(Sender(database, {"web": channel}).run):
        await eventually(lambda: rows()["two"].state == "refused")

    assert {(row.state, row.last_error) for row in rows().values()} == {("refused", "blocked by the user")}
    assert channel.taken == []


async def test_what_may_have_arrived_is_repeated_once(database, running, eventually, say, rows, its_time_comes):
    """Twice is better than not at all; more often only a person may send it."""
    channel = RecordingChannel(one=[MaybeSent("no answer"), MaybeSent("no answer")])
    say("one")
    sender = Sender(database, {"web": channel})

    async with running(sender.run):
        await eventually(lambda: rows()["one"].maybe_sent)
        assert rows()["one"].state == "waiting"
        its_time_comes("one")
        sender.wake()
        await eventually(lambda: rows()["one"].state == "stuck")

    assert rows()["one"].last_error == "sent twice, each time without an answer: no answer"
    assert rows()["one"].attempts == 2


def test_a_long_text_becomes_several_messages(say, rows):
    """In order, each short enough, cut between words, the buttons under the last."""
    text = "\n\n".join(f"{word} " * 500 for word in ("once", "twice", "thrice"))
    say(text, purpose="answer:1", buttons=[("Yes", "/affirm")])
    say(text, purpose="answer:1", buttons=[("Yes", "/affirm")])

    parts = sorted(rows().values(), key=lambda row: row.id)
    assert [part.purpose for part in parts] == ["answer:1:1", "answer:1:2", "answer:1"]
    assert " ".join(part.text for part in parts).split() == text.split()
    assert [len(part.buttons) for part in parts] == [0, 0, 1]


@pytest.mark.parametrize("text", ["x" * 4097, "🙂" * 3000, "ы" * 10_000, "a\n" * 5000])
def test_parts_are_as_long_as_messengers_take(text):
    """They count UTF-16 units: an emoji is two."""
    parts = split(text)
    assert all(len(part.encode("utf-16-le")) <= 2 * 4096 for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


async def test_a_bug_in_one_channel_does_not_stop_the_others(database, running, eventually, say, rows, its_time_comes):
    """What nobody foresaw is tried again like an outage, and the loop lives on."""
    broken = RecordingChannel(one=[KeyError("message_id")])
    web = RecordingChannel()
    say("one", "telegram:1", "telegram")
    say("two", "web:a")
    sender = Sender(database, {"telegram": broken, "web": web})

    async with running(sender.run):
        await eventually(lambda: rows()["two"].state == "sent")
        await eventually(lambda: rows()["one"].attempts == 1)
        assert rows()["one"].state == "waiting"
        assert "message_id" in rows()["one"].last_error

        its_time_comes("one")
        sender.wake()
        await eventually(lambda: rows()["one"].state == "sent")

    assert (broken.taken, web.taken) == ([("telegram:1", "one")], [("web:a", "two")])


async def test_messages_of_a_messenger_that_is_switched_off_wait(database, running, eventually, say, rows):
    """Its token was taken out of the settings for an hour: nothing is lost."""
    web = RecordingChannel()
    say("one", "vk:1", "vk")
    say("two", "web:a")

    async with running(Sender(database, {"web": web}).run):
        await eventually(lambda: rows()["two"].state == "sent")

    assert (rows()["one"].state, rows()["one"].attempts) == ("waiting", 0)


async def test_a_stop_that_comes_together_with_a_message_is_not_missed(database, monkeypatch):
    """See the gateway's test of the same name."""
    monkeypatch.setattr(outbox, "POLL_S", 60)
    sender = Sender(database, {"web": RecordingChannel()})
    task = asyncio.ensure_future(sender.run())
    await asyncio.wait({task}, timeout=0.3)  # it waits for messages now

    sender.wake()
    task.cancel()

    ended, _ = await asyncio.wait({task}, timeout=5)
    assert ended == {task}


async def test_only_what_is_ours_to_send_is_sent(database, running, eventually, say, rows):
    """Of several services one sends on a channel; the others leave its messages alone."""
    telegram, web = RecordingChannel(), RecordingChannel()
    say("one", "telegram:1", "telegram")
    say("two", "web:a")
    ours = {"web"}

    async with running(Sender(database, {"telegram": telegram, "web": web}, ours.__contains__).run):
        await eventually(lambda: rows()["two"].state == "sent")
        assert telegram.taken == []
        ours.add("telegram")
        await eventually(lambda: rows()["one"].state == "sent")


async def test_who_may_send_no_more_stops_what_has_not_left(database, running, eventually, say, rows):
    """The service that may now would send it, too."""
    never = asyncio.Event()
    telegram = RecordingChannel(one=[never])
    say("one", "telegram:1", "telegram")
    ours = {"telegram"}

    async with running(Sender(database, {"telegram": telegram}, ours.__contains__).run):
        await eventually(lambda: telegram.planned["one"] == [])
        ours.clear()
        telegram.planned["one"] = [never]
        await asyncio.sleep(0.5)
        never.set()
        ours.add("telegram")
        await eventually(lambda: rows()["one"].state == "sent")

    assert telegram.taken == [("telegram:1", "one")]


async def test_who_may_send_no_more_lets_arrive_what_has_left(database, running, eventually, say, rows):
    """Cut off, it would be sent a second time by whoever may: often ourselves, when the database is back."""
    with FakeTelegram() as server:
        customer = server.customer()
        customer.starts()
        telegram = TelegramChannel(server.token, server.api_base)
        server.fault("sendMessage", "slow", seconds=1)
        say("one", f"telegram:{customer.chat_id}", "telegram")
        ours = {"telegram"}

        async with running(Sender(database, {"telegram": telegram}, ours.__contains__).run):
            await eventually(lambda: "sendMessage" in [call.method for call in server.calls])
            ours.clear()
            await asyncio.sleep(0.5)
            ours.add("telegram")
            await eventually(lambda: rows()["one"].state == "sent")
        await telegram.close()

    assert [call.method for call in server.calls] == ["sendMessage"]
    assert [sent.text for sent in server.sent] == ["one"]


async def test_what_is_under_way_arrives_before_the_end(database, eventually, say, rows):
    """Cut off, nobody would know whether it had arrived, and it would be sent again after the start."""
    arrives = asyncio.Event()
    web = RecordingChannel(one=[arrives])
    say("one")
    sending = asyncio.ensure_future(Sender(database, {"web": web}).run())
    await eventually(lambda: web.planned["one"] == [])

    sending.cancel()
    await asyncio.sleep(0)
    arrives.set()
    await asyncio.wait({sending})

    assert (rows()["one"].state, len(web.taken)) == ("sent", 1)


async def test_what_was_sent_is_written_down_when_the_database_is_back(
    database, monkeypatch, running, eventually, say, rows
):
    """Forgotten, it would be sent a second time."""
    monkeypatch.setattr(outbox, "AWAY_S", 0.05)
    away = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def refuse(connection, cursor, statement, *_):
        if statement.startswith("UPDATE outbox") and len(away) < 2:
            away.append(statement)
            raise OperationalError(statement, None, Exception("disk I/O error"))

    web = RecordingChannel()
    say("one")
    async with running(Sender(database, {"web": web}).run):
        await eventually(lambda: rows()["one"].state == "sent")

    assert len(away) == 2
    assert web.taken == [("web:a", "one")]
