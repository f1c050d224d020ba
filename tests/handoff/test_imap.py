"""Fetching letters from a mailbox, over a small IMAP server of our own."""

from __future__ import annotations

import asyncio
import re
import socket
import socketserver
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from handoff_cases import NOW
from sqlalchemy import select

from handoff.database import Database
from handoff.desk import Desk
from handoff.mail import imap
from handoff.mail.imap import ImapIntake
from handoff.mail.inbound import MAX_LETTER_BYTES
from handoff.mail.mailbox import ImapMailbox, ImapUrlInvalid, read_imap_url
from handoff.models import LetterIn, MailboxPlace


class ImapServer(socketserver.ThreadingTCPServer):
    """One mailbox; speaks just what our client says. `sizes` lets a letter claim to be larger than it is."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ImapSession)
        self.letters: dict[int, bytes] = {}
        self.sizes: dict[int, int] = {}
        self.seen: set[int] = set()
        self.withheld: set[int] = set()
        self.fetched: list[str] = []
        self.searched: list[str] = []
        self.uid_validity = 7
        self.marks_refused = False
        self.capabilities = "IMAP4rev1"
        self.idle_is_refused = False
        self.commands: list[str] = []
        self.sockets: list[socket.socket] = []
        self.idling = threading.Event()

    def deliver(self, uid: int, raw: bytes) -> None:
        """Put a letter into the mailbox and tell whoever waits for one."""
        self.letters[uid] = raw
        for connection in self.sockets:
            with suppress(OSError):
                connection.sendall(f"* {len(self.letters)} EXISTS\r\n".encode())

    def hang_up(self) -> None:
        for connection in self.sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.sockets.clear()


class ImapSession(socketserver.StreamRequestHandler):
    server: ImapServer

    def handle(self) -> None:
        with suppress(OSError):
            self.wfile.write(b"* OK ready\r\n")
            for line in self.rfile:
                tag, command = line.decode().strip().split(" ", 1)
                self.server.commands.append(command)
                refused = self.answer(command)
                if command == "LOGOUT":
                    self.wfile.write(b"* BYE\r\n")
                self.wfile.write(f"{tag} {refused or 'OK done'}\r\n".encode())
                if command == "LOGOUT":
                    return

    def answer(self, command: str) -> str | None:
        box = self.server
        if command == "CAPABILITY":
            self.wfile.write(f"* CAPABILITY {box.capabilities}\r\n".encode())
        elif command.startswith("SELECT"):
            self.wfile.write(f"* {len(box.letters)} EXISTS\r\n* OK [UIDVALIDITY {box.uid_validity}]\r\n".encode())
        elif command.startswith("UID SEARCH"):
            criteria = command.removeprefix("UID SEARCH ")
            box.searched.append(criteria)
            self.wfile.write(f"* SEARCH {' '.join(map(str, self.found(criteria)))}\r\n".encode())
        elif found := re.fullmatch(r"UID FETCH (\d+) \((.+)\)", command):
            self.fetch(int(found[1]), found[2])
        elif found := re.match(r"UID STORE (\d+) \+FLAGS", command):
            if box.marks_refused:
                return "NO [NOPERM] not yours"
            box.seen.add(int(found[1]))
        elif command == "IDLE":
            if box.idle_is_refused:
                return "BAD no such command"
            self.wfile.write(b"+ idling\r\n")
            box.sockets.append(self.connection)
            box.idling.set()
            assert self.rfile.readline() in (b"DONE\r\n", b"")
            box.idling.clear()
        return None

    def found(self, criteria: str) -> list[int]:
        box = self.server
        if criteria == "ALL":
            return list(box.letters)
        if since := re.fullmatch(r"UID (\d+):\*", criteria):
            return [uid for uid in box.letters if uid >= int(since[1])] or list(box.letters)[-1:]
        unseen = [uid for uid in box.letters if uid not in box.seen]
        if criteria == "(UNSEEN)":
            return unseen
        assert re.fullmatch(r"\(OR \(UNSEEN\) \(SINCE 19-Nov-2026\)\)", criteria), criteria
        return list(box.letters)

    def fetch(self, uid: int, what: str) -> None:
        box = self.server
        raw = box.letters[uid]
        box.fetched.append(what)
        if what == "RFC822.SIZE":
            self.wfile.write(f"* 1 FETCH (UID {uid} RFC822.SIZE {box.sizes.get(uid, len(raw))})\r\n".encode())
        elif uid not in box.withheld:
            part = raw.split(b"\r\n\r\n")[0] + b"\r\n\r\n" if "HEADER" in what else raw
            name = what.replace(".PEEK", "")
            self.wfile.write(f"* 1 FETCH (UID {uid} {name} {{{len(part)}}}\r\n".encode() + part + b")\r\n")


@pytest.fixture
def server() -> Iterator[ImapServer]:
    with ImapServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def intake(server: ImapServer, database: Database, desk: Desk) -> ImapIntake:
    return ImapIntake(database, url_of(server), desk)


def url_of(server: ImapServer) -> str:
    return f"imap://support:secret@127.0.0.1:{server.server_address[1]}/INBOX"


def a_letter(number: int) -> bytes:
    return f"Message-ID: <{number}@x>\r\nFrom: a@example.com\r\nSubject: {number}\r\n\r\nПривет\r\n".encode()


def place(database: Database) -> MailboxPlace:
    with database.session_scope() as session:
        return session.scalars(select(MailboxPlace)).one()


def outcomes(database: Database) -> list[tuple[str | None, str]]:
    with database.session_scope() as session:
        return [(row.message_id, row.outcome) for row in session.scalars(select(LetterIn).order_by(LetterIn.id))]


def test_new_letters_are_taken_in_once(server: ImapServer, intake: ImapIntake, database: Database) -> None:
    """A letter is marked as seen only after it is in the database."""
    server.letters = {1: a_letter(1), 2: a_letter(2)}

    assert intake.poll(NOW) == 2
    assert intake.poll(NOW) == 0

    assert outcomes(database) == [("<1@x>", "quarantined"), ("<2@x>", "quarantined")]
    assert server.seen == {1, 2}
    assert intake.last_poll_at == NOW


def test_a_letter_that_is_too_large_is_never_downloaded(
    server: ImapServer, intake: ImapIntake, database: Database
) -> None:
    """Its headers are enough for a person to know what waits there."""
    server.letters, server.sizes = {1: a_letter(1)}, {1: MAX_LETTER_BYTES + 1}

    intake.poll(NOW)

    assert outcomes(database) == [("<1@x>", "quarantined")]
    assert server.fetched == ["RFC822.SIZE", "BODY.PEEK[HEADER]"]


def test_a_letter_that_somebody_opened_before_us_is_taken_in(
    server: ImapServer, intake: ImapIntake, database: Database
) -> None:
    """People look into mailboxes; what they have opened must reach the ticket all the same."""
    server.letters = {1: a_letter(1)}
    intake.poll(NOW)
    server.letters[2] = a_letter(2)
    server.seen.add(2)

    assert intake.poll(NOW) == 1
    assert intake.poll(NOW) == 0

    assert [name for name, _ in outcomes(database)] == ["<1@x>", "<2@x>"]


def test_the_first_look_leaves_old_letters_alone(server: ImapServer, intake: ImapIntake, database: Database) -> None:
    """A mailbox that people have read for years does not become thousands of quarantined letters."""
    server.letters, server.seen = {number: a_letter(number) for number in (3, 8, 9)}, {3, 9}

    assert intake.poll(NOW) == 1
    assert intake.poll(NOW) == 0

    assert [name for name, _ in outcomes(database)] == ["<8@x>"]


def test_a_mailbox_without_letters_is_begun_too(server: ImapServer, intake: ImapIntake, database: Database) -> None:
    """What comes after the first look is new, whoever opens it."""
    intake.poll(NOW)
    server.letters, server.seen = {1: a_letter(1)}, {1}

    assert intake.poll(NOW) == 1


def test_after_a_rebuilt_mailbox_nothing_is_lost_and_nothing_filed_twice(
    server: ImapServer, intake: ImapIntake, database: Database
) -> None:
    """Its letters have other numbers now; those that we have are recognised."""
    server.letters = {5: a_letter(1), 6: a_letter(2)}
    intake.poll(NOW)
    server.uid_validity, server.letters, server.seen = 8, {1: a_letter(1), 2: a_letter(2), 3: a_letter(3)}, {1, 2, 3}

    intake.poll(NOW)
    assert intake.poll(NOW) == 0

    assert sorted(outcomes(database)) == [
        ("<1@x>", "duplicate"),
        ("<1@x>", "quarantined"),
        ("<2@x>", "duplicate"),
        ("<2@x>", "quarantined"),
        ("<3@x>", "quarantined"),
    ]


def test_a_mailbox_that_takes_no_marks_is_read_all_the_same(
    server: ImapServer, intake: ImapIntake, database: Database
) -> None:
    """The mark is for people; the place is kept here."""
    server.letters, server.marks_refused = {1: a_letter(1), 2: a_letter(2)}, True

    assert intake.poll(NOW) == 2
    assert intake.poll(NOW) == 0


def test_a_letter_that_vanishes_holds_up_nobody(server: ImapServer, intake: ImapIntake, database: Database) -> None:
    """Owed by the server and then deleted: it is not asked for any more."""
    intake.poll(NOW)
    server.letters, server.withheld = {1: a_letter(1), 2: a_letter(2)}, {1}
    intake.poll(NOW)
    assert place(database).owed == [1]
    server.sizes[1] = -1  # the answer holds no size

    assert intake.poll(NOW) == 0
    assert (place(database).owed, place(database).last_uid) == ([], 2)


def test_a_letter_that_the_server_withholds_does_not_hold_up_the_others(
    server: ImapServer, intake: ImapIntake, database: Database
) -> None:
    """It is asked for again at the next poll."""
    server.letters, server.withheld = {1: a_letter(1), 2: a_letter(2)}, {1}

    assert intake.poll(NOW) == 1
    server.withheld.clear()
    assert intake.poll(NOW) == 1

    assert [name for name, _ in outcomes(database)] == ["<2@x>", "<1@x>"]


def test_a_letter_stays_unseen_when_the_database_fails(
    server: ImapServer, intake: ImapIntake, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost: it is fetched again when the database is back."""
    server.letters = {1: a_letter(1)}

    def fail() -> None:
        raise OSError("database is away")

    with monkeypatch.context() as patch:
        patch.setattr(database, "session_scope", fail)
        with pytest.raises(OSError, match="away"):
            intake.poll(NOW)

    assert server.seen == set()
    assert intake.poll(NOW) == 1


