"""A migrated database, a shop, a desk and two customers for the tests of handoff."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from handoff_cases import NOW, RecordedNotices, a_case, free_port, letters, maria
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from handoff.database import Database
from handoff.models import Ticket
from handoff.shop import Hours, Shop
from handoff.tickets import Desk, open_ticket


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    with database.engine.connect() as connection:
        connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Database]:
    """A migrated database on a server that belongs to these tests alone."""
    if not shutil.which("initdb") or not shutil.which("pg_ctl"):
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/handoff-pg-XXXXXX"], text=True).strip())
    become: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    port = free_port()
    options = f"-p {port} -c unix_socket_directories={folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([*become, "initdb", "-D", folder / "db", "-U", "shop", "-A", "trust", "-E", "UTF8"], **run)
    subprocess.run([*become, "pg_ctl", "-D", folder / "db", "-o", options, "-l", folder / "log", "-w", "start"], **run)
    try:
        database = Database(f"postgresql+psycopg://shop@127.0.0.1:{port}/postgres")
        database.migrate()
        yield database
        database.close()
    finally:
        subprocess.run([*become, "pg_ctl", "-D", folder / "db", "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder)


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
        database = request.getfixturevalue("postgresql")
        with database.engine.begin() as connection:
            tables = ", ".join(sorted(set(inspect(connection).get_table_names()) - {"alembic_version"}))
            connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
        yield database
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
            "ru": {"hours": "", "first_answer": "", "and": "и"},
            "en": {"hours": "", "first_answer": "", "and": "and"},
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
