"""A connection to the support mailbox, and the few things that we ask an IMAP server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from imaplib import IMAP4
from urllib.parse import unquote, urlsplit

from imap_tools import AND, OR, BaseMailBox, MailBox, MailBoxUnencrypted, MailMessageFlags
from imap_tools.errors import ImapToolsError
from imap_tools.idle import get_socket_poller

from handoff.errors import HandoffError

#: A server that answers nothing for so long is gone.
SERVER_TIMEOUT_S = 60.0

#: How often IDLE is begun anew: the server has to answer, so that we notice one that is gone; and letters that it does
#: not tell of are found. RFC 2177 asks for 29 minutes at most.
RENEW_IDLE_S = 30

#: How soon a stop is noticed while nothing comes.
LOOK_UP_S = 1


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

    @property
    def name(self) -> str:
        """The mailbox without its password: "support@shop.example@imap.example/INBOX"."""
        return f"{self.username}@{self.host}/{self.folder}"


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


class Connection:
    """A logged-in connection with the folder chosen.

    Every method raises OSError, IMAP4.error or ImapToolsError when the server is away or does not let us.
    """

    def __init__(self, mailbox: BaseMailBox) -> None:
        self._mailbox = mailbox
        _, answer = mailbox.client.response("UIDVALIDITY")
        #: Of the folder; with another one its UIDs mean nothing.
        self.uid_validity = int(answer[0]) if answer and answer[0] else 0
        # Some servers tell all they can do only after the login.
        _, offered = mailbox.client.capability()
        self.tells_of_letters = b"IDLE" in b" ".join(filter(None, offered)).upper().split()

    def all_uids(self) -> list[int]:
        """UIDs of everything in the folder."""
        return self._search("ALL")

    def unseen_uids(self, or_since: datetime | None = None) -> list[int]:
        """UIDs of letters that nobody has opened, or that came on the day of `or_since` or later."""
        unseen = AND(seen=False)
        return self._search(str(OR(unseen, AND(date_gte=or_since.date())) if or_since else unseen))

    def uids_after(self, last: int) -> list[int]:
        """UIDs of letters that came after the one with UID `last`."""
        # A server answers with the newest letter even if it is older ("*" is the largest UID there is).
        return [uid for uid in self._search(f"UID {last + 1}:*") if uid > last]

    def size(self, uid: int) -> int | None:
        """RFC822.SIZE in bytes, asked before anything is downloaded; None when the letter is gone."""
        _, answer = self._mailbox.client.uid("FETCH", str(uid), "(RFC822.SIZE)")
        found = re.search(rb"RFC822\.SIZE (\d+)", b" ".join(item for item in answer if isinstance(item, bytes)))
        return int(found[1]) if found else None

    def fetch(self, uid: int, *, head_only: bool) -> bytes | None:
        """The letter, or its headers; it stays unseen. None when the server does not hand it out."""
        part = "BODY.PEEK[HEADER]" if head_only else "BODY.PEEK[]"
        _, answer = self._mailbox.client.uid("FETCH", str(uid), f"({part})")
        return next((bytes(item[1]) for item in answer if isinstance(item, tuple)), None)

    def mark_seen(self, uid: int) -> None:
        """For people who look into the mailbox: this one has been taken in. Not being allowed to hurts nobody."""
        with suppress(ImapToolsError):
            self._mailbox.flag(str(uid), MailMessageFlags.SEEN, True)

    def wait_for_news(self, is_stopping: Callable[[], bool]) -> None:
        """Wait until the server tells of a letter, for half a minute at most (IDLE, RFC 2177)."""
        self._mailbox.idle.start()  # type: ignore[no-untyped-call]
        for _ in range(RENEW_IDLE_S // LOOK_UP_S):
            if is_stopping() or get_socket_poller(self._mailbox.client.sock, LOOK_UP_S):
                break
        # Reads what was told, and notices a server that has hung up.
        self._mailbox.idle.stop()  # type: ignore[no-untyped-call]

    def _search(self, criteria: str) -> list[int]:
        # Without a charset: some servers refuse to be told one.
        return [int(uid) for uid in self._mailbox.uids(criteria, charset=None)]


@contextmanager
def connected(server: ImapMailbox) -> Iterator[Connection]:
    """Log in and choose the folder; log out at the end, whatever happened."""
    kind = MailBox if server.encrypted else MailBoxUnencrypted
    mailbox = kind(server.host, server.port, timeout=SERVER_TIMEOUT_S)
    try:
        yield Connection(mailbox.login(server.username, server.password, initial_folder=server.folder))
    finally:
        # What was taken in is committed; a bad goodbye must not look like a bad mailbox, nor hide what went wrong.
        with suppress(ImapToolsError, IMAP4.error, OSError):
            mailbox.logout()
        with suppress(OSError):
            mailbox.client.shutdown()
