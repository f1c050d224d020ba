"""A shop with a real mail server of its own: database, desk, sender, intake, and people with mail programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from handoff.database import Database
from handoff.desk import Desk
from handoff.mail import imap
from handoff.mail.imap import ImapIntake
from handoff.mail.outgoing import LetterSender
from handoff.models import Binding, Ticket
from handoff.shop import Hours, Shop

from .servers import MailServers, missing

SUPPORT = "support@jeans.example"
AGENTS = "agents@jeans.example"


class NoNotices:
    """There is no messenger in these tests."""

    def announce(self, session: object, ticket: Ticket, kind: str, now: object) -> None:
        pass

    def reaches(self, session: object, sender_id: str) -> bool:
        return False

    def ask_mark(self, session: object, ticket: Ticket, now: object) -> None:
        raise AssertionError("asked in a messenger that reaches nobody")

    def unlinked(self, session: object, binding: Binding, now: object) -> None:
        pass


@pytest.fixture(scope="session")
def all_servers() -> Iterator[MailServers]:
    if reason := missing():
        pytest.skip(f"NO REAL MAIL SERVERS WERE TESTED: {reason}")
    servers = MailServers()
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture
def servers(all_servers: MailServers, monkeypatch: pytest.MonkeyPatch) -> MailServers:
    """The servers, trusted by us; every test has empty mailboxes."""
    all_servers.empty_mailboxes()
    monkeypatch.setenv("SSL_CERT_FILE", str(all_servers.certificate))
    return all_servers


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'shop.db'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    shop = Shop(
        name="Getwear",
        zone=ZoneInfo("Europe/Moscow"),
        hours=Hours(frozenset(range(5)), time(10), time(19), "RU"),
        first_answer=timedelta(hours=1),
        agents=({"ru": "Анна", "en": "Anna"},),
        overload=False,
        facts={},
        phrases={
            "ru": {"hours": "", "first_answer": "", "zone": "по Москве", "and": "и"},
            "en": {"hours": "", "first_answer": "", "zone": "Moscow time", "and": "and"},
        },
    )
    return Desk(
        shop=shop,
        support_address=SUPPORT,
        agents_address=AGENTS,
        base_url="https://jeans.example",
        data_dir=tmp_path / "var",
        signing_key=b"test key",
        notices=NoNotices(),
        auth_results_id="mx.jeans.example",
    )


@pytest.fixture
def sender(servers: MailServers, database: Database) -> LetterSender:
    """STARTTLS with a certificate that is checked, and a password."""
    return LetterSender(
        database, f"smtp://support%40jeans.example:pass@localhost:{servers.ports['submission']}?starttls=require"
    )


@pytest.fixture
def intake(servers: MailServers, database: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> ImapIntake:
    monkeypatch.setattr(imap, "POLL_EVERY_S", 0.2)
    url = f"imaps://support%40jeans.example:pass@localhost:{servers.ports['imaps']}/INBOX"
    return ImapIntake(database, url, desk)


@asynccontextmanager
async def running(*loops: Callable[[], object]) -> AsyncIterator[None]:
    """Loops of the service, as `bot.app` runs them."""
    tasks = [asyncio.ensure_future(loop()) for loop in loops]  # type: ignore[call-overload]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
