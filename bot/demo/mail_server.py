"""The demo's mail server: letters to the shop are taken in, all others go to the mailboxes of the demo."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable

from aiosmtpd.smtp import SMTP, Envelope, Session

from bot.demo.mailboxes import Mailboxes
from handoff.mail.receiving import Conversations, stamped

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
        conversations = Conversations(self._conversation)
        server = await self._loop.create_server(conversations, sock=listening)
        ready.set()
        await self._stopping.wait()
        await conversations.end(server)

    def _conversation(self) -> SMTP:
        return SMTP(
            self._delivery,
            data_size_limit=MAX_LETTER_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident="demo mail server",
            timeout=IDLE_TIMEOUT_S,
            loop=self._loop,
        )


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
                self._take_in(stamped(session, envelope, to_support, "ESMTP"), to_support)
            for address in others:
                self._mailboxes.deliver(address, stamped(session, envelope, [address], "ESMTP"))
        except Exception:
            # Whatever went wrong, the letter is still the sender's: it must not be lost and will be sent again.
            log.exception("the demo's mail server could not take a letter in; its sender will try again")
            return "451 4.3.0 Try again later"
        return "250 2.0.0 Taken"

    def _is_support(self, address: str) -> bool:
        local, _, domain = address.lower().rpartition("@")
        return f"{local.partition('+')[0]}@{domain}" == self._support_address.lower()
