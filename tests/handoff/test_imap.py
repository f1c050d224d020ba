"""Fetching letters from a mailbox, over a small IMAP server of our own."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator

import pytest
from handoff_cases import NOW
from sqlalchemy import select

from handoff.database import Database
from handoff.mail.imap import ImapIntake, ImapMailbox, ImapUrlInvalid, read_imap_url
from handoff.mail.inbound import MAX_LETTER_BYTES
from handoff.models import LetterIn
from handoff.tickets import Desk


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


class ImapSession(socketserver.StreamRequestHandler):
    server: ImapServer

    def handle(self) -> None:
        self.wfile.write(b"* OK ready\r\n")
        for line in self.rfile:
            tag, command = line.decode().strip().split(" ", 1)
            self.answer(command)
            if command == "LOGOUT":
                self.wfile.write(b"* BYE\r\n")
            self.wfile.write(f"{tag} OK done\r\n".encode())
            if command == "LOGOUT":
                return

    def answer(self, command: str) -> None:
        box = self.server
        if command == "CAPABILITY":
            self.wfile.write(b"* CAPABILITY IMAP4rev1\r\n")
        elif command.startswith("SELECT"):
            self.wfile.write(f"* {len(box.letters)} EXISTS\r\n".encode())
        elif command.startswith("UID SEARCH"):
            unseen = " ".join(str(uid) for uid in box.letters if uid not in box.seen)
            self.wfile.write(f"* SEARCH {unseen}\r\n".encode())
        elif found := re.fullmatch(r"UID FETCH (\d+) \((.+)\)", command):
            uid, what = int(found[1]), found[2]
            raw = box.letters[uid]
            box.fetched.append(what)
            if what == "RFC822.SIZE":
                self.wfile.write(f"* 1 FETCH (UID {uid} RFC822.SIZE {box.sizes.get(uid, len(raw))})\r\n".encode())
            elif uid not in box.withheld:
                part = raw.split(b"\r\n\r\n")[0] + b"\r\n\r\n" if "HEADER" in what else raw
                name = what.replace(".PEEK", "")
                self.wfile.write(f"* 1 FETCH (UID {uid} {name} {{{len(part)}}}\r\n".encode() + part + b")\r\n")
        elif found := re.match(r"UID STORE (\d+) \+FLAGS", command):
            box.seen.add(int(found[1]))


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
    return ImapIntake(database, f"imap://support:secret@127.0.0.1:{server.server_address[1]}/INBOX", desk)


def a_letter(number: int) -> bytes:
    return f"Message-ID: <{number}@x>\r\nFrom: a@example.com\r\nSubject: {number}\r\n\r\nПривет\r\n".encode()


def outcomes(database: Database) -> list[tuple[str | None, str]]:
    with database.session_scope() as session:
        return [(row.message_id, row.outcome) for row in session.scalars(select(LetterIn).order_by(LetterIn.id))]


def test_unseen_letters_are_taken_in_once(server: ImapServer, intake: ImapIntake, database: Database) -> None:
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
