"""One message's way: answered once, in order, whatever happens to Rasa or to us in between."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import HTTPException
from sqlalchemy import select

import bot.gateway
from bot.channel import FileGone
from bot.gateway import MOST_FAILURES, SILENCE, Gateway
from bot.models import Button, Conversation, InboxItem, KnowledgeGap, OutboxItem

from .fake_rasa import said

LONG_AGO = SILENCE + timedelta(minutes=1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Seconds of waiting become hundredths."""
    monkeypatch.setattr(bot.gateway, "LONGEST_WAIT", timedelta(seconds=0.03))


@pytest.fixture
def start(database, client, notices, desk):
    """Makes a gateway; a second one is the process after a restart."""

    def gateway(**channels):
        return Gateway(database, client, notices, channels, desk, answered=lambda: None)

    return gateway


@pytest.fixture
def inbox(database):
    """The messages, by text."""

    def read():
        with database.session_scope() as session:
            return {item.text: item for item in session.scalars(select(InboxItem))}

    return read


@pytest.fixture
def outbox(database):
    """What the customers are told, in order: (purpose, text)."""

    def read(sender_id="web:a"):
        with database.session_scope() as session:
            rows = session.scalars(select(OutboxItem).where(OutboxItem.sender_id == sender_id).order_by(OutboxItem.id))
            return [(row.purpose, row.text) for row in rows]

    return read


async def test_a_message_is_answered_and_the_answer_waits_to_be_sent(
    database, rasa, start, running, eventually, arrived, inbox, outbox
):
    item = arrived("how do I wash them")
    rasa.answer = lambda request: [
        *said("Cold.\n\nInside out.", gap="care"),
        *said("Anything else?", buttons=[("No", "/deny"), ("Prices", "What does it cost?")], gap="care"),
    ]

    async with running(start().run):
        await eventually(lambda: inbox()["how do I wash them"].state == "answered")

    assert outbox() == [(f"answer:{item.id}", "Cold.\n\nInside out.\n\nAnything else?")]
    with database.session_scope() as session:
        buttons = {button.title: button.payload for button in session.scalars(select(Button))}
        assert buttons == {"No": "/deny", "Prices": "What does it cost?"}
        assert [(gap.inbox_id, gap.fact) for gap in session.scalars(select(KnowledgeGap))] == [(item.id, "care")]


async def test_the_conversations_language_is_that_of_the_last_answer(
    database, rasa, start, running, eventually, arrived, inbox
):
    """Notices come outside a turn and must speak the language the customer has changed to."""
    arrived("hello", language="en")
    arrived("привет", language="en")
    rasa.answer = lambda request: said("...", language="ru" if request["message"] == "привет" else "en")

    async with running(start().run):
        await eventually(lambda: inbox()["привет"].state == "answered")

    with database.session_scope() as session:
        assert session.get_one(Conversation, "web:a").language == "ru"


async def test_rasa_is_told_who_writes_what_where(rasa, start, running, eventually, arrived, inbox):
    """A fresh message costs one request: nothing can have been played of it."""
    async with running(start().run):
        await asyncio.sleep(0)  # it has begun
        arrived("/stop it", key="k1", display_name="Maria")
        arrived("Yes", "web:b", key="k2", kind="button", payload="/affirm", language="ru")
        await eventually(lambda: {item.state for item in inbox().values()} == {"answered"})

    by_sender = {request["sender"]: request for request in rasa.requests}
    assert by_sender["web:a"] == {
        "sender": "web:a",
        "message": "stop it",
        "input_channel": "web",
        "metadata": {"key": "k1", "language": "en", "display_name": "Maria"},
    }
    assert by_sender["web:b"]["message"] == "/affirm"
    assert by_sender["web:b"]["metadata"] == {"key": "k2", "language": "ru", "display_name": "", "shown": "Yes"}
    assert rasa.asked_for_trackers == []


async def test_an_address_never_reaches_rasa(rasa, start, running, eventually, arrived, inbox):
    """Trackers are kept for long and read by trainers."""
    arrived("it's masha.k@mail.example")

    async with running(start().run):
        await eventually(lambda: "answered" in {item.state for item in inbox().values()})

    (message,) = rasa.messages()
    assert message.startswith("it's m…k@mail.example#")


