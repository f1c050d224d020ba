"""Number and address that come after the case was passed on without them, on a real database."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from actions.cases import TakeIdentifiers
from handoff.case import Case
from handoff.matching import Matching
from handoff.models import LetterOut, Ticket, TicketEntry
from handoff.tickets import open_ticket

from .conversations import NOW, SENDER, user

MARIA = "maria.sokolova@mail.example"


@pytest.fixture
def passed_on(database, services):
    """A ticket without number and address; gives what is known of it now."""
    case = Case("k0", SENDER, "web", "ru", "", "case/defect", "Брак", (), None, None, None)
    with database.session_scope() as session:
        open_ticket(session, case, None, services.desk, NOW)

    def read():
        with database.session_scope() as session:
            return session.scalars(select(Ticket)).one()

    return read


def told_agents(database):
    with database.session_scope() as session:
        said = session.scalars(select(TicketEntry.text).where(TicketEntry.author == "customer")).all()
        letters = session.scalars(select(LetterOut.template).where(LetterOut.audience == "agents")).all()
        return list(said), list(letters)


def number(key="k1"):
    return user("47655", key, topic="identifiers", entities={"order_number": "47655"})


def address(reference, key="k2"):
    return user(reference, key, topic="identifiers", entities={"address": reference})


async def test_the_ticket_takes_both_and_becomes_the_customers(database, services, run, tracker, typed, passed_on):
    """The bot has said "send it here": it must not ask what the number is about."""
    first = await run(TakeIdentifiers, tracker(number()))

    assert first.responses == ["utter_added_to_ticket"]
    assert (passed_on().claimed_order, passed_on().match_at) == ("47655", None)

    second = await run(TakeIdentifiers, tracker(address(typed(MARIA))))
    assert second.responses == ["utter_added_to_ticket"]
    assert MARIA not in str(second)
    assert told_agents(database) == (["47655", MARIA], ["ticket", "follow_up", "follow_up"])

    await Matching(database, services.crm, services.desk, lambda: None).match_due(NOW)
    assert (passed_on().requester, passed_on().order_number, passed_on().match_at) == (MARIA, "47655", None)


async def test_the_same_message_is_added_once(database, run, tracker, passed_on):
    """A turn may be played again."""
    for _ in range(2):
        done = await run(TakeIdentifiers, tracker(number()))
        assert done.responses == ["utter_added_to_ticket"]

    assert told_agents(database)[0] == ["47655"]


async def test_a_wrong_pair_stays_the_agents_matter(database, services, run, tracker, typed, passed_on):
    await run(TakeIdentifiers, tracker(number()))
    await run(TakeIdentifiers, tracker(address(typed("nobody@mail.example"))))

    await Matching(database, services.crm, services.desk, lambda: None).match_due(NOW)

    assert (passed_on().requester, passed_on().match_at) == (None, None)


async def test_another_number_is_not_taken_for_the_one_that_was_missing(database, run, tracker, passed_on):
    """That one is known; this may be another matter."""
    await run(TakeIdentifiers, tracker(number()))

    other = user("47988", "k3", topic="identifiers", entities={"order_number": "47988"})
    done = await run(TakeIdentifiers, tracker(other))

    assert done.responses == ["utter_what_about_order"]
    assert told_agents(database)[0] == ["47655"]
