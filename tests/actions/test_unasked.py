"""Words that nobody understands: they belong to the ticket that was just talked about."""

from __future__ import annotations

from datetime import timedelta

import pytest

from actions.unasked import TakeUnclear
from handoff.case import Case
from handoff.tickets import open_ticket

from .conversations import NOW, OTHER_SENDER, SENDER, bot, user


@pytest.fixture
def passed_on(database, services):
    """The number of a ticket opened just now."""
    case = Case("k0", SENDER, "web", "ru", "", "case/defect", "Брак", (), None, None, None)
    with database.session_scope() as session:
        return open_ticket(session, case, None, services.desk, NOW).number


def unclear(key="k1"):
    return user("the grey one, third floor", key, topic="nlu_fallback")


async def test_they_are_added_to_the_ticket(run, tracker, passed_on, said_in):
    done = await run(TakeUnclear, tracker(bot("Case 1001", "utter_ticket_unmatched"), unclear()))

    assert (done.responses, done.said[0]["ticket"]) == (["utter_added_to_ticket"], passed_on)
    assert said_in(passed_on) == ["the grey one, third floor"]


@pytest.mark.parametrize("who", ["nobody", "somebody else", "long ago"])
async def test_without_such_a_ticket_they_are_asked_about(run, tracker, database, passed_on, said_in, quiet_since, who):
    if who == "long ago":
        quiet_since(passed_on, NOW - timedelta(hours=25))
    sender = OTHER_SENDER if who != "long ago" else SENDER

    done = await run(TakeUnclear, tracker(unclear(), sender_id=sender))

    assert done.responses == ["utter_unclear"]
    assert said_in(passed_on) == []
