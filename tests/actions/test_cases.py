"""The case form's actions, on a real database."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from sqlalchemy import select

import actions.cases
import actions.links
from actions.cases import (
    CONFIRMED,
    MISMATCHES,
    TOPIC,
    WORDS,
    BeginCase,
    BeginOtherCase,
    CorrectCase,
    EndCase,
    NoOrder,
    OpenTicket,
    PassOn,
    TakePhoto,
    TakeYes,
    ValidateCaseForm,
    all_actions,
)
from actions.conversation import GENERAL_TOPIC
from actions.unasked import TakeIdentifiers
from handoff.identity import ADDRESS_KEPT, keep_address
from handoff.limits import CLAIMS_PER_CHAT
from handoff.matching import Matching
from handoff.models import LetterOut, StoredFile, Ticket
from handoff.ownership import dispute_ticket
from handoff.tickets import FILES_BELONG

from .conversations import FORM_CLOSED, FORM_OPENED, NOW, OTHER_SENDER, SENDER, bot, user

ROOT = Path(__file__).parents[2]
MARIA = "maria.sokolova@mail.example"


@pytest.fixture
def tickets(database):
    def read():
        with database.session_scope() as session:
            return session.scalars(select(Ticket).order_by(Ticket.number)).all()

    return read


@pytest.fixture
def letters(database):
    """(audience, template) of every letter that was written, oldest first."""

    def read():
        with database.session_scope() as session:
            return [(row.audience, row.template) for row in session.scalars(select(LetterOut).order_by(LetterOut.id))]

    return read


@pytest.fixture
def confirmed(tracker, typed):
    """The form with number and address, and the customer's yes."""

    def build(number="47655", address=MARIA, *, key="k9", about="case/delay", mismatches=0.0, **slots):
        reference = typed(address) if address else None
        return tracker(
            user("where are my jeans", "k1", topic=about),
            FORM_OPENED,
            bot("What's your order number?", "utter_ask_case_form_order_number"),
            user(f"{number}, {reference}", "k2"),
            bot("Is that right?", "utter_ask_case_form_case_form__confirmed"),
            user("/affirm", key, topic="affirm", shown="Yes"),
            FORM_CLOSED,
            **{
                "order_number": number,
                "address": reference,
                CONFIRMED: True,
                TOPIC: about,
                WORDS: "where are my jeans",
                MISMATCHES: mismatches,
                **slots,
            },
        )

    return build


@pytest.fixture
async def opened(run, confirmed, tickets):
    """Maria's open ticket about a delay of order 47655."""
    await run(OpenTicket, confirmed())
    (ticket,) = tickets()
    return ticket


