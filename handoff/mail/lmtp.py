"""Takes letters from the shop's own mail server over LMTP (RFC 2033): one is safe here before it is taken there."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import Envelope, Session

from handoff.database import Database
from handoff.desk import Desk
from handoff.errors import HandoffError
from handoff.mail.inbound import MAX_LETTER_BYTES, take_in
from handoff.mail.receiving import Conversations, stamped

log = logging.getLogger(__name__)

#: How long a connection may say nothing, in seconds; RFC 5321 4.5.3.2.7 asks for five minutes.
IDLE_TIMEOUT_S = 300.0

#: Whoever may look into the socket's folder may hand letters in: Postfix runs as a user of its own.
SOCKET_MODE = 0o666

HOST_AND_PORT = re.compile(r"\[?(?P<host>[^\[\]/\s]+?)\]?:(?P<port>\d{1,5})")


class LmtpListenInvalid(HandoffError):
    """LMTP_LISTEN cannot be used; the message says what to write."""


@dataclass(frozen=True)
class Place:
    """Where letters are handed in: a host and a port, or a socket in the file system."""

    host: str = ""
    port: int = 0
    socket: Path | None = None


def read_lmtp_listen(value: str) -> Place:
    """Read `127.0.0.1:8024`, `[::1]:8024` or `/run/support/lmtp`.

    Raises:
        LmtpListenInvalid: with what to write.
    """
    if value.startswith("/"):
        return Place(socket=Path(value))
    found = HOST_AND_PORT.fullmatch(value)
    if found is None or int(found["port"]) > 65535:
        raise LmtpListenInvalid("LMTP_LISTEN: write 127.0.0.1:8024 or the path of a socket, /run/support/lmtp")
    return Place(found["host"], int(found["port"]))


class LmtpIntake:
    """Listens for the shop's mail server. It asks for no password: only that server may reach it."""

    def __init__(self, database: Database, listen: str, desk: Desk, taken: Callable[[], None] = lambda: None) -> None:
        """Check the place at once; `taken` is called after each letter that was committed.

        Raises:
            LmtpListenInvalid: see `read_lmtp_listen`.
        """
        self._database = database
        self._place = read_lmtp_listen(listen)
        self._desk = desk
        self._taken = taken
        #: The port that is listened on, for whoever let the system choose one.
        self.port = self._place.port
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Take letters in until cancelled.

        Raises:
            OSError: the place is taken.
        """
        conversations = Conversations(lambda: _Conversation(self))
        server = await self._listen(conversations)
        self.listening.set()
        log.info("letters are taken in over LMTP at %s", self._place.socket or f"{self._place.host}:{self.port}")
        try:
            await asyncio.Event().wait()
        finally:
            await conversations.end(server)

    async def handle_DATA(self, server: LMTP, session: Session, envelope: Envelope) -> str:
        """Take a letter in, or ask the sender to come again; see `aiosmtpd`."""
        recipients = [str(address) for address in envelope.rcpt_tos]
        raw = stamped(session, envelope, recipients, "LMTP")
        try:
            await self._database.run(take_in, raw, recipients, self._desk, datetime.now(UTC))
        except Exception:
            # Whatever went wrong, the letter is still the sender's: it must not be lost and will be sent again.
            log.exception("a letter could not be taken in; its server will try again")
            return "451 4.3.0 Try again later"
        self._taken()
        return "250 2.0.0 Taken"

    async def _listen(self, conversations: Conversations) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if self._place.socket is None:
            server = await loop.create_server(conversations, self._place.host, self._place.port)
            self.port = server.sockets[0].getsockname()[1]
            return server
        await asyncio.to_thread(self._place.socket.parent.mkdir, parents=True, exist_ok=True)
        server = await loop.create_unix_server(conversations, self._place.socket)
        await asyncio.to_thread(self._place.socket.chmod, SOCKET_MODE)
        return server


class _Conversation(LMTP):
    """One LMTP conversation; a letter gets an answer for each of its recipients (RFC 2033 4.2)."""

    def __init__(self, intake: LmtpIntake) -> None:
        super().__init__(
            intake,
            data_size_limit=MAX_LETTER_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident="support",
            timeout=IDLE_TIMEOUT_S,
            loop=asyncio.get_running_loop(),
        )
        self._answers = 1

    async def smtp_DATA(self, arg: str) -> None:
        """See `aiosmtpd`, which answers a letter once."""
        self._answers = len(self.envelope.rcpt_tos) if self.envelope else 1
        try:
            await super().smtp_DATA(arg)
        finally:
            self._answers = 1

    async def push(self, status: str | bytes) -> None:
        """See `aiosmtpd`."""
        text = status.decode() if isinstance(status, bytes) else status
        times = 1 if text.startswith("354") else max(self._answers, 1)
        await super().push("\r\n".join([text] * times))
