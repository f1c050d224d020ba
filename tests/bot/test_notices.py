"""What is said outside a turn: in the customer's language, once, and without anything from the letter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Formatter

import pytest
from ruamel.yaml import YAML
from sqlalchemy import select

from bot import outbox
from bot.models import Button, Conversation, OutboxItem
from bot.notices import NoticeFileInvalid, NoticeTexts
from handoff.models import Binding, Ticket, TicketEntry

NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)
FILE = Path(__file__).parents[2] / "data" / "notices.yml"

#: What the code fills in, for each notice.
KNOWN_VALUES = {
    "answer_sent": {"agent", "ticket", "masked"},
    "ticket_disputed": {"agent", "ticket", "masked"},
    "pair_matched": {"agent", "ticket", "masked"},
    "pair_joined": {"agent", "ticket", "masked"},
    "pair_unmatched": {"agent", "ticket", "masked"},
    "answer_late": {"agent", "ticket"},
    "letter_bounced": {"agent", "ticket"},
    "mark_question": {"agent", "ticket"},
    "unlinked": set(),
    "code_fits": {"agent", "masked"},
    "code_wrong": {"agent"},
    "takes_longer": {"agent"},
    "not_answered": {"agent"},
    "photo_wrong_type": set(),
    "photo_too_large": {"megabytes"},
    "photo_gone": set(),
    "button_gone": set(),
    "text_empty": set(),
    "text_too_long": {"characters"},
}


@pytest.fixture
def ticket(database):
    """Opened in Russian from a web conversation; the registered address is masha.k@mail.example."""
    with database.session_scope() as session:
        ticket = Ticket(
            topic="case/delay",
            topic_title="Задержка заказа",
            language="ru",
            channel="web",
            sender_id="web:a",
            opening_key="k1",
            display_name="Маша",
            customer_id="c-1",
            requester="masha.k@mail.example",
            agent_names={"ru": "Анна", "en": "Anna"},
            snapshot={},
            opened_at=NOW,
            answer_by=NOW + timedelta(hours=1),
        )
        session.add(ticket)
        session.flush()
        session.add(TicketEntry(ticket_number=ticket.number, author="agent", kind="letter", text="Secret", at=NOW))
    return ticket


def told(session):
    return session.scalars(select(OutboxItem).order_by(OutboxItem.id)).all()


def variants():
    for name, languages in YAML(typ="safe").load(FILE)["notices"].items():
        for language, texts in languages.items():
            for text in texts:
                yield name, language, text


def test_a_ticket_that_began_with_a_letter_has_nobody_to_tell(database, notices, ticket):
    """There is no conversation: a message for none would wait in the outbox for ever."""
    with database.session_scope() as session:
        ticket.channel = "email"
        notices.announce(session, ticket, "answer_sent", NOW)

        assert told(session) == []


@pytest.mark.parametrize(("name", "language", "text"), list(variants()))
def test_every_text_holds_only_what_the_code_fills_in(name, language, text):
    """A trainer's slip in braces would otherwise show when a letter has come, and stop its answer."""
    used = {field for _, field, _, _ in Formatter().parse(text) if field is not None}

    assert used <= KNOWN_VALUES[name]
    assert text.format(**dict.fromkeys(used, "x"))


def test_every_notice_that_the_code_knows_has_texts_in_both_languages(texts):
    for name, values in KNOWN_VALUES.items():
        for language in ("ru", "en"):
            assert texts.text(name, language, "seed", **dict.fromkeys(values, "x"))


@pytest.mark.parametrize(
    "content", ["notices: {answer_sent: {ru: [да]}}", "notices: {answer_sent: {ru: [да], en: []}}"]
)
def test_a_missing_language_is_named_at_the_start(tmp_path, content):
    """Found when the service starts, not when the first customer needs it."""
    path = tmp_path / "notices.yml"
    path.write_text(content)

    with pytest.raises(NoticeFileInvalid, match=r"notices\.yml: answer_sent: .*en"):
        NoticeTexts(path)


def test_the_same_seed_gives_the_same_wording(texts):
    """Whoever repeats a step after a crash must not word it anew."""
    said = {texts.text("answer_sent", "en", "answer:1", agent="Anna", ticket=1, masked="m") for _ in range(5)}
    over_seeds = {texts.text("answer_sent", "en", str(n), agent="Anna", ticket=1, masked="m") for n in range(30)}

    assert len(said) == 1
    assert len(over_seeds) == 2