async def test_an_empty_answer_is_played_again(rasa, start, running, eventually, arrived, inbox, outbox):
    """`[]` with status 200 is how Rasa says that something broke inside; the turn counts once in the end."""
    answers = [[], said("Here you are")]
    rasa.answer = lambda request: answers.pop(0)
    item = arrived("hello")

    async with running(start().run):
        await eventually(lambda: inbox()["hello"].state == "answered")

    assert outbox() == [(f"answer:{item.id}", "Here you are")]
    assert rasa.keys("web:a") == [item.key]


async def test_a_message_that_never_works_is_given_to_a_person_and_the_next_is_answered(
    rasa, start, running, eventually, arrived, inbox, outbox
):
    """The customer hears that it is not lost, and the conversation goes on."""
    rasa.answer = lambda request: [] if request["message"] == "poison" else said("Here you are")
    poison, fine = arrived("poison"), arrived("fine")

    async with running(start().run):
        await eventually(lambda: inbox()["fine"].state == "answered")

    given_up = inbox()["poison"]
    assert (given_up.state, given_up.attempts) == ("stuck", MOST_FAILURES)
    assert "no answer" in given_up.last_error
    assert [purpose for purpose, _ in outbox()] == [f"not_answered:{poison.id}", f"answer:{fine.id}"]


async def test_a_message_waits_while_rasa_is_away_and_is_answered_once(
    database, rasa_away, start, running, eventually, arrived, inbox, outbox, monkeypatch
):
    """Told once that it takes longer, then answered at once, however long the wait for a next try had become."""
    item = arrived("hello", ago=LONG_AGO, attempts=20)
    monkeypatch.setattr(bot.gateway, "AWAY_POLL_S", 0.02)
    with database.session_scope() as session:
        session.get_one(InboxItem, item.id).not_before = datetime.now(UTC) + timedelta(hours=1)

    async with running(start().run):
        await eventually(lambda: bool(outbox()))
        await asyncio.sleep(0.2)
        assert [purpose for purpose, _ in outbox()] == [f"takes_longer:{item.id}"]
        rasa_away.start()
        await eventually(lambda: inbox()["hello"].state == "answered")

    assert [purpose for purpose, _ in outbox()] == [f"takes_longer:{item.id}", f"answer:{item.id}"]
    assert rasa_away.messages() == ["hello"]


async def test_a_short_pause_is_not_talked_about(rasa_away, start, running, eventually, arrived, inbox, outbox):
    item = arrived("hello")

    async with running(start().run):
        await asyncio.sleep(0.2)
        rasa_away.start()
        await eventually(lambda: inbox()["hello"].state == "answered")

    assert [purpose for purpose, _ in outbox()] == [f"answer:{item.id}"]


async def test_an_outage_does_not_use_up_a_messages_failures(rasa, start, running, eventually, arrived, inbox):
    """An engine that answers with errors is unwell; the message has all its tries once it is well."""
    answers = [*[None] * MOST_FAILURES, [], said("Here you are")]

    def answer(request):
        said_now = answers.pop(0)
        if said_now is None:
            raise HTTPException(503)
        return said_now

    rasa.answer = answer
    arrived("hello")

    async with running(start().run):
        await eventually(lambda: inbox()["hello"].state != "waiting")

    assert inbox()["hello"].state == "answered"


async def test_a_retry_undoes_no_other_turn(rasa, start, running, eventually, arrived, inbox):
    """If the message never reached Rasa, the last turn there is somebody's answered question."""
    rasa.play({"sender": "web:a", "message": "earlier", "metadata": {"key": "k0"}})
    arrived("hello", key="k1", attempts=1)

    async with running(start().run):
        await eventually(lambda: inbox()["hello"].state == "answered")

    assert rasa.asked_for_trackers == ["web:a"]
    assert rasa.keys("web:a") == ["k0", "k1"]


async def test_a_slow_turn_holds_up_its_own_conversation_only(rasa, start, running, eventually, arrived, inbox, outbox):
    """Answers come in the order of the questions; other customers do not wait for them."""
    released = rasa.held["web:a"] = threading.Event()
    for text, sender_id in (("a1", "web:a"), ("a2", "web:a"), ("b1", "web:b"), ("b2", "web:b")):
        arrived(text, sender_id)

    async with running(start().run):
        await eventually(lambda: inbox()["b2"].state == "answered")
        assert rasa.messages("web:a") == ["a1"]
        released.set()
        await eventually(lambda: inbox()["a2"].state == "answered")

    assert rasa.messages("web:a") == ["a1", "a2"]
    assert [text for _, text in outbox("web:a")] == ["About a1", "About a2"]
    assert [text for _, text in outbox("web:b")] == ["About b1", "About b2"]


