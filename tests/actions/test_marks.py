"""The mark for a closed case, on a real database."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from actions.cases import BeginCase, TakeIdentifiers, TakeYes
from actions.marks import MARKED, TakeMark, TakeMarkWords
from handoff.bounces import ADDRESS_WANTED
from handoff.case import Case
from handoff.entries import add_entry
from handoff.identity import Requester
from handoff.marks import ask_for_mark
from handoff.models import Csat, LetterOut, Ticket, TicketEntry
from handoff.tickets import open_ticket

from .conversations import NOW, SENDER, bot, user

NEW_ADDRESS = "masha@new.example"


@pytest.fixture
async def ticket(database, services):
    """A ticket that this conversation opened; Maria's order is late."""
    customer = await services.crm.customer("c-1")
    order = await services.crm.order("47655")
    case = Case("k0", SENDER, "web", "en", "", "case/delay", "Late order", (), None, None, None)
    requester = Requester(customer, order, "maria.sokolova@mail.example")
    with database.session_scope() as session:
        return session.get(Ticket, open_ticket(session, case, requester, services.desk, NOW).number)


@pytest.fixture
def closed(database, services, ticket):
    """The same ticket, closed; the chat was asked for a mark."""
    with database.session_scope() as session:
        row = session.get(Ticket, ticket.number)
        row.state = "closed"
        ask_for_mark(session, row, services.desk, NOW)
    return ticket


@pytest.fixture
def now_is(database):
    """The ticket, its mark and the newest letter, read anew."""

    def read():
        with database.session_scope() as session:
            ticket = session.scalars(select(Ticket)).one()
            letter = session.scalars(select(LetterOut.template).order_by(LetterOut.id.desc())).first()
            return ticket, session.get(Csat, ticket.number), letter

    return read


@pytest.fixture
def said_in_ticket(database):
    def read():
        with database.session_scope() as session:
            rows = select(TicketEntry.text).where(TicketEntry.author == "customer").order_by(TicketEntry.id)
            return session.scalars(rows).all()

    return read


def press(mark: int, key: str = "k50"):
    """The button as Rasa hands it over."""
    entities = {"ticket": "1001", "mark": str(mark)}
    return user(f'/mark{{"ticket": "1001", "mark": "{mark}"}}', key, topic="mark", entities=entities, shown=str(mark))


class TestTakeMark:
    async def test_a_good_mark_is_thanked_for(self, run, tracker, closed, now_is, woken):
        done = await run(TakeMark, tracker(press(5)))

        assert (done.responses, done.slots) == (["utter_mark_good"], {MARKED: "1001"})
        ticket, kept, _ = now_is()
        assert (kept.mark, ticket.state) == (5, "closed")

    async def test_a_low_mark_opens_the_case_again_with_an_apology(self, run, tracker, closed, now_is, woken):
        """The letter to the agents goes out at once."""
        woken.clear()

        done = await run(TakeMark, tracker(press(1)))

        assert done.responses == ["utter_mark_low"]
        assert (done.said[0]["ticket"], done.said[0]["agent"]) == (1001, closed.agent_names["en"])
        ticket, _, letter = now_is()
        assert (ticket.state, ticket.priority, letter) == ("open", "urgent", "low_mark")
        assert woken

    async def test_the_same_turn_again_says_the_same_and_another_press_changes_nothing(
        self, run, tracker, closed, now_is
    ):
        """Turns are played again after a crash; people press twice."""
        first, again = [await run(TakeMark, tracker(press(2))) for _ in range(2)]
        second = await run(TakeMark, tracker(press(5, "k51")))

        assert again == first
        assert (second.responses, second.slots) == (["utter_mark_known"], {MARKED: None})
        assert now_is()[1].mark == 2

    async def test_a_button_of_a_ticket_that_was_erased_is_thanked_for(self, run, tracker):
        done = await run(TakeMark, tracker(press(4)))

        assert done.responses == ["utter_mark_known"]