class TestOpenTicket:
    async def test_number_and_address_that_belong_together_open_a_ticket(self, run, confirmed, tickets, letters, woken):
        """The registered address is only said masked; agents and customer each get a letter."""
        done = await run(OpenTicket, confirmed())

        (ticket,) = tickets()
        assert (ticket.requester, ticket.order_number, ticket.topic) == (MARIA, "47655", "case/delay")
        assert (ticket.channel, ticket.sender_id, ticket.opening_key) == ("web", SENDER, "k9")
        assert done.responses == ["utter_ticket_opened"]
        assert (done.said[0]["ticket"], done.said[0]["masked"]) == (1001, "m…a@mail.example")
        assert done.said[0]["agent"] in ("Anna", "Olga")
        assert done.said[0]["deadline"]
        assert done.closes_form
        assert done.slots[CONFIRMED] is done.slots[TOPIC] is done.slots[WORDS] is None
        assert letters() == [("agents", "ticket"), ("customer", "confirmation")]
        assert woken

    async def test_the_ticket_keeps_the_conversation_with_addresses_masked(self, run, confirmed, tickets, said_in):
        await run(OpenTicket, confirmed())

        assert said_in(tickets()[0].number) == ["where are my jeans", "47655, m…a@mail.example", "Yes"]

    async def test_the_title_is_in_the_customers_language(self, run, confirmed, tickets, titles):
        await run(OpenTicket, confirmed(language="ru"))

        assert (tickets()[0].language, tickets()[0].topic_title) == ("ru", titles["case/delay"]["ru"])

    async def test_the_same_message_again_opens_nothing_new(self, run, confirmed, tickets, letters):
        """A turn is played again after a crash; the customer hears the same number."""
        first = await run(OpenTicket, confirmed())
        again = await run(OpenTicket, confirmed())

        assert again == first
        assert len(tickets()) == 1
        assert len(letters()) == 2

    async def test_the_same_case_asked_for_again_joins_the_open_ticket(self, run, opened, confirmed, tickets):
        done = await run(OpenTicket, confirmed(key="k20"))

        assert done.responses == ["utter_ticket_joined"]
        assert done.said[0]["ticket"] == opened.number
        assert len(tickets()) == 1
        assert done.closes_form

    async def test_another_spelling_of_the_number_is_the_same_order(self, run, confirmed, tickets):
        await run(OpenTicket, confirmed("GW-48213"))

        assert tickets()[0].order_number == "GW48213"

    @pytest.mark.parametrize(
        ("about", "reason"), [("complaint/anger", "anger"), ("complaint/slow_reply", "complaint"), ("case/delay", None)]
    )
    async def test_a_complaint_is_urgent(self, run, confirmed, tickets, about, reason):
        await run(OpenTicket, confirmed(about=about))

        assert tickets()[0].urgent_for == reason

    async def test_photos_sent_before_belong_to_the_case(self, run, confirmed, photo, tickets, database):
        photo("before")
        photo("days ago", ago=FILES_BELONG + timedelta(hours=1))
        photo("theirs", sender_id=OTHER_SENDER)

        await run(OpenTicket, confirmed())

        with database.session_scope() as session:
            attached = session.scalars(select(StoredFile).where(StoredFile.ticket_number.is_not(None))).all()
        assert [file.source_key for file in attached] == ["before"]

    async def test_a_pair_that_does_not_belong_together_is_asked_for_again(self, run, confirmed, tickets):
        """Nothing tells which of the two was wrong, or whether either exists."""
        wrong_order = await run(OpenTicket, confirmed("47988"))
        no_order = await run(OpenTicket, confirmed("99999"))
        no_address = await run(OpenTicket, confirmed(address="nobody@mail.example"))

        assert wrong_order == no_order == no_address
        assert wrong_order.responses == ["utter_mismatch"]
        # Both are kept: one of them is mostly right.
        assert wrong_order.slots == {CONFIRMED: None, MISMATCHES: 1, "requested_slot": CONFIRMED}
        assert wrong_order.next_action == "action_listen"
        assert tickets() == []

    async def test_a_hundred_wrong_pairs_get_the_same_answers(self, run, confirmed, tickets, letters):
        """Of each attempt in a row, whatever is wrong with it and however far past the limits; nobody is mailed."""
        kinds = [("47988", MARIA), ("99999", MARIA), ("47655", "nobody@mail.example"), ("", "x@y.example")]

        answers = [
            [await run(OpenTicket, confirmed(*kind, mismatches=float(attempt))) for kind in kinds]
            for attempt in range(25)
        ]

        assert [len({repr(answer) for answer in of_kinds}) for of_kinds in answers] == [1] * 25
        assert [answers[0][0].responses, *{tuple(a[0].responses) for a in answers[1:]}] == [
            ["utter_mismatch"],
            ("utter_mismatch_again",),
        ]
        assert tickets() == []
        assert letters() == []

    async def test_after_the_second_mismatch_the_bot_offers_to_pass_the_case_on(self, run, confirmed, tickets):
        """Number and address stay: passed on as they are, they help the agent."""
        done = await run(OpenTicket, confirmed("47988", mismatches=1.0))

        assert done.responses == ["utter_mismatch_again"]
        assert done.slots == {CONFIRMED: None, MISMATCHES: 2, "requested_slot": CONFIRMED}
        assert {"event": "active_loop", "timestamp": None, "name": "case_form"} in done.events
        assert tickets() == []

    async def test_past_the_limit_a_right_pair_looks_like_a_wrong_one(self, run, confirmed, tickets):
        """Who guesses must not learn from a success that comes too late."""
        attempts = CLAIMS_PER_CHAT[0][1]
        for guess in range(attempts):
            await run(OpenTicket, confirmed(f"1000{guess}"))

        done = await run(OpenTicket, confirmed())

        assert done.responses == ["utter_mismatch"]
        assert tickets() == []

    async def test_a_crm_that_is_away_never_means_not_found(
        self, run_with, services_without_crm, confirmed, tickets, letters
    ):
        """The case is taken now, with what was claimed, and waits for the CRM; the customer hears just that."""
        done = await run_with(services_without_crm)(OpenTicket, confirmed())

        (ticket,) = tickets()
        assert (ticket.requester, ticket.verified, ticket.match_at) == (None, False, NOW)
        assert (ticket.claimed_order, ticket.claimed_address) == ("47655", MARIA)
        assert done.responses == ["utter_ticket_waiting"]
        assert done.said[0]["masked"] == ""
        assert done.closes_form
        assert letters() == [("agents", "ticket")]

    async def test_a_turn_played_again_says_what_the_ticket_says(
        self, run, run_with, services, services_without_crm, confirmed, tickets, letters
    ):
        """Between the two the CRM may have come back, and the ticket may have been matched."""
        await run_with(services_without_crm)(OpenTicket, confirmed())

        waiting = await run(OpenTicket, confirmed())
        await Matching(services.database, services.crm, services.desk, lambda: None).match_due(NOW)
        matched = await run_with(services_without_crm)(OpenTicket, confirmed())

        assert (waiting.responses, matched.responses) == (["utter_ticket_waiting"], ["utter_ticket_opened"])
        assert matched.said[0]["masked"] == "m…a@mail.example"
        assert len(tickets()) == 1
        assert letters() == [("agents", "ticket"), ("customer", "confirmation"), ("agents", "checked")]

    @pytest.mark.parametrize("reference", ["m…a@mail.example#999", "m…a@mail.example", None])
    async def test_an_address_that_is_forgotten_by_now_is_asked_for_again(self, run, confirmed, tickets, reference):
        """Typed addresses are kept for two days; a form may be left open for longer."""
        forgotten = confirmed()
        forgotten.slots["address"] = reference
        done = await run(OpenTicket, forgotten)

        assert done.slots == {"address": None, CONFIRMED: None}
        assert done.next_action == "case_form"
        assert done.responses == []

    async def test_somebody_elses_reference_identifies_nobody(self, run, confirmed, typed, tickets):
        """Masked addresses are said in conversations; one must not work in another."""
        stolen = confirmed()
        stolen.slots["address"] = typed(MARIA, sender_id=OTHER_SENDER)

        done = await run(OpenTicket, stolen)

        assert done.slots == {"address": None, CONFIRMED: None}
        assert tickets() == []

    async def test_a_disputed_conversation_identifies_nobody_any_more(
        self, run, opened, confirmed, database, services, tickets
    ):
        """The owner of the mailbox said that it was not him."""
        with database.session_scope() as session:
            dispute_ticket(session, opened.number, services.desk, NOW)

        done = await run(OpenTicket, confirmed(key="k20"))

        assert services.desk.notices.announced == [(opened.number, "ticket_disputed")]
        assert done.responses == ["utter_mismatch"]
        assert len(tickets()) == 1