async def test_a_crash_between_rasas_answer_and_ours_is_answered_once(
    rasa, start, running, eventually, arrived, inbox, outbox
):
    """Rasa has played the turn, we died before the commit: the next process takes it back and plays it again."""
    released = rasa.held["web:a"] = threading.Event()
    first = start()
    item = arrived("hello")
    async with running(first.run):
        await eventually(lambda: rasa.messages() == ["hello"])
    released.set()
    await eventually(lambda: rasa.keys("web:a") == [item.key])
    assert inbox()["hello"].state == "waiting"

    async with running(start().run):
        await eventually(lambda: inbox()["hello"].state == "answered")

    assert outbox() == [(f"answer:{item.id}", "About hello")]
    assert rasa.messages() == ["hello", "hello"]
    assert rasa.keys("web:a") == [item.key]


async def test_a_loop_that_broke_and_is_run_again_undoes_what_it_had_played(
    rasa, start, running, eventually, arrived, inbox
):
    """As after a restart, though the process is the same."""
    released = rasa.held["web:a"] = threading.Event()
    gateway = start()
    item = arrived("hello")
    async with running(gateway.run):
        await eventually(lambda: rasa.messages() == ["hello"])
    released.set()
    await eventually(lambda: rasa.keys("web:a") == [item.key])
    gateway._busy.add("web:a")  # as a turn leaves it that was cancelled before it began

    async with running(gateway.run):
        await eventually(lambda: inbox()["hello"].state == "answered")

    assert rasa.keys("web:a") == [item.key]


async def test_what_was_answered_is_not_asked_again_after_a_restart(
    rasa, start, running, eventually, arrived, inbox, outbox
):
    arrived("one")
    async with running(start().run):
        await eventually(lambda: inbox()["one"].state == "answered")
    arrived("two")

    async with running(start().run):
        await eventually(lambda: inbox()["two"].state == "answered")

    assert rasa.messages() == ["one", "two"]
    assert [text for _, text in outbox()] == ["About one", "About two"]


async def test_a_message_is_taken_up_at_once_when_the_gateway_is_woken(
    rasa, start, running, eventually, arrived, inbox, monkeypatch
):
    monkeypatch.setattr(bot.gateway, "POLL_S", 60)
    gateway = start()
    arrived("one")

    async with running(gateway.run):
        await eventually(lambda: inbox()["one"].state == "answered")
        arrived("two")
        gateway.wake()
        await eventually(lambda: inbox()["two"].state == "answered")

    assert inbox()["two"].done_at - inbox()["two"].received_at < timedelta(seconds=5)
    assert inbox()["two"].done_at <= datetime.now(UTC)


async def test_a_stop_that_comes_together_with_a_message_is_not_missed(start, monkeypatch):
    """`wait_for` of Python 3.11 swallows such a cancellation: the service would not have ended on SIGTERM."""
    monkeypatch.setattr(bot.gateway, "POLL_S", 60)
    gateway = start()
    task = asyncio.ensure_future(gateway.run())
    await asyncio.wait({task}, timeout=0.3)  # it waits for messages now

    gateway.wake()
    task.cancel()

    ended, _ = await asyncio.wait({task}, timeout=5)
    assert ended == {task}


class Files:
    """A messenger that has files; what is planned for an id is bytes or an exception."""

    def __init__(self, **files):
        self.files = files
        self.asked = []
        self.typed = []

    async def download(self, file):
        self.asked.append(file["id"])
        content = self.files[file["id"]]
        if isinstance(content, Exception):
            raise content
        return content

    async def typing(self, sender_id):
        self.typed.append(sender_id)


PICTURE = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


def file(name, size=100, kind="image/png"):
    return {"id": name, "size": size, "type": kind}


async def test_a_file_is_fetched_before_the_turn(rasa, start, running, eventually, arrived, inbox, tmp_path):
    arrived("", kind="photo", remote_file=file("receipt"))

    async with running(start(web=Files(receipt=PICTURE)).run):
        await eventually(lambda: inbox()[""].state == "answered")

    assert [request["message"] for request in rasa.requests] == ["/photo"]
    assert (tmp_path / "files" / inbox()[""].photo).read_bytes() == PICTURE


