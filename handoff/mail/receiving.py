"""What every server of ours that takes letters shares: hanging up when told to, and the marks of the last server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, Envelope, Session


class Conversations:
    """Makes a conversation for each connection, and can end them all."""

    def __init__(self, make: Callable[[], SMTP]) -> None:
        self._make = make
        self._open: WeakSet[SMTP] = WeakSet()

    def __call__(self) -> SMTP:
        """See `asyncio.loop.create_server`: the protocol of a new connection."""
        conversation = self._make()
        self._open.add(conversation)
        return conversation

    async def end(self, server: asyncio.Server) -> None:
        """Listen no more and hang up without a word, as a server does that is switched off."""
        server.close()
        for conversation in list(self._open):
            if conversation.transport:
                conversation.transport.close()
        # The transports close in the loop's next rounds; ended before, they would be reported as leaks.
        await asyncio.sleep(0)
        await server.wait_closed()


def stamped(session: Session, envelope: Envelope, recipients: list[str], protocol: str) -> bytes:
    """The letter with what the last mail server on its way adds, and nothing else (RFC 5321 4.4)."""
    content = envelope.content if isinstance(envelope.content, bytes) else b""
    came_from = f" ([{session.peer[0]}])" if isinstance(session.peer, tuple) else ""
    trace = [
        f"Return-Path: <{(envelope.mail_from or '').strip('<>')}>",
        *(f"Delivered-To: {address}" for address in recipients),
        f"Received: from {session.host_name or 'unknown'}{came_from} by localhost with {protocol};"
        f"\r\n {format_datetime(datetime.now(UTC))}",
    ]
    return "".join(f"{line}\r\n" for line in trace).encode() + content
