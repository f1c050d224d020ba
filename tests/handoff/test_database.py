"""Transactions: all or nothing, each reported when it is stored, and many stored at once."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from handoff_cases import NOW
from sqlalchemy import event, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from handoff.database import Database
from handoff.models import TypedAddress


def keep(session: Session, number: int) -> int:
    session.add(TypedAddress(id=number, sender_id="web:a", address=f"{number}@mail.example", typed_at=NOW))
    return number


def count(session: Session) -> int:
    return session.scalars(select(func.count()).select_from(TypedAddress)).one()


async def test_what_run_returned_is_stored(database: Database) -> None:
    """Another connection sees it at once."""
    assert await database.run(keep, 1) == 1

    assert await database.read(count) == 1


async def test_each_of_many_is_all_or_nothing(database: Database) -> None:
    """They may share a transaction; what one does wrong is undone alone, and its owner hears of it."""

    def broken(session: Session, number: int) -> None:
        keep(session, number)
        session.flush()
        raise KeyError(number)

    works = [database.run(broken if number % 3 == 0 else keep, number) for number in range(1, 31)]
    results = await asyncio.gather(*works, database.run(keep, 1), return_exceptions=True)

    for number, result in zip(range(1, 31), results, strict=False):
        assert isinstance(result, KeyError) if number % 3 == 0 else result == number
    assert isinstance(results[-1], IntegrityError)
    assert await database.read(count) == 20


async def test_whoever_only_reads_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError):
        await database.read(lambda session: session.execute(insert(TypedAddress), values(1)))

    assert await database.read(count) == 0


async def test_those_who_wait_for_the_disk_are_stored_together(migrated: Database) -> None:
    """And a reader does not wait for them."""
    commits = []
    event.listen(migrated.engine, "commit", lambda _: commits.append(1))
    busy, free = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        busy.set()
        assert free.wait(10)

    first = asyncio.create_task(migrated.run(slow))
    await asyncio.to_thread(busy.wait, 10)
    others = [asyncio.create_task(migrated.run(keep, number)) for number in range(1, 21)]
    await asyncio.sleep(0)
    assert await migrated.read(count) == 0
    free.set()
    await asyncio.gather(first, *others)

    assert len(commits) == 2
    assert await migrated.read(count) == 20


async def test_everybody_hears_when_nothing_could_be_stored(migrated: Database) -> None:
    """Nothing is taken for stored that a failed commit has undone."""
    busy, free = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        busy.set()
        assert free.wait(10)

    def wrong(session: Session) -> None:
        session.execute(text("PRAGMA defer_foreign_keys=ON"))
        session.execute(text("INSERT INTO crm_address (address, customer_id) VALUES ('a@b.example', 'nobody')"))

    first = asyncio.create_task(migrated.run(slow))
    await asyncio.to_thread(busy.wait, 10)
    together = [asyncio.create_task(migrated.run(work)) for work in (lambda s: keep(s, 1), wrong)]
    await asyncio.sleep(0)
    free.set()
    results = await asyncio.gather(first, *together, return_exceptions=True)

    assert [type(result) for result in results] == [type(None), IntegrityError, IntegrityError]
    assert await migrated.read(count) == 0
    assert await migrated.run(keep, 2) == 2


async def test_closing_finishes_what_waits(migrated: Database) -> None:
    works = [asyncio.create_task(migrated.run(keep, number)) for number in range(1, 6)]
    await asyncio.sleep(0)
    await asyncio.to_thread(migrated.close)
    await asyncio.gather(*works)

    assert await migrated.read(count) == 5


def values(number: int) -> dict[str, object]:
    return {"sender_id": "web:a", "address": f"{number}@mail.example", "typed_at": NOW + timedelta(hours=1)}
