"""Which service may do a thing alone: one at a time, the next one soon after it is gone."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

import bot.lease
from bot.lease import Lease, Presence, alone, services_run
from bot.models import LeaseRow, ServiceRow

ELSEWHERE, FURTHER = "another-machine:1:abc", "a-third-machine:1:def"
TELEGRAM = "telegram:1"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    """Several services need PostgreSQL; one on SQLite takes its leases in the same way."""
    if request.param == "postgresql":
        return request.getfixturevalue("empty_postgresql")
    return request.getfixturevalue("sqlite_database")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bot.lease, "RENEWED_EVERY_S", 0.02)
    monkeypatch.setattr(bot.lease, "LOOK_S", 0.01)


@asynccontextmanager
async def there(database, holder: str, *names: str) -> AsyncIterator[list[Lease]]:
    """A service that wants these leases, for the block."""
    presence = Presence(database, holder)
    leases = [presence.lease(name) for name in names]
    async with presence.kept():
        yield leases


@pytest.fixture
def held_by(database):
    """Makes somebody hold the lease who was heard of last some seconds from now or ago."""

    def put(holder, seconds):
        with database.session_scope() as session:
            session.merge(ServiceRow(holder=holder, until=datetime.now(UTC) + timedelta(seconds=seconds)))
            session.flush()
            session.merge(LeaseRow(name=TELEGRAM, holder=holder))

    return put


async def comes_within(lease, seconds):
    """Whether the lease is had in time."""
    try:
        async with asyncio.timeout(seconds):
            await lease.wait()
    except TimeoutError:
        return False
    return lease.held


async def test_one_service_has_it_and_leaves_it_to_the_next(database):
    async with there(database, FURTHER, TELEGRAM) as [second_to_come]:
        assert second_to_come.held
        async with there(database, ELSEWHERE, TELEGRAM, "telegram:2") as [waiting, other]:
            assert other.held
            assert not await comes_within(waiting, 0.2)
    async with there(database, ELSEWHERE, TELEGRAM) as [free]:
        assert free.held


async def test_who_waits_gets_it_when_the_other_ends(database, monkeypatch, eventually):
    """And sends after a pause: the messengers' limits count what the one before had sent."""
    monkeypatch.setattr(bot.lease, "QUIET_S", 0.5)
    async with AsyncExitStack() as first_ends:
        [first] = await first_ends.enter_async_context(there(database, ELSEWHERE, TELEGRAM))
        assert first.may_send
        async with there(database, FURTHER, TELEGRAM) as [second]:
            assert not second.held
            await first_ends.aclose()
            assert await comes_within(second, 5)
            assert not second.may_send
            await eventually(lambda: second.may_send)


async def test_a_machine_that_died_is_waited_for_and_then_replaced(database, held_by):
    held_by(ELSEWHERE, 0.3)

    async with there(database, FURTHER, TELEGRAM) as [lease]:
        assert not lease.held
        assert await comes_within(lease, 5)


async def test_a_process_of_this_machine_that_died_is_replaced_at_once(database, held_by):
    """After a crash nobody waits; a number that another process got meanwhile, or ourselves, is no reason to."""
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    for number in (process.pid, os.getpid()):
        held_by(f"{socket.gethostname()}:{number}:before", 60)
        async with there(database, ELSEWHERE, TELEGRAM) as [lease]:
            assert lease.held

    held_by(f"{socket.gethostname()}:{os.getppid()}:alive", 60)
    async with there(database, ELSEWHERE, TELEGRAM) as [lease]:
        assert not await comes_within(lease, 0.2)


async def test_it_is_lost_by_who_was_taken_for_gone(database, eventually):
    """He notices it with his next look, and may get back what nobody has taken."""
    async with there(database, ELSEWHERE, TELEGRAM, "vk:1") as [telegram, vk]:
        with database.session_scope() as session:
            session.query(LeaseRow).delete()
            session.query(ServiceRow).delete()
            session.add(ServiceRow(holder=FURTHER, until=datetime.now(UTC) + timedelta(minutes=1)))
            session.flush()
            session.add(LeaseRow(name=TELEGRAM, holder=FURTHER))
        await eventually(lambda: not telegram.held)
        await eventually(lambda: vk.held)


async def test_nobody_is_certain_of_it_whom_the_others_may_take_for_gone(database, monkeypatch):
    monkeypatch.setattr(bot.lease, "LASTS", timedelta(seconds=0.3))
    async with there(database, ELSEWHERE, TELEGRAM) as [lease]:
        await asyncio.sleep(0.6)
        assert lease.held
        monkeypatch.setattr(bot.lease, "RENEWED_EVERY_S", 60)
        await asyncio.sleep(0.6)
        assert lease.held is not database.is_shared  # on SQLite one long writer must not stop who cannot be replaced