class TestPassOn:
    async def test_a_case_is_passed_on_with_what_there_is(self, run, tracker, tickets, letters):
        """No number, no address: a person reads it all the same. Nobody is mailed but the agents."""
        asked = tracker(user("I have no number, pass it on", topic="pass_on"), **{TOPIC: "case/defect"})

        done = await run(PassOn, asked)

        (ticket,) = tickets()
        assert (ticket.topic, ticket.claimed_order, ticket.claimed_address) == ("case/defect", None, None)
        assert done.responses == ["utter_ticket_no_address"]
        assert done.closes_form
        assert letters() == [("agents", "ticket")]

    async def test_what_was_typed_goes_with_it_unchecked(self, run, tracker, typed, tickets):
        """The agents get the address as typed; a right pair stays unverified, since it was not looked up."""
        asked = tracker(user("/pass_on", topic="pass_on"), order_number="47655", address=typed(MARIA))

        await run(PassOn, asked)

        (ticket,) = tickets()
        assert (ticket.claimed_order, ticket.claimed_address, ticket.requester) == ("47655", MARIA, None)
        assert ticket.topic == GENERAL_TOPIC

    async def test_passing_on_twice_is_one_ticket(self, run, tracker, tickets):
        for _ in range(2):
            await run(PassOn, tracker(user("/pass_on", topic="pass_on")))

        assert len(tickets()) == 1


