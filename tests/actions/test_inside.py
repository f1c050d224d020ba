"""What is said inside the form and answers nothing that it asks."""

from __future__ import annotations

import pytest

from actions.form import TOPIC
from actions.inside import NoteAside, NoteInForm, OfferPassOn

from .conversations import user

STAYS = {"event": "active_loop", "timestamp": None, "name": "case_form"}


class TestOfferPassOn:
    @pytest.mark.parametrize(
        ("asked_for", "response"), [("order_number", "utter_no_number"), ("address", "utter_no_address")]
    )
    async def test_what_is_not_at_hand_may_be_left_out(self, run, tracker, asked_for, response):
        asked = tracker(user("I don't remember", topic="no_number"), requested_slot=asked_for)

        done = await run(OfferPassOn, asked)

        assert done.responses == [response]
        assert not done.closes_form


class TestNoteInForm:
    @pytest.mark.parametrize(
        ("text", "response"),
        [("the button fell off, too", "utter_case_noted"), ("will they sew it on here?", "utter_question_noted")],
    )
    async def test_words_go_with_the_case_and_so_do_questions(self, run, tracker, text, response):
        done = await run(NoteInForm, tracker(user(text, topic="nlu_fallback"), **{TOPIC: "case/defect"}))

        assert done.responses == [response]
        assert done.events == []

    @pytest.mark.parametrize("text", ["actually cancel that", "отмените это всё"])
    async def test_cancel_that_may_mean_the_case_or_the_order(self, run, tracker, text):
        """To read it as the order would cost somebody his jeans."""
        done = await run(NoteInForm, tracker(user(text, topic="case/cancel"), **{TOPIC: "case/exchange_my_order"}))

        assert done.responses == ["utter_cancel_what"]
        assert STAYS in done.events
        assert done.next_action == "action_listen"

    @pytest.mark.parametrize(("text", "about"), [("cancel my order", "case/delay"), ("cancel that", "case/cancel")])
    async def test_where_only_the_order_can_be_meant_nothing_is_asked(self, run, tracker, text, about):
        done = await run(NoteInForm, tracker(user(text, topic="case/cancel"), **{TOPIC: about}))

        assert done.responses == ["utter_case_noted"]


class TestNoteAside:
    @pytest.mark.parametrize(
        ("topic", "sure", "noted"),
        [
            ("faq/care", 0.9, False),
            ("faq/care", 0.5, True),
            ("oos/offtopic", 0.9, False),
            ("oos/spam", 0.98, True),
            ("oos/gibberish", 0.98, True),
            ("oos/privacy_probe", 0.4, False),
            ("smalltalk/thanks", 0.4, False),
        ],
    )
    async def test_what_is_rather_of_the_case_goes_with_it(self, run, tracker, topic, sure, noted):
        """An iPhone is named because the site fails there, not to sell one."""
        message = user("on my phone, an iPhone", topic=topic)
        message["parse_data"]["intent"]["confidence"] = sure

        done = await run(NoteAside, tracker(message, **{TOPIC: "case/site_problem"}))

        assert done.responses == (["utter_case_noted"] if noted else [])
        assert done.next_action == ("case_form" if noted else None)