class TestTakeMarkWords:
    @pytest.mark.parametrize("mark", [1, 4])
    async def test_words_after_the_mark_go_with_it(self, run, tracker, closed, now_is, said_in_ticket, mark):
        """After a low one the agents read them as well."""
        await run(TakeMark, tracker(press(mark)))
        answered = bot("Thanks", "utter_mark_low" if mark == 1 else "utter_mark_good")
        words = user("three letters and no jeans", "k51", topic="nlu_fallback")

        for _ in range(2):
            done = await run(TakeMarkWords, tracker(press(mark), answered, words, **{MARKED: "1001"}))

        assert (done.responses, done.slots) == (["utter_mark_words"], {MARKED: None})
        assert now_is()[1].words == "three letters and no jeans"
        assert ("three letters and no jeans" in said_in_ticket()) == (mark == 1)

    @pytest.mark.parametrize(
        ("words", "topic", "response"),
        [("no", "deny", "utter_anything_else"), ("qwerty", "nlu_fallback", "utter_unclear")],
    )
    async def test_what_has_nothing_to_do_with_the_mark_is_answered_as_always(
        self, run, tracker, closed, now_is, words, topic, response
    ):
        """A bare no, or words long after."""
        between = () if topic == "deny" else (user("how much?", "k51"), bot("100 $", "utter_faq/price"))
        answered = bot("Thanks", "utter_mark_good")
        await run(TakeMark, tracker(press(4)))

        said = user(words, "k52", topic=topic)
        done = await run(TakeMarkWords, tracker(press(4), answered, *between, said, **{MARKED: "1001"}))

        assert (done.responses, done.slots) == ([response], {MARKED: None})
        assert now_is()[1].words == ""

    async def test_a_complaint_after_a_low_mark_is_about_that_case(self, run, tracker, closed, said_in_ticket):
        """Whatever its topic: nobody who has just said "bad" is asked for his order number."""
        await run(TakeMark, tracker(press(1)))
        said = user("they sent me the wrong ones again", "k51", topic="case/wrong_item")
        answered = bot("Sorry", "utter_mark_low")

        done = await run(BeginCase, tracker(press(1), answered, said, **{MARKED: "1001"}))

        assert done.responses == ["utter_added_to_ticket"]
        assert said_in_ticket()[-1] == "they sent me the wrong ones again"

    async def test_the_same_words_later_may_be_a_case_of_their_own(self, run, tracker, closed):
        await run(TakeMark, tracker(press(1)))
        between = (user("how much?", "k51"), bot("100 $", "utter_faq/price"))
        said = user("they sent me the wrong ones", "k52", topic="case/wrong_item")

        done = await run(
            BeginCase, tracker(press(1), bot("Sorry", "utter_mark_low"), *between, said, marked_ticket="1001")
        )

        assert done.responses == ["utter_added_unless_other"]


class TestAnotherAddress:
    """A letter came back, and the chat was asked for another address."""

    @pytest.fixture
    def came_back(self, database, ticket):
        with database.session_scope() as session:
            row = session.get(Ticket, ticket.number)
            add_entry(session, row, "system", "note", ADDRESS_WANTED, NOW, source_key=ADDRESS_WANTED)

    @pytest.mark.parametrize(
        ("action", "topic"),
        [
            (TakeIdentifiers, "identifiers"),
            (TakeIdentifiers, "correct"),
            (TakeYes, "affirm"),
            (BeginCase, "case/account_email"),
        ],
    )
    async def test_it_goes_to_the_agents(self, run, tracker, came_back, typed, said_in_ticket, now_is, action, topic):
        """In clear, for they have to look it up; the chat and Rasa hold it masked."""
        reference = typed(NEW_ADDRESS)

        done = await run(action, tracker(user(reference, "k60", topic=topic, entities={"address": reference})))

        assert done.responses == ["utter_address_added"]
        assert NEW_ADDRESS in said_in_ticket()
        assert now_is()[2] == "follow_up"
        assert NEW_ADDRESS not in str(done)

    @pytest.mark.parametrize(
        ("topic", "response"), [("identifiers", "utter_what_about_order"), ("correct", "utter_unclear")]
    )
    async def test_an_address_that_nobody_wants_says_nothing(
        self, run, tracker, ticket, typed, said_in_ticket, topic, response
    ):
        """As it was before."""
        reference = typed(NEW_ADDRESS)

        done = await run(TakeIdentifiers, tracker(user(reference, "k60", topic=topic, entities={"address": reference})))

        assert done.responses == [response]
        assert NEW_ADDRESS not in said_in_ticket()

    async def test_with_an_order_number_it_is_a_case_of_its_own(self, run, tracker, came_back, typed, said_in_ticket):
        reference = typed(NEW_ADDRESS)
        both = {"address": reference, "order_number": "47988"}

        done = await run(
            TakeIdentifiers, tracker(user("47988 " + reference, "k60", topic="identifiers", entities=both))
        )

        assert done.responses == ["utter_what_about_order"]
        assert NEW_ADDRESS not in said_in_ticket()