@asynccontextmanager
async def running(intake: ImapIntake) -> AsyncIterator[None]:
    task = asyncio.create_task(intake.run())
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not any(thread.name == "mailbox" for thread in threading.enumerate()))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  the condition is on another thread
            await asyncio.sleep(0.01)


async def test_a_letter_is_taken_in_as_soon_as_the_server_tells_of_it(
    server: ImapServer, database: Database, desk: Desk
) -> None:
    """Over one connection; and a stop ends the wait."""
    server.capabilities = "IMAP4rev1 IDLE"
    told: list[int] = []
    intake = ImapIntake(database, url_of(server), desk, taken=lambda: told.append(len(outcomes(database))))
    async with running(intake):
        await until(server.idling.is_set)
        server.deliver(1, a_letter(1))
        await until(lambda: told == [1])
        await until(server.idling.is_set)
        server.deliver(2, a_letter(2))
        await until(lambda: told == [1, 2])
        await until(server.idling.is_set)

    assert sum(command.startswith("LOGIN") for command in server.commands) == 1
    assert server.commands[-1] == "LOGOUT"
    assert intake.last_poll_at is not None


async def test_a_server_that_hangs_up_is_connected_to_again(
    server: ImapServer, intake: ImapIntake, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail servers are restarted; what came meanwhile is found."""
    monkeypatch.setattr(imap, "POLL_EVERY_S", 0.01)
    server.capabilities = "IMAP4rev1 IDLE"
    async with running(intake):
        await until(server.idling.is_set)
        server.idling.clear()
        server.letters[1] = a_letter(1)
        server.hang_up()
        await until(lambda: len(outcomes(database)) == 1)


@pytest.mark.parametrize("refused", [False, True])
async def test_a_server_without_idle_is_asked(
    server: ImapServer, intake: ImapIntake, database: Database, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """Whether it does not offer it, or offers it and then does not do it."""
    monkeypatch.setattr(imap, "POLL_EVERY_S", 0.01)
    server.capabilities, server.idle_is_refused = "IMAP4rev1" + " IDLE" * refused, refused
    async with running(intake):
        await until(lambda: intake.last_poll_at is not None)
        server.letters[1] = a_letter(1)
        await until(lambda: len(outcomes(database)) == 1)

    assert server.commands.count("IDLE") == refused


def test_an_absent_server_is_an_error_of_this_poll_only(database: Database, desk: Desk) -> None:
    """The loop waits and connects again."""
    with pytest.raises(OSError, match="refused"):
        ImapIntake(database, "imap://u:p@127.0.0.1:1", desk).poll(NOW)


def test_the_url_says_everything() -> None:
    """Encoded characters in user and password are usual: users are addresses."""
    assert read_imap_url("imaps://a%40b:p%2F@host/Support") == ImapMailbox("host", 993, "a@b", "p/", "Support", True)
    assert read_imap_url("imap://a:b@host") == ImapMailbox("host", 143, "a", "b", "INBOX", False)


@pytest.mark.parametrize("url", ["host", "imaps://host", "imap://user@host", "pop3://a:b@host", "imap://a:b@host:x"])
def test_a_wrong_url_is_named_at_the_start(database: Database, desk: Desk, url: str) -> None:
    """Not an hour later, in a log nobody reads."""
    with pytest.raises(ImapUrlInvalid, match="IMAP_URL"):
        ImapIntake(database, url, desk)
