"""What comes in: once, in order, and without addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot import outbox
from bot.inbox import (
    Incoming,
    clean_text,
    keep_addresses,
    next_messages,
    plain_words,
    press_button,
    receive,
    words_for_engine,
)
from bot.models import Button, Conversation, InboxItem
from handoff.database import Database
from handoff.identity import address_behind

NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)
SOON = NOW + timedelta(minutes=1)


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.session_scope() as session:
        yield session


def write(session: Session, text: str = "hello", sender_id: str = "web:a", **fields: object) -> InboxItem:
    given = {"key": f"{sender_id}:{text}", "channel": "web", "kind": "text", **fields}
    receive(session, Incoming(sender_id=sender_id, text=text, **given), NOW)  # type: ignore[arg-type]
    return session.scalars(select(InboxItem).where(InboxItem.key == given["key"])).one()


def waiting(session: Session, busy: tuple[str, ...] = (), now: datetime = NOW, limit: int = 10) -> list[str]:
    return [item.text for item in next_messages(session, busy, now, limit)]


def ask(session: Session, *buttons: tuple[str, str], purpose: str = "answer:1", sender_id: str = "web:a") -> list[str]:
    """The bot says something with buttons; returns their keys."""
    outbox.put(
        session, purpose=purpose, sender_id=sender_id, channel="web", text="Is that right?", now=NOW, buttons=buttons
    )
    shown = session.scalars(select(Button).join(outbox.OutboxItem).where(outbox.OutboxItem.purpose == purpose)).all()
    by_title = {button.title: button.key for button in shown}
    return [by_title[title] for title, _ in buttons]


def test_a_second_delivery_is_not_a_second_message(session):
    """Messengers repeat what was not acknowledged in time; the customer wrote it once."""
    first = receive(session, Incoming("tg:1", "telegram:7", "telegram", "text", "hello"), NOW)
    again = receive(session, Incoming("tg:1", "telegram:7", "telegram", "text", "hello"), SOON)

    assert (first, again) == (True, False)
    assert session.scalar(select(func.count()).select_from(InboxItem)) == 1


def test_the_first_message_tells_the_conversations_language_and_a_later_one_does_not(session):
    """The channel only guesses; once the bot has answered, the answers' language counts."""
    write(session, "hello", language="en")
    write(session, "again", language="ru")

    assert session.get_one(Conversation, "web:a").language == "en"


def test_each_conversation_offers_its_oldest_message(session):
    """The second message may depend on the answer to the first."""
    for sender_id, text in (("web:a", "a1"), ("web:b", "b1"), ("web:a", "a2")):
        write(session, text, sender_id)

    assert waiting(session) == ["a1", "b1"]


def test_a_conversation_that_is_being_answered_is_skipped(session):
    write(session, "a1", "web:a")
    write(session, "b1", "web:b")

    assert waiting(session, busy=("web:a",)) == ["b1"]


def test_no_more_messages_are_taken_than_there_is_room_for(session):
    for sender_id in ("web:a", "web:b", "web:c"):
        write(session, f"from {sender_id}", sender_id)

    assert waiting(session, limit=2) == ["from web:a", "from web:b"]
    assert waiting(session, limit=0) == []


def test_a_message_whose_time_has_not_come_holds_up_its_own_conversation_only(session):
    """A newer message must not overtake the one that is being retried."""
    write(session, "a1", "web:a").not_before = SOON
    write(session, "a2", "web:a")
    write(session, "b1", "web:b")
    session.flush()

    assert waiting(session, now=NOW) == ["b1"]
    assert waiting(session, now=SOON) == ["a1", "b1"]


@pytest.mark.parametrize(("whole", "at_once"), [(True, ["picture"]), (False, [])])
def test_an_album_waits_for_the_rest_of_it_only_where_some_may_be_missing(session, whole, at_once):
    """VK brings all pictures with one event, Telegram one by one."""
    write(session, "picture", kind="photo", album="1", album_whole=whole)

    assert waiting(session, now=NOW) == at_once
    assert waiting(session, now=NOW + timedelta(seconds=1)) == ["picture"]


@pytest.mark.parametrize("state", ["answered", "stuck"])
def test_what_is_done_or_given_up_lets_the_next_message_through(session, state):
    write(session, "a1").state = state
    write(session, "a2")
    session.flush()

    assert waiting(session) == ["a2"]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  hello \n", "hello"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("tab\tstays", "tab\tstays"),
        ("nul\x00 bell\x07 del\x7f", "nul bell del"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("\u202etxet desrever", "txet desrever"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
        ("family \U0001f468\u200d\U0001f469\u200d\U0001f467", "family \U0001f468\u200d\U0001f469\u200d\U0001f467"),
        ("\u200b \u2066", ""),
    ],
)
def test_control_and_direction_characters_are_taken_out(typed, kept):
    """They are invisible, break look-ups, and turn a line around in an agent's mail program."""
    assert clean_text(typed) == kept


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("hello", "hello"),
        ("/stop", "stop"),
        (" \n/ /restart", "restart"),
        ('/affirm{"order_number": "1"}', 'affirm{"order_number": "1"}'),
        ("///", "?"),
        ("one / two", "one / two"),
    ],
)
def test_a_typed_command_is_only_words(typed, said):
    """Rasa executes "/intent{...}" without understanding it: a customer must not steer it that way."""
    assert plain_words(typed) == said


