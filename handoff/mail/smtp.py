"""Hands one letter to a mail server, and knows at every moment whether the server may have it already."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from handoff.errors import HandoffError

#: One attempt, connecting included, up to the server's leave to send the text.
ATTEMPT_TIMEOUT_S = 60

#: RFC 5321 4.5.3.2.6: how long a server may think about a whole letter. Hanging up earlier makes letters arrive twice.
ANSWER_TIMEOUT_S = 600

GOODBYE_TIMEOUT_S = 2

#: RFC 5321 2.3.8 and 4.5.2: lines end with CR LF only, and a dot at the beginning of one gets another.
LINE_END = re.compile(rb"\r\n|\r|\n")
LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)


class SmtpUrlInvalid(HandoffError):
    """SMTP_URL cannot be used; the message says what to write."""


class ServerAway(Exception):
    """The mail server cannot be reached or does not let us in: no letter can leave now."""


class LetterNotTaken(Exception):
    """The server did not take this letter now; a later attempt may succeed."""


class LetterRefused(Exception):
    """The server will never take this letter."""


class AnswerLost(Exception):
    """The whole letter has left and no answer came: the server may have taken it or not."""


@dataclass(frozen=True)
class SmtpServer:
    """Where letters are handed in.

    `tls`: "implicit" from the first byte, "require" STARTTLS with a valid certificate, "auto" STARTTLS with any
    certificate if the server offers it, "off" never.
    """

    host: str
    port: int
    username: str | None
    password: str | None
    tls: Literal["implicit", "require", "auto", "off"]


def read_smtp_url(url: str) -> SmtpServer:
    """Read `smtp://user:pass@host:587?starttls=require|auto|off` or `smtps://user:pass@host`.

    Without `starttls` it is required when there is a password to protect.

    Raises:
        SmtpUrlInvalid: with what is wrong.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SmtpUrlInvalid(f"SMTP_URL: {error}") from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise SmtpUrlInvalid("SMTP_URL: write smtp://user:password@host:587?starttls=require or smtps://...")
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if (username is None) != (password is None):
        raise SmtpUrlInvalid("SMTP_URL: user and password go together")
    if parts.scheme == "smtps":
        return SmtpServer(parts.hostname, port or 465, username, password, "implicit")
    tls = parse_qs(parts.query).get("starttls", ["require" if username else "auto"])[0]
    if tls not in ("require", "auto", "off"):
        raise SmtpUrlInvalid(f"SMTP_URL: starttls={tls} is not known; write require, auto or off")
    return SmtpServer(parts.hostname, port or (587 if username else 25), username, password, tls)  # type: ignore[arg-type]


async def hand_in(
    server: SmtpServer, sender: str, recipient: str, raw: bytes, before_end: Callable[[], Awaitable[None]]
) -> None:
    """One attempt to hand a letter in.

    `before_end` is awaited when everything but the end of the letter has been sent. Until it returns, the server
    cannot have taken the letter; whatever it raises ends the attempt.

    Raises:
        ServerAway: nobody answers, or not to us.
        LetterNotTaken, LetterRefused: the server said no, or was gone before the letter's end.
        AnswerLost: the letter's end has left, and no answer came.
    """
    client = _client(server)
    try:
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                await _connect(client)
                protocol = await _open_letter(client, sender, recipient, raw)
                protocol.write(_as_sent(raw))
        except TimeoutError:
            raise LetterNotTaken(f"no answer in {ATTEMPT_TIMEOUT_S} s") from None
        except aiosmtplib.SMTPResponseException as error:
            raise _verdict(error.code, error.message) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise LetterNotTaken(str(error) or type(error).__name__) from error
        except ValueError as error:  # an address that SMTP cannot carry
            raise LetterRefused(str(error)) from error
        try:
            await before_end()
        except BaseException:
            client.close()  # in the middle of a letter a goodbye would be read as its text
            raise
        await _end_letter(protocol)
    finally:
        # The letter's fate is decided; a server that does not say goodbye changes nothing about it.
        with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
            await asyncio.wait_for(client.quit(), GOODBYE_TIMEOUT_S)
        client.close()


async def _connect(client: aiosmtplib.SMTP) -> None:
    try:
        await client.connect()
    except (aiosmtplib.SMTPException, OSError) as error:
        raise ServerAway(str(error) or type(error).__name__) from error


async def _open_letter(client: aiosmtplib.SMTP, sender: str, recipient: str, raw: bytes) -> SMTPProtocol:
    """Everything up to the server's leave to send the text."""
    await client.mail(sender, options=[f"SIZE={len(raw)}"] if client.supports_extension("size") else [])
    await client.rcpt(recipient)
    leave = await client.execute_command(b"DATA")
    if leave.code != aiosmtplib.SMTPStatus.start_input or client.protocol is None:
        raise _verdict(leave.code, leave.message)
    return client.protocol


def _as_sent(raw: bytes) -> bytes:
    """The letter as it travels, without the dot that ends it."""
    lines = LINE_END.sub(b"\r\n", raw).removesuffix(b"\r\n") + b"\r\n"
    return LEADING_DOT.sub(b"..", lines)


async def _end_letter(protocol: SMTPProtocol) -> None:
    """The dot that ends a letter, and the answer to it."""
    try:
        protocol.write(b".\r\n")
    except aiosmtplib.SMTPServerDisconnected as error:
        raise LetterNotTaken(f"{error} before the end of the letter") from error
    try:
        answer = await protocol.read_response(ANSWER_TIMEOUT_S)
    except (aiosmtplib.SMTPException, OSError) as error:
        raise AnswerLost(str(error) or type(error).__name__) from error
    if answer.code != aiosmtplib.SMTPStatus.completed:
        raise _verdict(answer.code, answer.message)


def _client(server: SmtpServer) -> aiosmtplib.SMTP:
    context = None
    if server.tls == "auto":
        # Any encryption beats none here: whoever can forge a certificate could also strip STARTTLS.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.username,
        password=server.password,
        use_tls=server.tls == "implicit",
        start_tls={"implicit": False, "require": True, "auto": None, "off": False}[server.tls],
        tls_context=context,
        timeout=ATTEMPT_TIMEOUT_S / 2,
    )


def _verdict(code: int, message: str) -> Exception:
    """What an answer of the server means for the letter (RFC 5321 4.2.1)."""
    said = f"{code} {message}"
    if code == 530:  # "authentication required" is about us, not about the letter (RFC 4954 6)
        return ServerAway(said)
    return LetterRefused(said) if 500 <= code < 600 else LetterNotTaken(said)
