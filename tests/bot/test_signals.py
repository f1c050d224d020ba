"""What wakes whom: here at once, and in the other services over PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from bot.signals import Signals


@pytest.fixture
def service():
    """Makes a service's signals, and the list of those that it has heard."""

    def make(database, *names):
        signals, heard = Signals(database), []
        for name in names:
            signals.on(name, lambda name=name: heard.append(name))
        return signals, heard

    return make


async def test_a_signal_wakes_us_at_once(database, service):
    """On SQLite there is nobody else, and nothing runs for it."""
    signals, heard = service(database, "inbox", "outbox")

    signals.give("inbox")

    assert heard == ["inbox"]
    await signals.run()


async def test_the_other_services_hear_it_once(empty_postgresql, service, running, eventually):
    one, heard_by_one = service(empty_postgresql, "inbox", "outbox")
    other, heard_by_other = service(empty_postgresql, "inbox", "outbox")

    async with running(one.run), running(other.run):
        await eventually(lambda: len(heard_by_one) == len(heard_by_other) == 2)  # whoever begins to hear looks at all
        heard_by_one.clear()
        heard_by_other.clear()
        one.giver("outbox")()
        one.give("outbox")
        await eventually(lambda: heard_by_other)
        other.give("inbox")
        await eventually(lambda: "inbox" in heard_by_one)

    assert heard_by_one == ["outbox", "outbox", "inbox"]
    assert heard_by_other == ["outbox", "inbox"]


async def test_what_was_given_before_anybody_listened_is_looked_for(empty_postgresql, service, running, eventually):
    signals, heard = service(empty_postgresql, "letters")

    async with running(signals.run):
        await eventually(lambda: heard == ["letters"])


async def test_a_database_that_hangs_up_is_told_of(empty_postgresql, service, eventually):
    """The loop is started again then."""
    signals, heard = service(empty_postgresql, "inbox")
    running = asyncio.ensure_future(signals.run())
    await eventually(lambda: heard)

    with empty_postgresql.engine.begin() as connection:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN support'"
        connection.execute(text(ended))

    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(10):
            await running
