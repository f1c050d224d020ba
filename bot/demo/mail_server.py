"""The demo's mail server: letters to the shop are taken in, all others go to the mailboxes of the demo."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime

from aiosmtpd.smtp import SMTP, Envelope, Session

from bot.demo.mailboxes import Mailboxes

log = logging.getLogger(__name__)

HOST = "127.0.0.1"

#: Announced to senders as SIZE (RFC 1870); a letter with a few photos from a phone stays below.
MAX_LETTER_BYTES = 30 * 1024 * 1024

#: How long a connection may say nothing, in seconds; RFC 5321 4.5.3.2.7 asks for five minutes.
IDLE_TIMEOUT_S = 300.0

TakeIn = Callable[[bytes, list[str]], None]


class DemoMailServer:
    """A real SMTP server on loopback, in a thread of its own. It relays nothing to the world."""

    def __init__(self, mailboxes: Mailboxes, support_address: str, take_in: TakeIn, port: int = 0) -> None:
        self.port = port
        self._delivery = _Delivery(mailboxes, support_address, take_in)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def start(self) -> None:
        """Listen; afterwards `port` is the real one.

        Raises:
            OSError: the port is taken.
        """
        listening = socket.create_server((HOST, self.port))
        self.port = listening.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._serve(listening, ready),), name="demo-mail", daemon=True
        )
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """Hang up and listen no more; a letter that is being taken in is finished first."""
        if self._thread and self._loop and self._stopping:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    async def _serve(self, listening: socket.socket, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        connections: set[_Connection] = set()
        server = await self._loop.create_server(lambda: _Connection(self._delivery, connections), sock=listening)
        ready.set()
        await self._stopping.wait()
        server.close()
        for connection in list(connections):
            connection.hang_up()
        # The transports close in the loop's next rounds; ended before, they would be reported as leaks.
        await asyncio.sleep(0)
        await server.wait_closed()


class _Connection(SMTP):
    """One SMTP conversation."""

    def __init__(self, delivery: _Delivery, open_ones: set[_Connection]) -> None:
        super().__init__(
            delivery,
            data_size_limit=MAX_LETTER_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident="demo mail server",
            timeout=IDLE_TIMEOUT_S,
            loop=asyncio.get_running_loop(),
        )
        self._open_ones = open_ones

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol.connection_made`."""
        self._open_ones.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol.connection_lost`."""
        self._open_ones.discard(self)
        super().connection_lost(error)

    def hang_up(self) -> None:
        """End the conversation without a word, as a server does that is switched off."""
        if self.transport:
            self.transport.close()


class _Delivery:
    """Where a letter goes; aiosmtpd calls these hooks."""

    def __init__(self, mailboxes: Mailboxes, support_address: str, take_in: TakeIn) -> None:
        self._mailboxes = mailboxes
        self._support_address = support_address
        self._take_in = take_in

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient that exists."""
        if not (self._is_support(address) or address in self._mailboxes):
            return "550 5.1.1 There is no such mailbox in the demo"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take a letter for all its recipients, or ask the sender to come again."""
        to_support = [address for address in envelope.rcpt_tos if self._is_support(address)]
        others = [address for address in envelope.rcpt_tos if not self._is_support(address)]
        try:
            if to_support:
                self._take_in(_stamped(session, envelope, to_support), to_support)
            for address in others:
                self._mailboxes.deliver(address, _stamped(session, envelope, [address]))
        except Exception:
            # Whatever went wrong, the letter is still the sender's: it must not be lost and will be sent again.
            log.exception("the demo's mail server could not take a letter in; its sender will try again")
            return "451 4.3.0 Try again later"
        return "250 2.0.0 Taken"

    def _is_support(self, address: str) -> bool:
        local, _, domain = address.lower().rpartition("@")
        return f"{local.partition('+')[0]}@{domain}" == self._support_address.lower()


def _stamped(session: Session, envelope: Envelope, recipients: list[str]) -> bytes:
    """The letter with what the last mail server on its way adds, and nothing else (RFC 5321 4.4)."""
    content = envelope.content if isinstance(envelope.content, bytes) else b""
    trace = [
        f"Return-Path: <{(envelope.mail_from or '').strip('<>')}>",
        *(f"Delivered-To: {address}" for address in recipients),
        f"Received: from {session.host_name or 'unknown'} ([{HOST}]) by localhost with ESMTP;"
        f"\r\n {format_datetime(datetime.now(UTC))}",
    ]
    return "".join(f"{line}\r\n" for line in trace).encode() + content
