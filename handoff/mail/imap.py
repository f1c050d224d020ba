"""Fetches letters from the support mailbox; how far it has been read moves on with each letter that is safe here.

The letter's UID decides what is new, not whether it was opened: people look into mailboxes, and before us.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from imap_tools.errors import MailboxTaggedResponseError
from sqlalchemy.orm import Session

from handoff.database import Database
from handoff.desk import Desk
from handoff.mail.inbound import MAX_LETTER_BYTES, quarantine_large, take_in
from handoff.mail.mailbox import Connection, connected, read_imap_url
from handoff.models import MailboxPlace

log = logging.getLogger(__name__)

#: How often a server without IDLE is asked, and one that is away at first.
POLL_EVERY_S = 5.0
LONGEST_WAIT_S = 300.0

#: A stop waits so long for the letter that is being taken in. After that the thread ends with the process: what it had
#: not committed is fetched again.
STOP_WITHIN_S = 4.0

#: After a mailbox was rebuilt, letters that came since shortly before the last one are looked at again; those that we
#: have are recognised. Days in IMAP have no time zone.
LOOK_BACK = timedelta(days=1)


class ImapIntake:
    """Waits for letters in a mailbox and hands each one to `take_in`, in a transaction of its own."""

    def __init__(self, database: Database, imap_url: str, desk: Desk, taken: Callable[[], None] = lambda: None) -> None:
        """Check the URL at once; `taken` is called after each letter that was committed.

        Raises:
            ImapUrlInvalid: see `read_imap_url`.
        """
        self._database = database
        self._mailbox = read_imap_url(imap_url) if imap_url else None
        self._desk = desk
        self._taken = taken
        self._stopping = threading.Event()
        #: When the mailbox last answered, for /healthz.
        self.last_poll_at: datetime | None = None

    async def run(self) -> None:
        """Take letters in until cancelled; a server or a database that is away is waited for."""
        if self._mailbox is None:
            log.info("IMAP_URL is not set, no letters are fetched")
            return
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        self._stopping.clear()

        def tell() -> None:
            loop.call_soon_threadsafe(self._taken)

        def watch() -> None:
            try:
                self._watch(tell)
            finally:
                with suppress(RuntimeError):  # the loop may have ended before us
                    loop.call_soon_threadsafe(ended.set)

        # A daemon, not one of asyncio's threads: those hold up the end of the process until a server has answered.
        threading.Thread(target=watch, name="mailbox", daemon=True).start()
        try:
            await ended.wait()
        finally:
            self._stopping.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_WITHIN_S):
                    await ended.wait()

    def poll(self, now: datetime) -> int:
        """Take in all new letters over one connection and return how many; blocks, so call it on a thread.

        Raises:
            OSError, IMAP4.error, ImapToolsError: the server is away or does not let us in.
        """
        if self._mailbox is None:
            return 0
        with connected(self._mailbox) as connection:
            return self._take_new(connection, now)

    def _watch(self, taken: Callable[[], None]) -> None:
        """Stay connected, and connect again, until stopped."""
        failures = 0
        idle = True
        while not self._stopping.is_set():
            pause = POLL_EVERY_S
            try:
                assert self._mailbox is not None  # noqa: S101  run checked it
                with connected(self._mailbox) as connection:
                    self._take_and_tell(connection, taken)
                    failures = 0
                    while idle and connection.tells_of_letters and not self._stopping.is_set():
                        connection.wait_for_news(self._stopping.is_set)
                        self._take_and_tell(connection, taken)
            except MailboxTaggedResponseError as error:
                idle = False
                log.warning("the mailbox offers IDLE and does not do it (%s), it is asked every %.0f s", error, pause)
            except Exception as error:  # noqa: BLE001  the loop must outlive servers and databases
                failures += 1
                pause = min(POLL_EVERY_S * 2 ** (failures - 1), LONGEST_WAIT_S)
                log.warning("the mailbox is away (%s: %s), next attempt in %.0f s", type(error).__name__, error, pause)
            self._stopping.wait(pause)

    def _take_and_tell(self, connection: Connection, taken: Callable[[], None]) -> None:
        for _ in range(self._take_new(connection, datetime.now(UTC))):
            taken()

    def _take_new(self, connection: Connection, now: datetime) -> int:
        """One look into the mailbox: take in what is new there and return how many letters that were."""
        with self._database.session_scope() as session:
            place = session.get(MailboxPlace, self._name)
        if place is not None and place.uid_validity == connection.uid_validity:
            new = [*place.owed, *connection.uids_after(place.last_uid)]
            count = sum(self._take(connection, uid, now) for uid in new)
        else:
            count = self._take_first(connection, place, now)
        self.last_poll_at = now
        return count

    def _take_first(self, connection: Connection, place: MailboxPlace | None, now: datetime) -> int:
        """The first look at a mailbox, or at one that was rebuilt and numbers its letters anew.

        Begins with what nobody has opened, so that years of old letters stay where they are. The place is kept at the
        end: cut off before, all of it is looked at again.
        """
        last = max(connection.all_uids(), default=0)
        new = connection.unseen_uids(or_since=place.moved_at - LOOK_BACK if place else None)
        if place is not None:
            log.warning("the mailbox was rebuilt, %d letters in it are looked at again", len(new))
        begun = MailboxPlace(
            mailbox=self._name,
            uid_validity=connection.uid_validity,
            last_uid=max([last, *new]),
            owed=[],
            moved_at=now,
        )
        count = 0
        for uid in new:
            raw, size = self._download(connection, uid)
            if raw is None and size is not None:
                begun.owed = [*begun.owed, uid]
            elif raw is not None:
                with self._database.session_scope() as session:
                    self._keep(session, raw, size, now)
                connection.mark_seen(uid)
                count += 1
        with self._database.session_scope() as session:
            session.merge(begun)
        return count

    def _take(self, connection: Connection, uid: int, now: datetime) -> bool:
        """Take one letter in; False when there is none, or when the server does not hand it out."""
        raw, size = self._download(connection, uid)
        with self._database.session_scope() as session:
            place = session.get_one(MailboxPlace, self._name)
            place.last_uid, place.moved_at = max(place.last_uid, uid), now
            withheld = raw is None and size is not None
            if withheld and uid not in place.owed:
                log.warning("the mailbox does not hand out letter %s; it is asked again at every look", uid)
            if withheld != (uid in place.owed):
                place.owed = [*place.owed, uid] if withheld else [other for other in place.owed if other != uid]
            if raw is None:
                return False
            self._keep(session, raw, size, now)
        connection.mark_seen(uid)
        return True

    @staticmethod
    def _download(connection: Connection, uid: int) -> tuple[bytes | None, int | None]:
        """The letter, or the head of one that is too large, and its size in bytes; no size when it is gone."""
        size = connection.size(uid)
        raw = None if size is None else connection.fetch(uid, head_only=size > MAX_LETTER_BYTES)
        return raw, size

    def _keep(self, session: Session, raw: bytes, size: int | None, now: datetime) -> None:
        if size is not None and size > MAX_LETTER_BYTES:
            quarantine_large(session, raw, size, [], now)
        else:
            take_in(session, raw, [], self._desk, now)

    @property
    def _name(self) -> str:
        return self._mailbox.name if self._mailbox else ""
