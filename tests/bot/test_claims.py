"""Several services take from one inbox: each message is one service's, and conversations stay in order."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, select

from bot.claims import ClaimLost, claim_messages, claimed_item, finish, put_back
from bot.gateway import PARALLEL, Gateway
from bot.inbox import Incoming, receive
from bot.models import Conversation, InboxItem, OutboxItem, ServiceRow
from bot.outbox import put

from .fake_rasa import said

HERE, THERE, GONE = "here:1:a", "there:1:b", "gone:1:c"


@pytest.fixture
def database(empty_postgresql):
    """Two services that are well, on the database that several can share."""
    with empty_postgresql.session_scope() as session:
        for holder in (HERE, THERE):
            session.add(ServiceRow(holder=holder, until=datetime.now(UTC) + timedelta(minutes=1)))
    return empty_postgresql


@pytest.fixture
def claim(database):
    """What a service claims, by text."""

    def take(holder, *, busy=(), limit=16):
        with database.session_scope() as session:
            return [item.text for item in claim_messages(session, holder, busy, datetime.now(UTC), limit)]

    return take


@pytest.fixture
def items(database):
    def read():
        with database.session_scope() as session:
            return {item.text: item for item in session.scalars(select(InboxItem))}

    return read


def test_a_message_is_one_services_and_the_next_of_its_conversation_waits_for_it(claim, arrived, database, items):
    for text, sender_id in (("a1", "web:a"), ("b1", "web:b"), ("a2", "web:a")):
        arrived(text, sender_id)

    assert claim(HERE, limit=1) == ["a1"]
    assert claim(THERE) == ["b1"]
    assert claim(HERE) == claim(THERE) == []
    with database.session_scope() as session:
        claimed_item(session, items()["a1"].id, HERE).state = "answered"
    assert claim(THERE) == ["a2"]


@pytest.fixture
def late(database, arrived, items):
    """Lets the first of a conversation's two messages appear after the second; until then it was given up."""

    def become(state):
        with database.session_scope() as session:
            session.get_one(InboxItem, items()["a1"].id).state = state

    arrived("a1", "web:a")
    arrived("a2", "web:a")
    become("stuck")
    return lambda: become("waiting")


def test_an_older_message_that_appears_late_waits_for_the_one_in_hand(late, claim, database, items):
    """A person has it tried again, or its delivery was committed after the next."""
    assert claim(HERE) == ["a2"]
    late()

    assert claim(THERE) == claim(HERE) == []
    with database.session_scope() as session:
        claimed_item(session, items()["a2"].id, HERE).state = "answered"
    assert claim(THERE) == ["a1"]


@pytest.mark.parametrize("committed", [False, True])
def test_of_two_messages_of_a_conversation_one_is_claimed_at_a_time(late, claim, database, committed):
    """The older one appears, and is found by another service, while we are claiming the next."""
    with ExitStack() as ours:
        session = ours.enter_context(database.session_scope())
        assert [item.text for item in claim_messages(session, HERE, (), datetime.now(UTC), 16)] == ["a2"]
        late()

        def when_they_have_chosen(connection, cursor, statement, *_):
            if committed and "pg_try_advisory" in statement:
                ours.close()

        event.listen(database.engine, "before_cursor_execute", when_they_have_chosen)
        try:
            assert claim(THERE) == []
        finally:
            event.remove(database.engine, "before_cursor_execute", when_they_have_chosen)


def test_services_that_look_at_the_same_moment_share_what_is_there(database, arrived, claim):
    """A row that one of them is claiming is passed over, not waited for."""
    for number in range(40):
        arrived("hello", f"web:{number}")
    start = threading.Barrier(4)

    def take(holder):
        with database.session_scope() as session:
            start.wait()
            found = claim_messages(session, holder, (), datetime.now(UTC), 10)
            start.wait()
            return [item.id for item in found]

    with ThreadPoolExecutor(4) as services:
        taken = list(services.map(take, [HERE, THERE, HERE, THERE]))

    assert [len(ids) for ids in taken] == [10] * 4
    assert len({item for ids in taken for item in ids}) == 40


def test_what_a_service_had_that_is_gone_is_anybodys(database, arrived, claim):
    """Its turn may have been played: whoever takes over sees whose it was."""
    arrived("hello")
    assert claim(GONE) == ["hello"]

    with database.session_scope() as session:
        [item] = claim_messages(session, HERE, (), datetime.now(UTC), 16)
        assert item.claimed_by == GONE
    assert claim(THERE) == []


def test_the_channels_take_turns_and_busy_conversations_are_left_out(arrived, claim):
    for number in range(4):
        arrived(f"w{number}", f"web:{number}")
    for number in range(2):
        arrived(f"v{number}", f"vk:{number}", channel="vk")

    assert claim(HERE, busy={"web:0"}, limit=3) == ["w1", "v0", "w2"]


def test_what_is_to_be_tried_later_is_left_until_then(database, arrived, claim, items):
    arrived("hello")
    with database.session_scope() as session:
        session.get_one(InboxItem, items()["hello"].id).not_before = datetime.now(UTC) + timedelta(minutes=1)

    assert claim(HERE) == []


def test_who_was_taken_for_gone_changes_nothing_any_more(database, arrived, claim, items):
    arrived("hello")
    claim(GONE)
    claim(HERE)

    with database.session_scope() as session:
        assert claimed_item(session, items()["hello"].id, HERE).text == "hello"
        with pytest.raises(ClaimLost):
            claimed_item(session, items()["hello"].id, GONE)
        with pytest.raises(ClaimLost):
            finish(session, [items()["hello"]], GONE, "faq/size", datetime.now(UTC))
    assert items()["hello"].state == "waiting"