def test_a_typed_address_reaches_rasa_masked_with_a_reference(session):
    """Trackers and logs hold no address; the reference leads back to it in the same conversation only."""
    item = write(session, "47655, masha.k@mail.example (maybe Anna@Mail.Example)")

    words = words_for_engine(item, keep_addresses(session, item, NOW))

    assert "masha" not in words
    assert "Anna" not in words
    first, second = re.findall(r"\S…\S?@\w+\.\w+#\d+", words, flags=re.IGNORECASE)
    assert address_behind(session, "web:a", first, NOW) == "masha.k@mail.example"
    assert address_behind(session, "web:a", second, NOW) == "Anna@Mail.Example"
    assert address_behind(session, "web:stranger", first, NOW) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "start", "text": ""}, "/start"),
        ({"kind": "photo", "text": "", "photo": "x.jpg"}, "/photo"),
        ({"kind": "voice", "text": ""}, "/voice"),
        ({"kind": "sticker", "text": ""}, "/sticker"),
        ({"kind": "place", "text": ""}, "/place"),
        ({"kind": "button", "text": "Yes", "payload": "/affirm"}, "/affirm"),
        ({"kind": "button", "text": "Exchange", "payload": "How does an exchange work?"}, "How does an exchange work?"),
        ({"kind": "text", "text": "/photo"}, "photo"),
    ],
)
def test_only_our_own_steps_become_commands(session, fields, words):
    """Payloads come from our own table, typed text from anybody."""
    assert words_for_engine(write(session, **fields), {}) == words


def test_a_button_says_what_its_row_says(session):
    yes, _ = ask(session, ("Yes", "/affirm"), ("No", "/deny"))

    pressed = press_button(session, "web:a", yes, NOW)

    assert (pressed.title, pressed.payload, pressed.pressed_at) == ("Yes", "/affirm", NOW)


def test_somebody_elses_button_does_nothing(session):
    """Keys are unguessable, but a forwarded message carries them."""
    (yes,) = ask(session, ("Yes", "/affirm"))

    assert press_button(session, "web:stranger", yes, NOW) is None
    assert session.get_one(Button, yes).pressed_at is None


def test_an_unknown_button_does_nothing(session):
    assert press_button(session, "web:a", "no such key", NOW) is None


def test_a_steering_button_counts_once_and_its_neighbours_no_more(session):
    """A double tap, or "no" after "yes", would answer the question that comes next."""
    yes, no = ask(session, ("Yes", "/affirm"), ("No", "/deny"))
    press_button(session, "web:a", yes, NOW)

    assert press_button(session, "web:a", yes, SOON) is None
    assert press_button(session, "web:a", no, SOON) is None


def test_a_steering_button_under_an_older_message_does_nothing(session):
    """Scrolled back to, it would answer another question than the one above it."""
    (yes,) = ask(session, ("Yes", "/affirm"))
    ask(session, ("Cancel", "/stop"), purpose="answer:2")

    assert press_button(session, "web:a", yes, NOW) is None


def test_a_message_to_somebody_else_does_not_make_a_button_old(session):
    (yes,) = ask(session, ("Yes", "/affirm"))
    ask(session, ("Cancel", "/stop"), purpose="answer:2", sender_id="web:b")

    assert press_button(session, "web:a", yes, NOW) is not None


def test_a_button_that_names_its_ticket_counts_days_later_and_twice(session):
    """A mark is given when the customer comes back to the chat; what a second one does is for the ticket to say."""
    five, one = ask(
        session, ("5", '/mark{"ticket": "1001", "mark": "5"}'), ("1", '/mark{"ticket": "1001", "mark": "1"}')
    )
    outbox.put(session, purpose="answer:2", sender_id="web:a", channel="web", text="Later", now=SOON)

    pressed = [press_button(session, "web:a", key, SOON) for key in (five, one, five)]

    assert None not in pressed


def test_a_menu_button_works_whenever_it_is_pressed(session):
    """It only asks a question, as if it were typed."""
    exchange, prices = ask(session, ("Exchange", "How does an exchange work?"), ("Prices", "What does it cost?"))
    ask(session, ("Cancel", "/stop"), purpose="answer:2")

    pressed = [press_button(session, "web:a", key, NOW) for key in (exchange, prices, exchange)]

    assert None not in pressed
