"""Fetches letters from the support mailbox; a letter is marked as seen only after it is safe in the database."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from imaplib import IMAP4
from urllib.parse import unquote, urlsplit

from imap_tools import BaseMailBox, MailBox, MailBoxUnencrypted, MailMessageFlags
from imap_tools.errors import ImapToolsError

from handoff.database import Database
from handoff.desk import Desk
from handoff.errors import HandoffError
from handoff.mail.inbound import MAX_LETTER_BYTES, quarantine_large, take_in

log = logging.getLogger(__name__)

POLL_EVERY_S = 5.0
LONGEST_WAIT_S = 300.0

#: A server that answers nothing for so long is gone.
SERVER_TIMEOUT_S = 60.0


class ImapUrlInvalid(HandoffError):
    """IMAP_URL cannot be used; the message says what to write."""


@dataclass(frozen=True)
class ImapMailbox:
    """Where letters are fetched from."""

    host: str
    port: int
    username: str
    password: str
    folder: str
    encrypted: bool


def read_imap_url(url: str) -> ImapMailbox:
    """Read `imaps://user:pass@host/INBOX` or `imap://...`.

    Raises:
        ImapUrlInvalid: with what is wrong.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ImapUrlInvalid(f"IMAP_URL: {error}") from None
    if parts.scheme not in ("imap", "imaps") or not parts.hostname or not parts.username or parts.password is None:
        raise ImapUrlInvalid("IMAP_URL: write imaps://user:password@host/INBOX")
    encrypted = parts.scheme == "imaps"
    return ImapMailbox(
        host=parts.hostname,
        port=port or (993 if encrypted else 143),
        username=unquote(parts.username),
        password=unquote(parts.password),
        folder=unquote(parts.path.strip("/")) or "INBOX",
        encrypted=encrypted,
    )


class ImapIntake:
    """Polls a mailbox and hands every new letter to `take_in`, each in a transaction of its own."""

    def __init__(self, database: Database, imap_url: str, desk: Desk, taken: Callable[[], None] = lambda: None) -> None:
        """Check the URL at once; `taken` is called after each letter that was committed.

        Raises:
            ImapUrlInvalid: see `read_imap_url`.
        """
        self._database = database
        self._mailbox = read_imap_url(imap_url) if imap_url else None
        self._desk = desk
        self._taken = taken
        #: When the mailbox last answered, for /healthz.
        self.last_poll_at: datetime | None = None

    async def run(self) -> None:
        """Take letters in until cancelled; a server or a database that is away is waited for."""
        if self._mailbox is None:
            log.info("IMAP_URL is not set, no letters are fetched")
            return
        failures = 0
        while True:
            try:
                taken = await asyncio.to_thread(self.poll, datetime.now(UTC))
                failures, pause = 0, POLL_EVERY_S
            except Exception as error:  # noqa: BLE001  the loop must outlive servers and databases
                failures += 1
                taken, pause = 0, min(POLL_EVERY_S * 2 ** (failures - 1), LONGEST_WAIT_S)
                log.warning("the mailbox is away (%s: %s), next attempt in %.0f s", type(error).__name__, error, pause)
            for _ in range(taken):
                self._taken()
            await asyncio.sleep(pause)

    def poll(self, now: datetime) -> int:
        """Take in all unseen letters over one connection and return how many; blocks, so call it on a thread.

        Raises:
            OSError, IMAP4.error, ImapToolsError: the server is away or does not let us in.
        """
        if self._mailbox is None:
            return 0
        with _connected(self._mailbox) as mailbox:
            taken = sum(self._fetch(mailbox, uid, now) for uid in mailbox.uids("UNSEEN"))
        self.last_poll_at = now
        return taken

    def _fetch(self, mailbox: BaseMailBox, uid: str, now: datetime) -> bool:
        """Take one letter in; False when the server does not hand it out, which must not hold up the others."""
        size = _size(mailbox, uid)
        too_large = size > MAX_LETTER_BYTES
        raw = _part(mailbox, uid, "BODY.PEEK[HEADER]" if too_large else "BODY.PEEK[]")
        if raw is None:
            log.warning("the mailbox does not hand out letter %s", uid)
            return False
        with self._database.session_scope() as session:
            if too_large:
                quarantine_large(session, raw, size, [], now)
            else:
                take_in(session, raw, [], self._desk, now)
        mailbox.flag(uid, MailMessageFlags.SEEN, True)
        return True


@contextmanager
def _connected(server: ImapMailbox) -> Iterator[BaseMailBox]:
    """A logged-in connection with the folder chosen."""
    kind = MailBox if server.encrypted else MailBoxUnencrypted
    mailbox = kind(server.host, server.port, timeout=SERVER_TIMEOUT_S)
    try:
        yield mailbox.login(server.username, server.password, initial_folder=server.folder)
    finally:
        # What was taken in is committed; a bad goodbye must not look like a bad mailbox, nor hide what went wrong.
        with suppress(ImapToolsError, IMAP4.error, OSError):
            mailbox.logout()
        with suppress(OSError):
            mailbox.client.shutdown()


def _size(mailbox: BaseMailBox, uid: str) -> int:
    """RFC822.SIZE in bytes: asked before anything is downloaded."""
    _, answer = mailbox.client.uid("FETCH", uid, "(RFC822.SIZE)")
    found = re.search(rb"RFC822\.SIZE (\d+)", b" ".join(item for item in answer if isinstance(item, bytes)))
    return int(found[1]) if found else 0


def _part(mailbox: BaseMailBox, uid: str, part: str) -> bytes | None:
    """The literal of one FETCH; fetching peeks, so the letter stays unseen until it is committed."""
    _, answer = mailbox.client.uid("FETCH", uid, f"({part})")
    return next((bytes(item[1]) for item in answer if isinstance(item, tuple)), None)
