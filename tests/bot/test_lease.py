"""Who may poll a messenger: one process at a time, the next one soon after it is gone."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import UTC, datetime, timedelta

import pytest

import bot.lease
from bot.lease import Lease
from bot.models import LeaseRow

ELSEWHERE = "another-machine:1:abc"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bot.lease, "RENEWED_EVERY_S", 0.02)


@pytest.fixture
def held_by(database):
    """Makes somebody hold the lease, for some seconds from now."""

    def put(holder, seconds):
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        with database.session_scope() as session:
            session.merge(LeaseRow(name="telegram:1", holder=holder, until=until))

    return put


async def comes_within(lease, seconds):
    """Whether the lease is had in time."""
    try:
        async with asyncio.timeout(seconds), lease.hold():
            return lease.held
    except TimeoutError:
        return False


async def test_one_process_has_it_and_gives_it_back(database):
    first, second = Lease(database, "telegram:1"), Lease(database, "telegram:1", ELSEWHERE)

    async with first.hold():
        assert first.held
        assert not await comes_within(second, 0.2)
    assert not first.held
    assert await comes_within(second, 2)


async def test_another_token_is_another_lease(database):
    async with Lease(database, "telegram:1").hold():
        assert await comes_within(Lease(database, "telegram:2", ELSEWHERE), 2)


async def test_a_machine_that_died_is_waited_for_and_then_replaced(database, held_by):
    held_by(ELSEWHERE, 0.3)

    assert not await comes_within(Lease(database, "telegram:1"), 0.1)
    assert await comes_within(Lease(database, "telegram:1"), 2)


async def test_a_process_of_this_machine_that_died_is_replaced_at_once(database, held_by):
    """After a crash nobody waits; a number that another process got meanwhile, or ourselves, is no reason to."""
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    for number in (process.pid, os.getpid()):
        held_by(f"{socket.gethostname()}:{number}:before", 60)
        assert await comes_within(Lease(database, "telegram:1"), 2)

    held_by(f"{socket.gethostname()}:{os.getppid()}:alive", 60)
    assert not await comes_within(Lease(database, "telegram:1"), 0.2)


async def test_it_is_renewed_while_it_is_held_and_lost_when_somebody_took_it(database, held_by, monkeypatch):
    monkeypatch.setattr(bot.lease, "LASTS", timedelta(seconds=0.2))
    lease = Lease(database, "telegram:1")

    async with lease.hold():
        await asyncio.sleep(0.5)
        assert lease.held
        held_by(ELSEWHERE, 60)
        await asyncio.sleep(0.3)
        assert not lease.held
