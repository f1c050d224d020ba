"""What a personal link changes in the conversation, on a real database."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from actions.cases import BeginCase, CorrectCase, OpenTicket, PassOn, TakeYes
from actions.form import CONFIRMED, MISMATCHES, TOPIC
from actions.links import LONGEST_TITLE, AskOrderNumber, Forget, Greet
from handoff.identity import BINDING_LASTS
from handoff.links import OF_ARRIVED, OF_COMING, make_links, revoke
from handoff.models import Binding, CrmOrder, LetterOut, Ticket, TicketEntry, TypedAddress

from .conversations import FORM_OPENED, NOW, SENDER, bot, user

MARIA = "maria.sokolova@mail.example"
KNOWN = "m…a@mail.example#0"


@pytest.fixture
def link(database, services):
    """The token of a link that Maria was sent."""
    with database.session_scope() as session:
        return make_links(session, ["c-1"], NOW)[0]


@pytest.fixture
async def bound(run, tracker, link):
    """Maria has tapped her link."""
    await run(Greet, tracker(started(link)))


@pytest.fixture
def tickets(database):
    def read():
        with database.session_scope() as session:
            return session.scalars(select(Ticket).order_by(Ticket.number)).all()

    return read


def started(link="", key="k0"):
    event = user("/start", key, topic="start")
    if link:
        event["metadata"]["link"] = link
    return event


class TestGreet:
    @pytest.mark.parametrize("payload", ["", "instagram", "banner-2026-11", "a" * 64])
    async def test_without_a_personal_link_it_says_hello(self, run, tracker, payload):
        """What an advertisement put there is no link that failed."""
        done = await run(Greet, tracker(started(payload)))

        assert (done.responses, done.events) == (["utter_hello"], [])

    async def test_a_link_binds_and_the_mailbox_is_named_masked(self, run, tracker, link, database, woken):
        done = await run(Greet, tracker(started(link)))

        assert done.responses == ["utter_linked"]
        assert done.said[0]["masked"] == "m…a@mail.example"
        assert done.slots == {"address": KNOWN}
        assert woken
        with database.session_scope() as session:
            binding = session.scalars(select(Binding)).one()
            assert (binding.sender_id, binding.channel, binding.customer_id) == (SENDER, "web", "c-1")
            assert session.scalars(select(LetterOut.to_address)).all() == [MARIA]

    async def test_the_same_message_again_says_the_same(self, run, tracker, link, database):
        """A turn is played again after a crash."""
        first, again = [await run(Greet, tracker(started(link))) for _ in range(2)]

        assert again == first
        with database.session_scope() as session:
            assert len(session.scalars(select(LetterOut)).all()) == 1

    async def test_a_link_that_is_used_up_and_one_that_never_was_sound_the_same(self, run, tracker, link, bound):
        """A stranger must not learn whether he holds a real one."""
        used = await run(Greet, tracker(started(link), sender_id="web:somebody-else"))
        unknown = await run(Greet, tracker(started("no-such-token-AAAAAAAA")))

        assert used == unknown
        assert (used.responses, used.events) == (["utter_link_invalid"], [])

    async def test_while_the_crm_is_away_the_customer_is_asked_to_tap_again(
        self, run, run_with, services_without_crm, tracker, link
    ):
        done = await run_with(services_without_crm)(Greet, tracker(started(link)))

        assert done.responses == ["utter_link_later"]
        assert (await run(Greet, tracker(started(link)))).responses == ["utter_linked"]


class TestBegunCase:
    async def test_the_address_is_known_and_an_order_that_is_the_only_one_as_well(self, run, tracker, bound, database):
        with database.session_scope() as session:
            session.get_one(CrmOrder, "47655").status = "delivered"

        done = await run(BeginCase, tracker(user("where are my jeans", topic="case/delay")))

        assert (done.slots["address"], done.slots["order_number"]) == (KNOWN, "GW48213")

    async def test_between_two_orders_nothing_is_guessed(self, run, tracker, bound):
        done = await run(BeginCase, tracker(user("where are my jeans", topic="case/delay")))

        assert done.slots["address"] == KNOWN
        assert "order_number" not in done.slots

    async def test_what_the_message_names_counts(self, run, tracker, bound, typed):
        """The customer may speak for somebody else; number and address are compared as always."""
        mine = typed("daniel.novak@mail.example")
        message = user(
            f"47988, {mine}", topic="case/delay", entities={"order_number": "47988", "address": mine}
        )  # fmt: skip

        done = await run(BeginCase, tracker(message, order_number="47988", address=mine))

        assert {"address", "order_number"} & done.slots.keys() == set()

    async def test_an_offer_that_is_accepted_begins_no_differently(self, run, tracker, bound):
        accepted = tracker(user("can I wash them"), bot("Shall I ask?"), user("yes", "k2", topic="affirm"))

        assert (await run(TakeYes, accepted)).slots["address"] == KNOWN

    async def test_a_stranger_is_asked_for_everything(self, run, tracker, bound):
        elsewhere = tracker(user("where are my jeans", topic="case/delay"), sender_id="web:somebody-else")

        done = await run(BeginCase, elsewhere)

        assert {"address", "order_number"} & done.slots.keys() == set()

    async def test_an_address_whose_time_is_over_is_asked_for_at_once(self, run, tracker):
        done = await run(BeginCase, tracker(user("late!", topic="case/delay"), address="m…a@mail.example#99"))

        assert done.slots["address"] is None

    async def test_while_the_crm_is_away_the_address_is_known_all_the_same(
        self, run_with, services_without_crm, tracker, bound
    ):
        done = await run_with(services_without_crm)(BeginCase, tracker(user("late!", topic="case/delay")))

        assert done.slots["address"] == KNOWN

    async def test_relying_on_a_binding_keeps_it_alive(self, run_with, services, tracker, bound, database):
        """Half a year after the last case, not after the tap."""
        later = NOW + BINDING_LASTS - timedelta(days=1)
        message = user("where are my jeans", topic="case/delay")

        for moment in (later, later + BINDING_LASTS - timedelta(days=1)):
            done = await run_with(replace(services, now=lambda moment=moment: moment))(BeginCase, tracker(message))
            assert done.slots["address"] == KNOWN

    async def test_a_revoked_binding_is_asked_like_a_stranger(self, run, tracker, bound, database, services):
        """Also where the conversation still remembers the reference."""
        services.desk.notices.unlinked = lambda *_: None
        with database.session_scope() as session:
            revoke(session, session.scalars(select(Binding)).one(), services.desk, NOW)

        done = await run(BeginCase, tracker(user("late!", topic="case/delay"), address=KNOWN))

        assert done.slots["address"] is None
        assert "order_number" not in done.slots


class TestAskOrderNumber:
    async def test_a_customer_we_know_gets_his_orders_to_choose_from(self, run, tracker, bound, database):
        with database.session_scope() as session:
            session.get_one(CrmOrder, "GW48213").item = "Джинсы прямые с высокой посадкой, индиго, на заказ"

        done = await run(AskOrderNumber, tracker(user("late!", topic="case/delay"), address=KNOWN))

        assert done.responses == ["utter_ask_own_order"]
        titles = [choice["title"] for choice in done.said[0]["choices"]]
        assert titles == ["GW-48213 · Джинсы прямые с высокой поса…", "47655"]
        assert all(len(title) <= LONGEST_TITLE for title in titles)
        payloads = [choice["payload"] for choice in done.said[0]["choices"]]
        assert [json.loads(payload.removeprefix("/identifiers")) for payload in payloads] == [
            {"order_number": "GW48213"},
            {"order_number": "47655"},
        ]

    @pytest.mark.parametrize("address", [None, "m…a@mail.example#1"])
    async def test_a_stranger_is_asked_for_the_number(self, run, tracker, address):
        done = await run(AskOrderNumber, tracker(user("late!", topic="case/delay"), address=address))

        assert (done.responses, "choices" in done.said[0]) == (["utter_ask_case_form_order_number"], False)

    @pytest.mark.parametrize(
        ("text", "about", "if_any"),
        [
            ("no order yet, the site won't let me pay", "case/payment_problem", True),
            ("нет заказа, не могу же оплатить", "case/payment_problem", True),
            ("I have no order number", "case/payment_problem", False),
            ("the site shows an error", "case/site_problem", True),
        ],
    )
    async def test_who_may_have_no_order_can_say_so(self, run, tracker, text, about, if_any):
        done = await run(AskOrderNumber, tracker(user(text, topic=about), **{TOPIC: about}))

        assert done.responses == ["utter_ask_order_if_any" if if_any else "utter_ask_case_form_order_number"]

    async def test_the_reference_alone_opens_nothing(self, run, tracker, bound):
        """It can be typed; only the binding of this very conversation counts."""
        elsewhere = tracker(user("late!", topic="case/delay"), sender_id="web:somebody-else", address=KNOWN)

        assert (await run(AskOrderNumber, elsewhere)).responses == ["utter_ask_case_form_order_number"]

    async def test_without_orders_and_without_the_crm_it_asks_for_the_number(
        self, run_with, services_without_crm, tracker, bound
    ):
        asked = tracker(user("late!", topic="case/delay"), address=KNOWN)

        done = await run_with(services_without_crm)(AskOrderNumber, asked)

        assert done.responses == ["utter_ask_case_form_order_number"]


class TestTickets:
    @pytest.fixture
    def confirmed(self, tracker, link):
        def build(number="47655", *, key="k9", **slots):
            return tracker(
                started(link),
                user("where are my jeans", "k1", topic="case/delay"),
                FORM_OPENED,
                user("/affirm", key, topic="affirm", shown="Yes"),
                **{"order_number": number, "address": KNOWN, CONFIRMED: True, TOPIC: "case/delay", **slots},
            )

        return build

    async def test_a_bound_conversation_opens_a_ticket_like_any_other(
        self, run, bound, confirmed, tickets, link, database
    ):
        """With the registered address, not yet verified by a letter; the link's token is nowhere in it."""
        done = await run(OpenTicket, confirmed())

        (ticket,) = tickets()
        assert done.responses == ["utter_ticket_opened"]
        assert (ticket.requester, ticket.order_number, ticket.verified) == (MARIA, "47655", False)
        with database.session_scope() as session:
            texts = session.scalars(select(TicketEntry.text)).all()
            raw = b"".join(session.scalars(select(LetterOut.raw)))
        assert not any(link in text for text in texts)
        assert link.encode() not in raw

    async def test_somebody_elses_number_is_asked_for_again_but_the_address_is_not(
        self, run, bound, confirmed, tickets
    ):
        done = await run(OpenTicket, confirmed("47988"))

        assert done.responses == ["utter_mismatch_number"]
        assert (done.slots["order_number"], done.slots["address"]) == (None, KNOWN)
        assert tickets() == []

    async def test_a_correction_asks_for_the_number_only(self, run, tracker, bound):
        done = await run(CorrectCase, tracker(user("no", topic="deny"), order_number="47655", address=KNOWN))

        assert done.slots == {"order_number": None, "address": KNOWN, CONFIRMED: None}

    async def test_passed_on_without_an_order_it_is_still_the_customers(self, run, tracker, bound, tickets):
        """The link has proved who he is; the agent's answer needs nobody to assign the ticket first."""
        asked = tracker(user("/pass_on", topic="pass_on"), address=KNOWN, **{TOPIC: "case/account_email"})

        done = await run(PassOn, asked)

        assert done.responses == ["utter_ticket_opened"]
        assert [(ticket.requester, ticket.order_number) for ticket in tickets()] == [(MARIA, None)]

    async def test_an_angry_customer_is_handed_over_as_who_he_is(self, run, bound, confirmed, tickets):
        """The form ended early, before any number."""
        await run(OpenTicket, confirmed(None, **{CONFIRMED: None, MISMATCHES: 0}))

        assert tickets()[0].requester == MARIA

    async def test_another_address_that_was_typed_is_not_overridden(self, run, tracker, bound, typed, tickets):
        """Whoever names somebody else's address does not speak for himself."""
        asked = tracker(user("/pass_on", topic="pass_on"), address=typed("a.friend@mail.example"), order_number="1")

        await run(PassOn, asked)

        (ticket,) = tickets()
        assert (ticket.requester, ticket.claimed_address) == (None, "a.friend@mail.example")

    async def test_a_binding_that_ends_inside_the_form_asks_for_the_address(
        self, run, bound, confirmed, tickets, database
    ):
        with database.session_scope() as session:
            session.delete(session.scalars(select(Binding)).one())

        done = await run(OpenTicket, confirmed())

        assert done.slots["address"] is None
        assert (done.next_action, tickets()) == ("case_form", [])

    async def test_while_the_crm_is_away_the_case_is_taken_with_the_address(
        self, run_with, services_without_crm, bound, confirmed, tickets
    ):
        await run_with(services_without_crm)(OpenTicket, confirmed())

        (ticket,) = tickets()
        assert (ticket.requester, ticket.claimed_address, ticket.claimed_order) == (None, MARIA, "47655")
        assert ticket.match_at == NOW

    async def test_one_without_a_number_waits_for_the_crm_as_well(
        self, run_with, services_without_crm, tracker, bound, tickets
    ):
        """Whose it is can be known without: an unbound one with nothing to look up waits for nobody."""
        passed = tracker(user("pass it on", topic="pass_on"), address=KNOWN, **{TOPIC: "case/defect"})

        done = await run_with(services_without_crm)(PassOn, passed)

        (ticket,) = tickets()
        assert (ticket.claimed_address, ticket.claimed_order, ticket.match_at) == (MARIA, None, NOW)
        assert done.responses == ["utter_ticket_waiting"]


class TestForget:
    async def test_binding_and_typed_addresses_are_gone(self, run, tracker, bound, typed, database):
        typed("maria@elsewhere.example")

        for _ in range(2):
            done = await run(Forget, tracker(user("/forget", topic="forget"), order_number="47655", address=KNOWN))

            assert done.responses == ["utter_forgotten"]
            assert (done.slots["address"], done.slots["order_number"]) == (None, None)
        with database.session_scope() as session:
            assert session.scalars(select(Binding)).all() == session.scalars(select(TypedAddress)).all() == []

    async def test_inside_the_form_it_says_that_nothing_was_sent(self, run, tracker, tickets):
        done = await run(Forget, tracker(FORM_OPENED, user("/forget", topic="forget"), **{TOPIC: "case/delay"}))

        assert done.responses == ["utter_case_stopped", "utter_forgotten"]
        assert done.closes_form
        assert done.slots[TOPIC] is None
        assert tickets() == []


def test_the_topics_that_tell_orders_apart_are_topics(titles):
    """A renamed topic would silently ask again what is known."""
    assert titles.keys() >= OF_COMING | OF_ARRIVED