async def test_an_album_is_one_turn(database, rasa, start, running, eventually, arrived):
    """Its pictures come one by one, within a second; the words beside them are a message of their own."""
    for name in ("one", "two"):
        arrived("", kind="photo", remote_file=file(name), album="a", key=name)
    arrived("my jeans", key="words")
    files = Files(one=PICTURE, two=PICTURE + b"2")

    def states():
        with database.session_scope() as session:
            return [item.state for item in session.scalars(select(InboxItem))]

    async with running(start(web=files).run):
        await eventually(lambda: states() == ["answered"] * 3)

    assert sorted(files.asked) == ["one", "two"]
    assert [request["message"] for request in rasa.requests] == ["/photo", "my jeans"]


@pytest.mark.parametrize(
    ("sent", "content", "asked", "word"),
    [
        (file("big", size=30_000_000), b"", [], "20"),
        (file("zip", kind="application/zip"), b"", [], "PDF"),
        (file("liar"), b"MZ\x90\x00" + b"\0" * 64, ["liar"], "PDF"),
        (file("gone"), FileGone("gone"), ["gone"], "again"),
    ],
)
async def test_a_file_that_cannot_be_taken_is_answered_without_rasa(
    rasa, start, running, eventually, arrived, inbox, outbox, sent, content, asked, word
):
    arrived("", kind="photo", remote_file=sent, language="en")
    files = Files(**{sent["id"]: content})

    async with running(start(web=files).run):
        await eventually(lambda: inbox()[""].state == "answered")

    [(_, text)] = outbox()
    assert word in text
    assert files.asked == asked
    assert rasa.requests == []


async def test_a_messenger_that_does_not_hand_a_file_over_is_asked_again(
    rasa, start, running, eventually, arrived, inbox, outbox
):
    """An outage is waited for; after ten minutes the customer is asked for the file again."""
    arrived("", kind="photo", remote_file=file("one"), language="en")
    files = Files(one=OSError("away"))

    async with running(start(web=files).run):
        await eventually(lambda: len(files.asked) > 2)
        assert inbox()[""].state == "waiting"
        files.files["one"] = PICTURE
        await eventually(lambda: inbox()[""].state == "answered")

    arrived("old", kind="photo", remote_file=file("two"), language="en", ago=timedelta(hours=1))
    async with running(start(web=Files(two=OSError("away"))).run):
        await eventually(lambda: inbox()["old"].state == "answered")
    assert "again" in outbox()[-1][1]


async def test_typing_is_shown_only_when_an_answer_takes_long(
    rasa, start, running, eventually, arrived, inbox, monkeypatch
):
    monkeypatch.setattr(bot.gateway, "TYPING_AFTER_S", 0.2)
    messenger = Files()
    arrived("quick")
    async with running(start(web=messenger).run):
        await eventually(lambda: inbox()["quick"].state == "answered")
        assert messenger.typed == []
        rasa.held["web:a"] = threading.Event()
        arrived("slow")
        await eventually(lambda: messenger.typed == ["web:a"])
        rasa.held["web:a"].set()
        await eventually(lambda: inbox()["slow"].state == "answered")


async def test_typing_is_shown_only_by_the_service_that_sends(
    database, client, notices, desk, rasa, running, eventually, arrived, inbox, monkeypatch
):
    """A messenger's limit counts all calls for a token, and only one service knows of them."""
    monkeypatch.setattr(bot.gateway, "TYPING_AFTER_S", 0.05)
    messenger = Files()
    gateway = Gateway(
        database, client, notices, {"web": messenger}, desk, answered=lambda: None, may_send=lambda channel: False
    )
    rasa.held["web:a"] = threading.Event()
    arrived("slow")

    async with running(gateway.run):
        await eventually(lambda: rasa.requests)
        await asyncio.sleep(0.3)
        rasa.held["web:a"].set()
        await eventually(lambda: inbox()["slow"].state == "answered")

    assert messenger.typed == []


async def test_a_code_never_reaches_rasa(database, rasa, start, running, eventually, arrived, inbox):
    """Its tracker would keep it; and the binding needs no engine."""
    arrived("code 123456")
    arrived("hello")

    async with running(start().run):
        await eventually(lambda: {item.state for item in inbox().values()} == {"answered"})

    assert [request["message"] for request in rasa.requests] == ["hello"]
    assert set(inbox()) == {"code ••••••", "hello"}
