"""What tests of several packages need: an empty migrated database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from handoff.database import Database


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
def database(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copy(migrated_sqlite, tmp_path / "support.db")
    database = Database(f"sqlite:///{tmp_path / 'support.db'}")

    @event.listens_for(database.engine, "connect")
    def do_not_wait_for_the_disk(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    yield database
    database.close()
