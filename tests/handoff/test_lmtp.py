"""Letters that the shop's own mail server hands in."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from handoff_cases import NOW, a_case, letters, maria
from sqlalchemy import event, select

from handoff.database import Database
from handoff.desk import Desk
from handoff.mail import lmtp
from handoff.mail.lmtp import LmtpIntake, LmtpListenInvalid, Place, read_lmtp_listen
from handoff.models import LetterIn
from handoff.tickets import open_ticket

LETTER = b"Message-ID: <1@x>\r\nFrom: maria@example.com\r\nSubject: Re\r\n\r\n..dots\r\nIt fits\r\n"


class Client:
    """Speaks LMTP as Postfix does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def said(self) -> str:
        while True:
            line = (await asyncio.wait_for(self._reader.readline(), 20)).decode().rstrip()
            if line[3:4] != "-":
                return line

    async def say(self, line: str) -> str:
        self._writer.write(f"{line}\r\n".encode())
        return await self.said()

    async def hand_in(self, recipients: list[str], raw: bytes, sender: str = "maria@example.com") -> list[str]:
        """The answers, one for each recipient."""
        assert (await self.say("LHLO mx.jeans.example"))[:3] == "250"
        assert (await self.say(f"MAIL FROM:<{sender}>"))[:3] == "250"
        for recipient in recipients:
            assert (await self.say(f"RCPT TO:<{recipient}>"))[:3] == "250"
        assert (await self.say("DATA"))[:3] == "354"
        self._writer.write(raw.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return [await self.said() for _ in recipients]

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


@pytest.fixture
def connected(desk: Desk) -> Callable[..., object]:
    @asynccontextmanager
    async def run(
        database: Database, listen: str = "127.0.0.1:0", taken: Callable[[], None] = lambda: None
    ) -> AsyncIterator[Client]:
        intake = LmtpIntake(database, listen, desk, taken)
        task = asyncio.create_task(intake.run())
        async with asyncio.timeout(10):
            await intake.listening.wait()
        if listen.startswith("/"):
            client = Client(*await asyncio.open_unix_connection(listen))
        else:
            client = Client(*await asyncio.open_connection("127.0.0.1", intake.port))
        assert (await client.said())[:3] == "220"
        try:
            yield client
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await client.close()

    return run


def kept(database: Database) -> list[LetterIn]:
    with database.session_scope() as session:
        rows = list(session.scalars(select(LetterIn).order_by(LetterIn.id)))
        for row in rows:
            assert row.raw is not None
        return rows


async def test_a_letter_is_in_the_database_before_it_is_taken(database: Database, desk: Desk, connected) -> None:
    """With the recipients of the envelope: there the signed address is, whatever the letter itself says."""
    with database.session_scope() as session:
        open_ticket(session, a_case(), maria(), desk, NOW)
        address = str(letters(session, "customer")[0]["Reply-To"])
    told: list[int] = []
    async with connected(database, taken=lambda: told.append(1)) as client:
        answers = await client.hand_in([address], LETTER)
        (letter,) = kept(database)

    assert answers == ["250 2.0.0 Taken"]
    assert (letter.outcome, letter.author, letter.recipients) == ("threaded", "customer", [address])
    assert letter.raw.startswith(b"Return-Path: <maria@example.com>\r\nDelivered-To: support+t1001.")
    assert letter.raw.endswith(LETTER)
    assert told == [1]


async def test_every_recipient_gets_an_answer(database: Database, connected) -> None:
    """RFC 2033; with fewer the other side would wait, and send the letter again. The letter itself is one."""
    async with connected(database) as client:
        answers = await client.hand_in(["support@jeans.example", "help@jeans.example"], LETTER)
        again = await client.hand_in(["support@jeans.example"], LETTER)

    assert answers == ["250 2.0.0 Taken"] * 2
    assert again == ["250 2.0.0 Taken"]
    assert [letter.outcome for letter in kept(database)] == ["quarantined", "duplicate"]


async def test_a_letter_that_is_too_large_is_refused_for_every_recipient(
    database: Database, connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender hears of it, and the conversation goes on."""
    monkeypatch.setattr(lmtp, "MAX_LETTER_BYTES", 10_000)
    async with connected(database) as client:
        large = LETTER + (b"x" * 998 + b"\r\n") * 10
        answers = await client.hand_in(["support@jeans.example", "help@jeans.example"], large)
        small = await client.hand_in(["support@jeans.example"], LETTER)

    assert [answer[:3] for answer in answers] == ["552", "552"]
    assert small == ["250 2.0.0 Taken"]


async def test_a_bounce_has_an_empty_return_path(database: Database, connected) -> None:
    """By that delivery reports are known."""
    async with connected(database) as client:
        await client.hand_in(["support@jeans.example"], LETTER, sender="")

    assert [letter.outcome for letter in kept(database)] == ["bounce"]


async def test_while_the_database_is_locked_the_sender_is_asked_to_come_again(tmp_path: Path, connected) -> None:
    """The letter stays in the mail server's queue, and is taken the next time."""
    database = Database(f"sqlite:///{tmp_path / 'locked.db'}")
    database.migrate()
    event.listen(database.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout = 1"))
    locker = sqlite3.connect(tmp_path / "locked.db")
    async with connected(database) as client:
        locker.execute("BEGIN IMMEDIATE")
        refused = await client.hand_in(["support@jeans.example", "help@jeans.example"], LETTER)
        locker.rollback()
        locker.close()
        taken = await client.hand_in(["support@jeans.example"], LETTER)

    assert refused == ["451 4.3.0 Try again later"] * 2
    assert taken == ["250 2.0.0 Taken"]
    assert [letter.outcome for letter in kept(database)] == ["quarantined"]
    database.close()


async def test_a_socket_is_open_to_the_mail_server(database: Database, tmp_path: Path, connected) -> None:
    """Postfix runs as a user of its own; what an earlier run left lying there is no obstacle."""
    path = tmp_path / "run" / "lmtp"
    for _ in range(2):
        async with connected(database, str(path)) as client:
            assert path.stat().st_mode & 0o777 == 0o666
            assert await client.hand_in(["support@jeans.example"], LETTER) == ["250 2.0.0 Taken"]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("127.0.0.1:8024", Place("127.0.0.1", 8024)),
        ("[::1]:24", Place("::1", 24)),
        ("/run/support/lmtp", Place(socket=Path("/run/support/lmtp"))),
    ],
)
def test_the_place_is_a_host_and_port_or_a_path(value: str, place: Place) -> None:
    """As Postfix writes them: inet:127.0.0.1:8024, unix:/run/support/lmtp."""
    assert read_lmtp_listen(value) == place


@pytest.mark.parametrize("value", ["8024", "localhost", "localhost:http", "a:99999", "lmtp.sock"])
def test_a_wrong_place_is_named_at_the_start(value: str) -> None:
    """Not when the first letter does not come."""
    with pytest.raises(LmtpListenInvalid, match="LMTP_LISTEN"):
        read_lmtp_listen(value)