def test_a_letter_is_announced_once_with_the_masked_address_only(database, notices, ticket):
    """Whoever holds the phone sees where to look, not what the shop wrote and not the address."""
    with database.session_scope() as session:
        for _ in range(2):
            notices.announce(session, ticket, "answer_sent", NOW)

    with database.session_scope() as session:
        (notice,) = told(session)
    assert (notice.sender_id, notice.channel) == ("web:a", "web")
    assert "m…k@mail.example" in notice.text
    assert str(ticket.number) in notice.text
    assert "masha" not in notice.text
    assert "Secret" not in notice.text


def test_the_next_letter_is_announced_again(database, notices, ticket):
    """Two answers of an agent are two letters, however alike."""
    with database.session_scope() as session:
        notices.announce(session, ticket, "answer_sent", NOW)
        session.add(TicketEntry(ticket_number=ticket.number, author="agent", kind="letter", text="More", at=NOW))
        session.flush()
        notices.announce(session, ticket, "answer_sent", NOW)

    with database.session_scope() as session:
        assert len(told(session)) == 2


@pytest.mark.parametrize(("spoken", "agent"), [(None, "Анна"), ("ru", "Анна"), ("en", "Anna")])
def test_a_notice_speaks_the_conversations_language_names_included(database, notices, ticket, spoken, agent):
    """The customer may have changed the language since the case was opened."""
    with database.session_scope() as session:
        if spoken:
            session.add(Conversation(sender_id="web:a", channel="web", language=spoken))
            session.flush()
        notices.announce(session, ticket, "ticket_disputed", NOW)

    with database.session_scope() as session:
        assert agent in told(session)[0].text


def test_a_mark_is_asked_for_once_with_a_button_for_each(database, notices, ticket):
    """Nothing of the case is said but its number."""
    with database.session_scope() as session:
        for _ in range(2):
            notices.ask_mark(session, ticket, NOW)

    with database.session_scope() as session:
        (question,) = told(session)
        buttons = session.scalars(select(Button).order_by(Button.title)).all()
    assert (question.sender_id, question.channel) == ("web:a", "web")
    assert str(ticket.number) in question.text
    assert [button["title"] for button in question.buttons] == ["1", "2", "3", "4", "5"]
    assert [button.payload for button in buttons] == [
        f'/mark{{"ticket": "{ticket.number}", "mark": "{mark}"}}' for mark in range(1, 6)
    ]
    assert "@" not in question.text


@pytest.mark.parametrize(
    ("states", "reached"),
    [((), True), (("sent",), True), (("refused",), False), (("sent", "refused", "waiting"), False),
     (("refused", "sent"), True), (("stuck",), True)],
)  # fmt: skip
def test_a_conversation_is_out_of_reach_once_its_messenger_refused_a_message(database, notices, states, reached):
    """Customers block bots and come back; what counts is the last thing that was tried."""
    with database.session_scope() as session:
        for number, state in enumerate(states):
            outbox.put(session, purpose=f"p:{number}", sender_id="vk:1", channel="vk", text="x", now=NOW)
            told(session)[-1].state = state
        session.flush()

        assert notices.reaches(session, "vk:1") == reached
        assert notices.reaches(session, "vk:2")


@pytest.mark.parametrize(("spoken", "word"), [(None, "chat"), ("ru", "чат")])
def test_a_conversation_hears_once_that_it_is_nobodys_any_more(database, notices, spoken, word):
    """Whoever holds the account now learns nothing about the customer."""
    binding = Binding(
        id=5, sender_id="web:a", channel="web", customer_id="c-1", registered_address="masha.k@mail.example",
        language="en", bound_at=NOW, used_at=NOW,
    )  # fmt: skip
    with database.session_scope() as session:
        if spoken:
            session.add(Conversation(sender_id="web:a", channel="web", language=spoken))
            session.flush()
        for _ in range(2):
            notices.unlinked(session, binding, NOW)

    with database.session_scope() as session:
        (notice,) = told(session)
    assert (notice.sender_id, notice.channel, notice.purpose) == ("web:a", "web", "unlinked:5")
    assert word in notice.text
    assert "@" not in notice.text


def test_a_message_that_waits_is_mentioned_once_for_each_reason(database, notices, arrived):
    item = arrived("hello", language="en")
    with database.session_scope() as session:
        for name in ("takes_longer", "takes_longer", "not_answered"):
            notices.about(session, item, name, NOW)

    with database.session_scope() as session:
        assert [row.purpose for row in told(session)] == [f"takes_longer:{item.id}", f"not_answered:{item.id}"]