class TestNoOrder:
    async def test_it_is_passed_on_and_asked_where_to_answer(self, run, tracker, tickets, letters):
        done = await run(NoOrder, tracker(user("/no_order", topic="no_order"), FORM_OPENED, **{TOPIC: GENERAL_TOPIC}))

        (ticket,) = tickets()
        assert (ticket.requester, ticket.claimed_order, ticket.claimed_address) == (None, None, None)
        assert (done.responses, done.closes_form) == (["utter_ticket_no_order_no_address"], True)
        assert letters() == [("agents", "ticket")]

    async def test_an_address_that_is_known_is_not_asked_for(self, run, tracker, tickets, typed):
        done = await run(
            NoOrder, tracker(user("/no_order", topic="no_order"), **{TOPIC: GENERAL_TOPIC, "address": typed(MARIA)})
        )

        assert (tickets()[0].requester, tickets()[0].claimed_address) == (None, MARIA)
        assert (done.responses, done.said[0]["masked"]) == (["utter_ticket_no_order"], "m…a@mail.example")

    async def test_the_address_that_follows_is_where_the_answer_goes(self, run, tracker, tickets, typed, letters):
        none = user("/no_order", topic="no_order")
        await run(NoOrder, tracker(none, **{TOPIC: GENERAL_TOPIC}))
        address = user("it is here", "k2", topic="identifiers", entities={"address": typed(MARIA)})

        done = await run(TakeIdentifiers, tracker(none, bot("Where?", "utter_ticket_no_order_no_address"), address))

        assert (done.responses, done.said[0]["masked"]) == (["utter_will_answer_there"], "m…a@mail.example")
        assert (tickets()[0].requester, tickets()[0].claimed_address) == (None, MARIA)
        assert letters() == [("agents", "ticket"), ("agents", "follow_up")]


class TestCorrectCase:
    async def test_number_and_address_are_forgotten(self, run, tracker):
        done = await run(CorrectCase, tracker(user("no, that's wrong", topic="deny"), order_number="1234"))

        assert done.slots == {"order_number": None, "address": None, CONFIRMED: None}

    @pytest.mark.parametrize(
        ("words", "forgotten"),
        [("нет, почта другая", "address"), ("wrong number", "order_number"), ("the mail is wrong", "address")],
    )
    async def test_what_is_not_objected_to_stays(self, run, tracker, words, forgotten):
        known = {"order_number": "48213", "address": "m…a@mail.example#1", "requested_slot": CONFIRMED}

        done = await run(CorrectCase, tracker(user(words, topic="deny"), **known))

        assert done.slots == {forgotten: None, CONFIRMED: None}

    async def test_a_button_says_what_is_wrong(self, run, tracker):
        pressed = user("/correct", topic="correct", entities={"fact": "address"})

        done = await run(CorrectCase, tracker(pressed, order_number="48213", address="m…a@mail.example#1"))

        assert done.slots == {"address": None, CONFIRMED: None}

    async def test_a_plain_no_to_both_is_asked_about(self, run, tracker):
        known = {"order_number": "48213", "address": "m…a@mail.example#1", "requested_slot": CONFIRMED}

        done = await run(CorrectCase, tracker(user("no", topic="deny"), **known))

        assert done.responses == ["utter_what_to_correct"]
        assert done.slots == {CONFIRMED: None, "requested_slot": CONFIRMED}
        assert done.next_action == "action_listen"

    @pytest.mark.parametrize("entity", ["order_number", "address"])
    async def test_a_correction_keeps_what_the_message_brought(self, run, tracker, entity):
        """ "No, it's 48213" is the correction itself; the other fact was not objected to."""
        message = user("no, it's 48213", topic="correct", entities={entity: "48213"})

        done = await run(CorrectCase, tracker(message, order_number="48213", address="m…a@mail.example#1"))

        assert done.slots == {CONFIRMED: None}


class TestEndCase:
    async def test_the_form_is_left_and_nothing_is_sent(self, run, tracker, tickets, letters):
        done = await run(EndCase, tracker(user("/stop", topic="stop"), FORM_OPENED, **{TOPIC: "case/delay"}))

        assert done.closes_form
        assert done.slots == {"requested_slot": None, CONFIRMED: None, TOPIC: None, WORDS: None, MISMATCHES: 0}
        assert (done.responses, tickets(), letters()) == ([], [], [])


