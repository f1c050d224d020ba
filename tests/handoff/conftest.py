"""A migrated database, a shop, a desk and two customers for the tests of handoff."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from handoff_cases import NOW, RecordedNotices, a_case, letters, maria
from sqlalchemy.orm import Session

from handoff.database import Database
from handoff.desk import Desk
from handoff.models import Ticket
from handoff.shop import Hours, Shop
from handoff.tickets import open_ticket


@pytest.fixture
def migrated(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty migrated SQLite database, for what only SQLite does."""
    shutil.copy(migrated_sqlite, tmp_path / "shop.db")
    database = Database(f"sqlite:///{tmp_path / 'shop.db'}")
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty migrated database: every test that uses it runs on both engines."""
    if request.param == "postgresql":
        yield request.getfixturevalue("empty_postgresql")
    else:
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "shop.db")
        database = Database(f"sqlite:///{tmp_path / 'shop.db'}")
        yield database
        database.close()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """One transaction for a whole test."""
    with database.session_scope() as session:
        yield session


@pytest.fixture
def agents_language() -> str:
    """The shop's language; a test with another one is parametrised with it."""
    return "ru"


@pytest.fixture
def shop(agents_language: str) -> Shop:
    return Shop(
        name="Getwear",
        zone=ZoneInfo("Europe/Moscow"),
        hours=Hours(frozenset(range(5)), time(10), time(19), "RU"),
        first_answer=timedelta(hours=1),
        agents=({"ru": "Анна", "en": "Anna"},),
        overload=False,
        language=agents_language,
        facts={},
        phrases={
            "ru": {"hours": "", "first_answer": "", "zone": "по Москве", "and": "и"},
            "en": {"hours": "", "first_answer": "", "zone": "Moscow time", "and": "and"},
        },
    )


@pytest.fixture
def notices() -> RecordedNotices:
    return RecordedNotices()


@pytest.fixture
def desk(shop: Shop, notices: RecordedNotices, tmp_path: Path) -> Desk:
    return Desk(
        shop=shop,
        support_address="support@jeans.example",
        agents_address="agents@jeans.example",
        base_url="https://jeans.example",
        data_dir=tmp_path / "var",
        signing_key=b"test key",
        notices=notices,
    )


@pytest.fixture
def opened(session: Session, desk: Desk) -> Ticket:
    """Maria's ticket, opened a moment ago."""
    number = open_ticket(session, a_case(), maria(), desk, NOW).number
    return session.get_one(Ticket, number)


@pytest.fixture
def reply_to(session: Session, opened: Ticket) -> Callable[[str], str]:
    """The reply address that a side of the ticket has been given."""

    def find(audience: str) -> str:
        return str(letters(session, audience)[0]["Reply-To"])

    return find
