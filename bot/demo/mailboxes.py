"""The demo's mailboxes: one Maildir for each address, readable by any mail program that knows the format."""

from __future__ import annotations

import hashlib
import mailbox
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from uuid import uuid4

#: An address that is also a safe name of a folder: no slash, no dot in front.
SAFE_ADDRESS = re.compile(r"[a-z0-9_+-][a-z0-9._+-]*@[a-z0-9-]+(\.[a-z0-9-]+)+")
LETTER_ID = re.compile(r"[0-9a-f]{32}")


class UnknownMailbox(Exception):
    """There is no mailbox of this address, or no such letter in it."""


@dataclass(frozen=True)
class StoredLetter:
    """A letter as it lies in a mailbox. `arrived` is when it got here, whatever its Date header says."""

    id: str
    raw: bytes
    arrived: datetime
    read: bool
    answered: bool


class Mailboxes:
    """Mailboxes in one folder. Each call reads the disk anew; threads may share them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def create(self, address: str) -> None:
        """Open a mailbox for an address; it may exist already.

        Raises:
            ValueError: the address cannot be the name of a folder.
        """
        name = address.lower()
        if not SAFE_ADDRESS.fullmatch(name):
            raise ValueError("a mailbox of the demo needs a plain ASCII address")
        self.folder.mkdir(parents=True, exist_ok=True)
        mailbox.Maildir(self.folder / name, create=True)

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, str) or not SAFE_ADDRESS.fullmatch(address.lower()):
            return False
        return (self.folder / address.lower() / "new").is_dir()

    def deliver(self, address: str, raw: bytes) -> str:
        """Put a letter into a mailbox and return its id there.

        A letter whose Message-ID is there already is not kept a second time, as Gmail does: an SMTP sender that did
        not hear our answer sends again.
        """
        letter_id = _letter_id(raw)
        with self._opened(address) as (box, folder):
            if letter_id not in box:
                draft = folder / "tmp" / f"{letter_id}.{uuid4().hex}"
                draft.write_bytes(raw)
                # The file system's own clock ticks only every few milliseconds; letters are sorted by this moment.
                now = time.time_ns()
                os.utime(draft, ns=(now, now))
                draft.rename(folder / "new" / letter_id)
        return letter_id

    def letters(self, address: str) -> list[StoredLetter]:
        """All letters of a mailbox, newest first."""
        with self._opened(address) as (box, folder):
            found = [(_path(box, folder, key).stat().st_mtime_ns, key) for key in box.keys()]  # noqa: SIM118 - no dict
            return [_stored(box, folder, key) for _, key in sorted(found, reverse=True)]

    def letter(self, address: str, letter_id: str) -> StoredLetter:
        """One letter of a mailbox.

        Raises:
            UnknownMailbox: no such mailbox, or no such letter in it.
        """
        with self._opened(address) as (box, folder):
            return _stored(box, folder, _checked(box, letter_id))

    def mark(self, address: str, letter_id: str, *, read: bool = True, answered: bool = False) -> None:
        """Mark a letter as read or unread, and as answered; an answered letter stays so."""
        with self._opened(address) as (box, folder):
            path = _path(box, folder, _checked(box, letter_id))
            flags = _flags(path) - {"S"} | ({"S"} if read else set()) | ({"R"} if answered else set())
            path.rename(folder / "cur" / f"{letter_id}:2,{''.join(sorted(flags))}")

    @contextmanager
    def _opened(self, address: str) -> Iterator[tuple[mailbox.Maildir, Path]]:
        if address not in self:
            raise UnknownMailbox
        folder = self.folder / address.lower()
        # Marking a letter renames its file, and nobody may look for it meanwhile.
        with self._lock:
            yield mailbox.Maildir(folder, create=False), folder


def _letter_id(raw: bytes) -> str:
    """The name of a letter's file: the same for every delivery of the same letter."""
    message_id = message_from_bytes(raw, policy=policy.compat32).get("Message-ID")
    identity = str(message_id).strip().encode("utf-8", "surrogateescape") if message_id else raw
    return hashlib.sha256(identity).hexdigest()[:32]


def _checked(box: mailbox.Maildir, letter_id: str) -> str:
    if not LETTER_ID.fullmatch(letter_id) or letter_id not in box:
        raise UnknownMailbox
    return letter_id


def _path(box: mailbox.Maildir, folder: Path, key: str) -> Path:
    # The standard library offers no public way from a key to its file before Python 3.13's get_info().
    return folder / box._lookup(key)  # type: ignore[attr-defined,no-any-return]


def _flags(path: Path) -> set[str]:
    return set(path.name.partition(":2,")[2])


def _stored(box: mailbox.Maildir, folder: Path, key: str) -> StoredLetter:
    path = _path(box, folder, key)
    arrived = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return StoredLetter(key, path.read_bytes(), arrived, "S" in _flags(path), "R" in _flags(path))