class TestBeginCase:
    async def test_the_case_is_remembered_with_its_first_words(self, run, tracker):
        """They open the letter to the agents; earlier mismatches belong to another case."""
        done = await run(BeginCase, tracker(user("my jeans are late", topic="case/delay"), **{MISMATCHES: 2.0}))

        assert done.slots == {TOPIC: "case/delay", WORDS: "my jeans are late", CONFIRMED: None, MISMATCHES: 0}
        assert (done.responses, done.next_action) == ([], None)

    @pytest.mark.parametrize(
        "about", ["case/delay", "case/ticket_followup", "case/receipt_sent", "human/callback", "complaint/anger"]
    )
    async def test_what_belongs_to_the_open_ticket_is_added_to_it(
        self, run, tracker, opened, tickets, letters, said_in, woken, about
    ):
        """The same topic, a follow-up, anger, "call me": nobody is asked for his number a second time."""
        woken.clear()

        done = await run(BeginCase, tracker(user("any news?", "k30", topic=about)))

        assert done.responses == ["utter_added_to_ticket"]
        assert (done.said[0]["ticket"], done.said[0]["masked"]) == (opened.number, "m…a@mail.example")
        assert done.next_action == "action_listen"
        assert said_in(opened.number)[-1] == "any news?"
        assert letters()[-1] == ("agents", "follow_up")
        assert len(tickets()) == 1
        assert woken

    async def test_adding_twice_is_adding_once(self, run, tracker, opened, letters, said_in):
        for _ in range(2):
            await run(BeginCase, tracker(user("any news?", "k30", topic="case/delay")))

        assert said_in(opened.number).count("any news?") == 1
        assert len(letters()) == 3

    async def test_another_topic_soon_after_is_added_unless_the_customer_says_no(self, run, tracker, opened, said_in):
        added = user("wrong jeans in the parcel", "k30", topic="case/wrong_item")

        done = await run(BeginCase, tracker(added))

        assert (done.responses, done.next_action) == (["utter_added_unless_other"], "action_listen")
        assert said_in(opened.number)[-1] == "wrong jeans in the parcel"

        pressed = user("/other_matter", "k31", topic="other_matter", shown="It's another matter")
        said = (bot("Sorry", "utter_case/wrong_item"), bot("Added", "utter_added_unless_other"))
        own = await run(BeginOtherCase, tracker(added, *said, pressed))

        assert own.responses == []
        assert (own.slots[TOPIC], own.slots[WORDS]) == ("case/wrong_item", "wrong jeans in the parcel")

    @pytest.mark.parametrize("about", ["case/account_delete", "case/design_payout", "case/site_problem"])
    async def test_what_is_about_no_order_is_a_case_of_its_own(self, run, tracker, opened, about):
        done = await run(BeginCase, tracker(user("delete my account", "k30", topic=about)))

        assert (done.responses, done.slots[TOPIC]) == ([], about)

    async def test_another_topic_a_day_later_is_another_case(self, run, tracker, opened, quiet_since):
        quiet_since(opened.number, NOW - timedelta(hours=25))

        done = await run(BeginCase, tracker(user("wrong jeans in the parcel", "k30", topic="case/wrong_item")))

        assert (done.responses, done.slots[TOPIC]) == ([], "case/wrong_item")

    async def test_after_a_wish_for_a_person_a_case_is_asked_about(self, run, tracker):
        """That ticket knows no order: this one can."""
        await run(PassOn, tracker(user("/pass_on", topic="pass_on"), **{TOPIC: GENERAL_TOPIC}))

        done = await run(BeginCase, tracker(user("the zip broke", "k30", topic="case/defect")))

        assert (done.responses, done.slots[TOPIC]) == ([], "case/defect")

    async def test_another_order_number_is_another_case(self, run, tracker, opened):
        """The same topic about a second parcel must not drown in the first ticket."""
        message = user("48213 is late too", "k30", topic="case/delay", entities={"order_number": "48213"})

        done = await run(BeginCase, tracker(message))

        assert done.responses == []
        assert done.slots[TOPIC] == "case/delay"

    async def test_naming_the_tickets_own_order_adds_to_it(self, run, tracker, opened):
        message = user("47655 is still not here", "k30", topic="case/delay", entities={"order_number": "47655"})

        assert (await run(BeginCase, tracker(message))).responses == ["utter_added_to_ticket"]

    async def test_another_conversations_ticket_is_not_added_to(self, run, tracker, opened):
        """Who has not said who he is must not write into somebody's ticket."""
        done = await run(BeginCase, tracker(user("any news?", topic="case/delay"), sender_id=OTHER_SENDER))

        assert done.responses == []

    async def test_a_closed_ticket_is_not_added_to(self, run, tracker, opened, database):
        with database.session_scope() as session:
            session.get_one(Ticket, opened.number).state = "closed"

        done = await run(BeginCase, tracker(user("any news?", "k30", topic="case/delay")))

        assert done.responses == []

    async def test_a_photo_that_waits_goes_along(self, run, tracker, opened, photo, database):
        photo()

        await run(BeginCase, tracker(user("look", "k30", topic="case/ticket_followup")))

        with database.session_scope() as session:
            assert session.scalars(select(StoredFile)).one().ticket_number == opened.number


