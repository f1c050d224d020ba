"""What is read out of Rasa's tracker."""

from __future__ import annotations

from datetime import timedelta

import pytest

from actions.conversation import (
    GENERAL_TOPIC,
    customers_words,
    display_name,
    form_was_open,
    language,
    last_question,
    message_key,
    topic,
    transcript,
)

from .conversations import FORM_CLOSED, FORM_OPENED, LISTEN, NOW, bot, user

OFFER = "utter_faq/care"


def test_a_message_has_the_key_that_the_gateway_gave_it(tracker):
    """It is the same when the turn is played again, so a ticket opens once."""
    assert message_key(tracker(user("one", "k1"), bot("..."), user("two", "k2"))) == "k2"


@pytest.mark.parametrize(("name", "called"), [("Маша", "Маша"), ("", ""), (None, "")])
def test_the_display_name_may_be_missing(tracker, name, called):
    assert display_name(tracker(user("hello", display_name=name))) == called


@pytest.mark.parametrize(
    ("slots", "channel", "spoken"),
    [
        ({"language": "ru", "language_hint": "en"}, "en", "ru"),
        ({"language_hint": "en"}, "ru", "en"),
        ({}, "en", "en"),
        ({}, None, "ru"),
        ({"language": "de"}, "xx", "ru"),
    ],
)
def test_the_language_is_what_the_customer_wrote_last_for_sure(tracker, slots, channel, spoken):
    """The ticket must be in the language of the answers in the chat."""
    assert language(tracker(user("47655", language=channel), **slots)) == spoken


@pytest.mark.parametrize(
    ("understood", "about"),
    [
        ("case/delay", "case/delay"),
        ("complaint/anger", "complaint/anger"),
        ("human/callback", "human/callback"),
        ("faq/care", GENERAL_TOPIC),
        ("affirm", GENERAL_TOPIC),
        ("case", GENERAL_TOPIC),
    ],
)
def test_only_topics_that_need_a_person_become_a_case(tracker, understood, about):
    assert topic(tracker(user("...", topic=understood))) == about


def test_the_last_question_is_what_the_bot_said_before_this_message(tracker):
    """What it says in this very turn ("Of course") is not what the customer answers."""
    asked = tracker(user("can I wash them"), bot("...", "utter_faq/care"), user("yes"), bot("...", "utter_other"))

    assert last_question(asked) == "utter_faq/care"
    assert last_question(tracker(user("yes"))) == ""
    assert last_question(tracker(user("hm"), user("yes"))) == ""


@pytest.mark.parametrize(
    ("before", "now", "was_open"),
    [
        ([], [FORM_OPENED], False),
        ([FORM_OPENED], [], True),
        ([FORM_OPENED], [FORM_CLOSED], True),
        ([FORM_OPENED, FORM_CLOSED], [], False),
        ([FORM_OPENED, FORM_CLOSED], [FORM_OPENED], False),
    ],
)
def test_the_form_counts_as_open_if_it_was_before_this_message(tracker, before, now, was_open):
    """A problem that opens the form was apologised for already; one told inside it was not."""
    assert form_was_open(tracker(user("one"), *before, user("two"), *now)) is was_open


def test_a_transcript_is_what_the_customer_saw(tracker):
    """Agents read it: a pressed button by its title, addresses masked, with times; no machinery."""
    said = tracker(
        user("/start", shown="Hello"),
        bot("What's your e-mail?"),
        LISTEN,
        user("it's m…a@mail.example#17, or a…@x.example#9"),
        bot(""),
        bot("m…a@mail.example, right?"),
        user("/affirm", shown="Yes, that's right"),
    )

    lines = transcript(said)

    assert [(line.author, line.text) for line in lines] == [
        ("customer", "Hello"),
        ("bot", "What's your e-mail?"),
        ("customer", "it's m…a@mail.example, or a…@x.example"),
        ("bot", "m…a@mail.example, right?"),
        ("customer", "Yes, that's right"),
    ]
    assert lines[-1].at == NOW - timedelta(seconds=1)
    assert [line.at for line in lines] == sorted(line.at for line in lines)


def test_the_customers_words_are_counted_from_the_end(tracker):
    said = tracker(user("first"), bot("..."), user("/deny", shown="No"))

    assert customers_words(said) == "No"
    assert customers_words(said, back=1) == "first"
    assert customers_words(said, back=2) == ""


def test_a_turn_that_was_taken_back_is_not_part_of_the_conversation(tracker):
    """A turn whose action failed is told again from a restart, without it: the agents read the message once."""
    replayed = tracker(
        user("can I wash them", "k1"),
        bot("I don't know; shall I ask?", OFFER),
        LISTEN,
        user("yes", "k2"),
        bot("Of course", "utter_question_passed"),
        FORM_OPENED,
        LISTEN,
        {"event": "restart"},
        user("can I wash them", "k1"),
        bot("I don't know; shall I ask?", OFFER),
        LISTEN,
        user("yes", "k2"),
    )

    assert [line.text for line in transcript(replayed)] == ["can I wash them", "I don't know; shall I ask?", "yes"]
    assert customers_words(replayed, back=1) == "can I wash them"
    assert last_question(replayed) == OFFER
    assert form_was_open(replayed) is False
