"""What tests of several packages need: an empty migrated database, on SQLite and on PostgreSQL, and a Telegram."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, inspect, text

from handoff.database import Database

from .messengers.fake_telegram import FakeTelegram
from .postgresql import is_installed, own_server


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    with database.engine.connect() as connection:
        connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture
def sqlite_database(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty migrated database."""
    shutil.copy(migrated_sqlite, tmp_path / "support.db")
    database = Database(f"sqlite:///{tmp_path / 'support.db'}")

    @event.listens_for(database.engine, "connect")
    def do_not_wait_for_the_disk(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    yield database
    database.close()


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """The one that a test works on; where it matters, tests run on both."""
    return sqlite_database


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Database]:
    """A migrated database on a server that belongs to these tests alone."""
    if not is_installed():
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    with own_server() as url:
        database = Database(url)
        database.migrate()
        yield database
        database.close()


@pytest.fixture
def empty_postgresql(postgresql: Database) -> Database:
    """The same, empty."""
    with postgresql.engine.begin() as connection:
        tables = ", ".join(sorted(set(inspect(connection).get_table_names()) - {"alembic_version"}))
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    return postgresql


@pytest.fixture
def telegram() -> Iterator[FakeTelegram]:
    """A Telegram that is asked nothing wrong."""
    with FakeTelegram() as telegram:
        yield telegram
        assert telegram.violations == []