class TestTakePhoto:
    async def test_before_a_case_it_waits(self, run, tracker, photo):
        photo()

        done = await run(TakePhoto, tracker(user("/photo", topic="photo")))

        assert (done.responses, done.events) == (["utter_photo_kept"], [])

    async def test_inside_the_form_it_waits_for_the_case_even_if_another_is_open(
        self, run, tracker, opened, photo, database
    ):
        """It shows what is being told right now."""
        photo()

        done = await run(TakePhoto, tracker(FORM_OPENED, user("/photo", "k30", topic="photo")))

        assert done.responses == ["utter_photo_kept_for_case"]
        with database.session_scope() as session:
            assert session.scalars(select(StoredFile)).one().ticket_number is None

    async def test_after_a_case_it_is_added_to_the_ticket(self, run, tracker, opened, photo, database, letters):
        photo()

        done = await run(TakePhoto, tracker(user("/photo", "k30", topic="photo")))

        assert done.responses == ["utter_photo_added"]
        assert done.said[0]["ticket"] == opened.number
        assert letters()[-1] == ("agents", "follow_up")
        with database.session_scope() as session:
            assert session.scalars(select(StoredFile)).one().ticket_number == opened.number

    @pytest.mark.parametrize("in_form", [False, True])
    async def test_without_a_photo_it_says_so(self, run, tracker, photo, in_form):
        """It is too old, somebody else's, or could not be kept: promising it to the agents would be a lie."""
        photo("old", ago=FILES_BELONG + timedelta(hours=1))
        photo("theirs", sender_id=OTHER_SENDER)

        done = await run(TakePhoto, tracker(*([FORM_OPENED] if in_form else []), user("/photo", topic="photo")))

        assert done.responses == ["utter_photo_missing"]


class TestTakeYes:
    @pytest.mark.parametrize("offer", ["utter_faq/care", "utter_oos/business", "utter_reassure/trust", "utter_unclear"])
    async def test_yes_to_an_offer_begins_a_case_with_the_question(self, run, tracker, offer):
        """The agents read what was asked, not "yes"."""
        accepted = tracker(user("can I wash them"), bot("Shall I ask?", offer), user("yes", "k2", topic="affirm"))

        done = await run(TakeYes, accepted)

        assert done.responses == ["utter_question_passed"]
        assert (done.slots[TOPIC], done.slots[WORDS]) == (GENERAL_TOPIC, "can I wash them")
        assert done.next_action == "case_form"

    @pytest.mark.parametrize("said", ["utter_smalltalk/thanks", "utter_ticket_opened", "utter_anything_else"])
    async def test_yes_to_anything_else_is_just_a_yes(self, run, tracker, said):
        done = await run(TakeYes, tracker(user("ok"), bot("...", said), user("yes", "k2", topic="affirm")))

        assert (done.responses, done.events) == (["utter_anything_else"], [])

    async def test_yes_out_of_the_blue_is_just_a_yes(self, run, tracker):
        done = await run(TakeYes, tracker(user("yes", topic="affirm")))

        assert (done.responses, done.events) == (["utter_anything_else"], [])


