"""What a messenger is to the rest of the system, and what it may answer when it is given a message."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from bot.models import OutboxItem, RemoteFile


class SendLater(Exception):
    """The message certainly did not arrive, and may be sent again; `after` if the messenger said when."""

    def __init__(self, reason: str, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = after


class MaybeSent(Exception):
    """Nobody knows whether the message arrived, and the messenger cannot recognise it when it is sent again."""


class SendRefused(Exception):
    """The messenger will never take the message; `unreachable` if it takes none to this customer."""

    def __init__(self, reason: str, *, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.unreachable = unreachable


class FileGone(Exception):
    """The messenger no longer has the file that it announced."""


class MessengerAway(Exception):
    """The messenger gives no messages now; the text says why."""


class Channel(Protocol):
    """A messenger, seen from inbox and outbox."""

    async def send(self, item: OutboxItem, leaves: Callable[[], object] = lambda: None) -> str:
        """Hand one message over and return the messenger's id of it.

        A messenger that cannot recognise a repetition calls `leaves` just before the message goes out: cut off from
        then on, nobody would know whether it had arrived.

        Raises:
            SendLater, MaybeSent, SendRefused: see there. Anything else counts as `SendLater`.
        """

    async def typing(self, sender_id: str) -> None:
        """Show the customer that an answer is being written; may do nothing."""

    async def download(self, file: RemoteFile) -> bytes:
        """The content of a file that a customer sent.

        Raises:
            FileGone, handoff.files.FileTooLarge: it will never come. Anything else: try again.
        """

    async def close(self) -> None:
        """Close the connections."""
