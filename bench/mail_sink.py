"""A real SMTP server that takes every letter and remembers when: the far end of what the service sends."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email import message_from_bytes
from typing import cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.system.running import lasting_port


@dataclass(frozen=True)
class Taken:
    """A letter: when by the monotonic clock, its recipient, its Message-ID, its ticket ("" where it names none)."""

    at: float
    to: str
    message_id: str
    ticket: str


class MailSink:
    """Listens on loopback in a thread; `url` is for SMTP_URL."""

    def __init__(self) -> None:
        self.letters: list[Taken] = []
        self._server = Controller(self, hostname="127.0.0.1", port=lasting_port())
        self.url = f"smtp://127.0.0.1:{self._server.port}?starttls=off"

    def __enter__(self) -> MailSink:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """See aiosmtpd's handlers."""
        head = message_from_bytes(cast(bytes, envelope.content).partition(b"\r\n\r\n")[0])
        ticket = str(head["X-Handoff-Ticket"] or "")
        self.letters.append(Taken(time.monotonic(), envelope.rcpt_tos[0], str(head["Message-ID"]), ticket))
        return "250 2.0.0 Taken"