class TestValidateCaseForm:
    @pytest.fixture
    def inside(self, tracker):
        """A message inside the form."""

        def build(about, known, text="they are torn, too"):
            return tracker(
                user("...", "k1", topic=known),
                FORM_OPENED,
                user(text, "k2", topic=about),
                **{TOPIC: known},
            )

        return build

    async def test_a_new_problem_told_inside_the_form_gets_its_apology(self, run, inside):
        """The case stays what it began with; the transcript has both."""
        done = await run(ValidateCaseForm, inside("case/defect", "case/delay"))

        assert done.responses == ["utter_case/defect"]
        assert done.slots == {TOPIC: "case/delay"}

    @pytest.mark.parametrize("known", [GENERAL_TOPIC, "human/callback", "complaint/anger", "case/order_question"])
    async def test_a_general_case_becomes_the_problem_that_is_told(self, run, inside, known):
        """ "Get me a person", then why: the ticket is about the why."""
        done = await run(ValidateCaseForm, inside("case/defect", known))

        assert done.responses == ["utter_case/defect"]
        assert done.slots == {TOPIC: "case/defect", WORDS: "they are torn, too"}

    async def test_an_order_to_cancel_is_what_the_case_is_about_from_then_on(self, run, inside):
        """Sewing does not wait until somebody has read about the delay."""
        done = await run(ValidateCaseForm, inside("case/cancel", "case/delay", "then cancel my order"))

        assert done.responses == ["utter_case/cancel"]
        assert done.slots == {TOPIC: "case/cancel", WORDS: "then cancel my order"}

    async def test_what_may_be_the_case_or_the_order_is_left_to_a_question(self, run, inside):
        done = await run(ValidateCaseForm, inside("case/cancel", "case/delay", "cancel that"))

        assert (done.responses, done.events) == ([], [])

    async def test_who_names_two_orders_hears_which_one_the_case_goes_under(self, run, tracker):
        message = user("51337 and 51379 are late", topic="case/delay", entities={"order_number": "51337"})
        message["parse_data"]["entities"] += user("", entities={"order_number": "51379"})["parse_data"]["entities"]

        done = await run(ValidateCaseForm, tracker(message, **{TOPIC: "case/delay"}))

        assert done.said[0]["response"] == "utter_more_orders"
        assert (done.said[0]["orders"], done.said[0]["taken"]) == ("51337, 51379", "51379")

    @pytest.mark.parametrize("about", ["case/delay", "faq/care", "affirm", "human/callback", "case/ticket_followup"])
    async def test_what_is_no_new_problem_is_left_to_the_rules(self, run, inside, about):
        done = await run(ValidateCaseForm, inside(about, "case/delay"))

        assert (done.responses, done.events) == ([], [])

    async def test_the_problem_that_opens_the_form_is_not_apologised_for_twice(self, run, tracker):
        opening = tracker(user("they are torn", topic="case/defect"), FORM_OPENED)

        done = await run(ValidateCaseForm, opening)

        assert (done.responses, done.events) == ([], [])


def test_the_actions_are_those_of_the_domain(services):
    """An action that Rasa does not know is never called; one that we do not have breaks every turn that needs it."""
    domain = YAML(typ="safe").load(ROOT / "domain.yml")

    assert sorted(action.name() for action in all_actions(services)) == sorted(domain["actions"])


def test_every_response_that_an_action_asks_for_exists():
    """Rasa says nothing at all for a response that it does not know."""
    domain = YAML(typ="safe").load(ROOT / "domain.yml")
    code = "".join(Path(module.__file__).read_text() for module in (actions.cases, actions.links))
    asked_for = set(re.findall(r'"(utter_\w+)"', code))
    families = {"utter_faq", "utter_oos", "utter_reassure"}

    assert len(asked_for) > 10
    assert asked_for - families <= set(domain["responses"])


async def test_an_address_is_asked_for_again_once_its_time_is_over(run_with, services, confirmed, database):
    """Two days after it was typed it is deleted, whatever the tracker still refers to."""
    waiting = confirmed()
    after = NOW + ADDRESS_KEPT + timedelta(minutes=1)
    with database.session_scope() as session:
        keep_address(session, OTHER_SENDER, "somebody@mail.example", after)

    done = await run_with(replace(services, now=lambda: after))(OpenTicket, waiting)

    assert done.slots == {"address": None, CONFIRMED: None}