async def test_it_goes_on_after_whatever_goes_wrong_once(database, eventually):
    """A row that nobody can read: it ends neither the looks at the database nor what depends on them, in silence."""
    presence = Presence(database, FURTHER)
    async with presence.kept():
        with database.session_scope() as session:
            session.add(ServiceRow(holder="no holder", until=datetime.now(UTC) + timedelta(minutes=1)))
        await asyncio.sleep(0.2)
        with database.session_scope() as session:
            session.query(ServiceRow).filter_by(holder="no holder").delete()
        async with asyncio.timeout(5):
            await presence.next_look()


async def test_who_was_away_himself_gives_the_others_time(database, held_by, monkeypatch, eventually):
    """After the database was away for a while nobody has been heard of, and all of them are well."""
    monkeypatch.setattr(bot.lease, "LASTS", timedelta(seconds=0.4))
    async with there(database, FURTHER, TELEGRAM) as [lease]:
        held_by(ELSEWHERE, 60)
        await eventually(lambda: not lease.held)
        monkeypatch.setattr(bot.lease, "RENEWED_EVERY_S", 0.6)  # longer than it lasts: each look comes too late
        await asyncio.sleep(0.7)
        with database.session_scope() as session:
            session.execute(update(ServiceRow).values(until=datetime.now(UTC) - timedelta(seconds=1)))
        await asyncio.sleep(0.7)
        with database.session_scope() as session:
            assert set(session.scalars(select(ServiceRow.holder))) == {ELSEWHERE, FURTHER}
        monkeypatch.setattr(bot.lease, "RENEWED_EVERY_S", 0.02)
        assert await comes_within(lease, 5)


async def test_a_loop_runs_where_the_lease_is(database, eventually):
    """It ends when the lease is lost, and begins again with it."""
    log: list[str] = []

    def loop_of(name):
        async def run():
            log.append(f"{name} begins")
            try:
                await asyncio.Event().wait()
            finally:
                log.append(f"{name} ends")

        return run

    async with there(database, FURTHER, TELEGRAM) as [second]:
        held = asyncio.create_task(alone(second, loop_of("one")))
        await eventually(lambda: log == ["one begins"])
        with database.session_scope() as session:
            session.execute(update(LeaseRow).values(holder=ELSEWHERE))
            session.add(ServiceRow(holder=ELSEWHERE, until=datetime.now(UTC) + timedelta(minutes=1)))
        await eventually(lambda: log == ["one begins", "one ends"])
        with database.session_scope() as session:
            session.query(ServiceRow).filter_by(holder=ELSEWHERE).delete()
        await eventually(lambda: log == ["one begins", "one ends", "one begins"])
        held.cancel()
        await asyncio.wait({held})
    assert log[-1] == "one ends"


async def test_a_loop_goes_on_while_the_database_is_away(database, monkeypatch):
    """A letter that was sent meanwhile has to be written down; only who calls a messenger has to stop (`held`)."""
    monkeypatch.setattr(bot.lease, "LASTS", timedelta(seconds=0.3))
    async with there(database, FURTHER, TELEGRAM) as [lease]:
        running = asyncio.create_task(alone(lease, asyncio.Event().wait))
        monkeypatch.setattr(bot.lease, "RENEWED_EVERY_S", 60)
        await asyncio.sleep(0.6)
        assert lease.held is not database.is_shared
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})


async def test_a_loop_that_breaks_or_returns_is_told_of(database):
    async with there(database, FURTHER, TELEGRAM) as [lease]:

        async def broken():
            raise ZeroDivisionError

        async def done():
            return

        with pytest.raises(ZeroDivisionError):
            await alone(lease, broken)
        assert await alone(lease, done) is None


async def test_the_others_know_when_a_messenger_last_answered(database, eventually):
    """`/healthz` is asked of whichever service."""
    moment = datetime(2026, 11, 22, tzinfo=UTC)
    poller, other = Presence(database, ELSEWHERE), Presence(database, FURTHER)
    poller.lease(TELEGRAM, lambda: moment)
    lease = other.lease(TELEGRAM)

    async with poller.kept(), other.kept():
        await eventually(lambda: lease.polled_at == moment)


async def test_whether_any_service_runs(database, held_by):
    def run():
        with database.session_scope() as session:
            return services_run(session, datetime.now(UTC))

    assert not run()
    async with there(database, ELSEWHERE):
        assert run()
    held_by(f"{socket.gethostname()}:{os.getpid()}:before", 60)
    assert not run()
    held_by(ELSEWHERE, -1)
    assert not run()