def test_an_album_is_answered_whole_by_who_has_claimed_its_first(database, arrived, claim, items):
    for text in ("one", "two", "other"):
        arrived(text, "web:a")
    claim(HERE)
    album = [items()["one"], items()["two"]]

    with database.session_scope() as session:
        finish(session, album, HERE, "case/photo", datetime.now(UTC))

    assert {text: (item.state, item.topic) for text, item in items().items()} == {
        "one": ("answered", "case/photo"), "two": ("answered", "case/photo"), "other": ("waiting", None),
    }  # fmt: skip


def test_a_message_that_was_erased_is_nobodys(database, arrived, claim, items):
    """Whoever answers it just now gives up, and the others go on."""
    arrived("hello")
    claim(HERE)
    erased = items()["hello"]
    with database.session_scope() as session:
        session.delete(session.get_one(InboxItem, erased.id))

    with database.session_scope() as session:
        with pytest.raises(ClaimLost):
            finish(session, [erased], HERE, None, datetime.now(UTC))
        with pytest.raises(ClaimLost):
            claimed_item(session, erased.id, HERE)


def test_a_service_whose_loop_broke_begins_anew(database, arrived, claim, items):
    """Its turns may have been played, so they will be undone; those of others are left alone."""
    arrived("ours", "web:a")
    assert claim(HERE) == ["ours"]
    arrived("theirs", "web:b")
    assert claim(THERE) == ["theirs"]

    with database.session_scope() as session:
        put_back(session, HERE)

    assert {text: item.attempts for text, item in items().items()} == {"ours": 1, "theirs": 0}
    assert claim(HERE) == ["ours"]


def test_one_delivery_that_reaches_two_services_is_kept_once(database):
    """A messenger whose first request was slow posts again, to the other service."""
    start = threading.Barrier(2)
    message = Incoming(key="telegram:1:2:3", sender_id="telegram:2", channel="telegram", kind="text", language="ru")

    def keep(_):
        with database.session_scope() as session:
            start.wait()
            return receive(session, message, datetime.now(UTC))

    with ThreadPoolExecutor(2) as services:
        assert sorted(services.map(keep, range(2))) == [False, True]
    with database.session_scope() as session:
        assert session.query(InboxItem).count() == session.query(Conversation).count() == 1


def test_one_notice_that_two_services_give_is_said_once(database):
    """Both tell a customer who has waited long that it takes longer."""
    start = threading.Barrier(2)

    def say(_):
        with database.session_scope() as session:
            start.wait()
            common = {"sender_id": "web:a", "channel": "web", "now": datetime.now(UTC)}
            put(session, purpose="takes_longer:1", text="A moment more", buttons=[("Yes", "/affirm")], **common)

    with ThreadPoolExecutor(2) as services:
        list(services.map(say, range(2)))
    with database.session_scope() as session:
        assert session.query(OutboxItem).count() == 1


@pytest.fixture
def start(database, client, notices, desk):
    """Makes a service's gateway."""
    return lambda holder: Gateway(database, client, notices, {}, desk, answered=lambda: None, holder=holder)


async def test_two_gateways_answer_each_message_once_and_in_order(rasa, start, running, eventually, arrived, items):
    """Rasa objects to a message that it hears twice (`FakeRasa`)."""
    everybody = [f"web:{number}" for number in range(PARALLEL + 4)]
    released = threading.Event()
    rasa.held.update(dict.fromkeys(everybody, released))
    for place in range(4):
        for sender_id in everybody:
            arrived(f"{place} of {sender_id}", sender_id)

    async with running(start(HERE).run), running(start(THERE).run):
        await eventually(lambda: {item.claimed_by for item in items().values()} >= {HERE, THERE})
        released.set()
        await eventually(lambda: all(item.state == "answered" for item in items().values()))

    for sender_id in everybody:
        assert rasa.messages(sender_id) == [f"{place} of {sender_id}" for place in range(4)]
    assert {item.claimed_by for item in items().values()} == {HERE, THERE}
    assert rasa.asked_for_trackers == []


async def test_a_turn_that_a_dead_service_had_played_is_undone_and_played_again(
    database, rasa, start, running, eventually, arrived, items, claim
):
    item = arrived("hello")
    claim(GONE)
    rasa.play({"sender": "web:a", "message": "hello", "metadata": {"key": item.key}})

    async with running(start(HERE).run):
        await eventually(lambda: items()["hello"].state == "answered")

    assert rasa.keys("web:a") == [item.key]


async def test_an_answer_of_who_was_taken_for_gone_is_dropped(
    database, rasa, start, running, eventually, arrived, items
):
    """He was stopped for so long that another service answered; the customer hears that one answer."""
    released = rasa.held["web:a"] = threading.Event()
    rasa.answer = lambda request: said(f"Answer {len(rasa.requests)}")
    item = arrived("hello")
    late = start(GONE)
    with database.session_scope() as session:
        session.add(ServiceRow(holder=GONE, until=datetime.now(UTC) + timedelta(minutes=1)))

    async with running(late.run):
        await eventually(lambda: rasa.requests)
        with database.session_scope() as session:  # as if another one had taken it
            session.get_one(InboxItem, item.id).claimed_by = HERE
        released.set()
        await eventually(lambda: not late._busy)

    with database.session_scope() as session:
        assert session.query(OutboxItem).count() == 0
        assert session.get_one(InboxItem, item.id).state == "waiting"
