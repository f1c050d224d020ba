"""Letters wait in the outbox until the mail server has taken them; this loop takes them there."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
from sqlalchemy import select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, undefer

from handoff.database import Database
from handoff.errors import HandoffError
from handoff.mail.reading import addresses, parse
from handoff.models import LetterOut

log = logging.getLogger(__name__)

#: First wait after a failed delivery, each further one twice as long: a restarted server gets its mail at once, and
#: one that is away all night is still asked four times an hour.
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=15)

#: RFC 5321 4.5.4.1: a letter is given up after four to five days.
GIVE_UP_AFTER = timedelta(days=5)

#: One attempt, connecting included, and the time after which a letter that is still being sent was interrupted.
ATTEMPT_TIMEOUT_S = 60
GOODBYE_TIMEOUT_S = 2
INTERRUPTED_AFTER = timedelta(seconds=2 * ATTEMPT_TIMEOUT_S)

#: How often the outbox is looked at when nobody wakes us.
LOOK_EVERY_S = 2.0

#: Letters on their way at the same time.
AT_ONCE = 4

INTERRUPTED = "interrupted while sending"


class SmtpUrlInvalid(HandoffError):
    """SMTP_URL cannot be used; the message says what to write."""


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


def wait_before(attempt: int) -> timedelta:
    """How long to wait before delivery number `attempt` (the second is the first that waits), without jitter."""
    return min(FIRST_WAIT * (1 << min(attempt - 2, 20)), LONGEST_WAIT) if attempt > 1 else timedelta()


class ServerAway(Exception):
    """The mail server cannot be reached or does not let us in: no letter can leave now."""


class LetterNotTaken(Exception):
    """The server did not take this letter now; a later attempt may succeed."""


class LetterRefused(Exception):
    """The server will never take this letter."""


class LetterSender:
    """Sends what waits in `letter_out`; without a URL everything just waits."""

    def __init__(self, database: Database, smtp_url: str) -> None:
        """Check the URL at once.

        Raises:
            SmtpUrlInvalid: see `read_smtp_url`.
        """
        self._database = database
        self._server = read_smtp_url(smtp_url) if smtp_url else None
        self._awake = asyncio.Event()
        self._failures = 0

    def wake(self) -> None:
        """Look into the outbox now: a transaction that wrote letters was committed."""
        self._awake.set()

    async def run(self) -> None:
        """Send letters until cancelled; nothing that happens to a letter, the server or the database ends it."""
        if self._server is None:
            log.info("SMTP_URL is not set, letters wait in the outbox")
            return
        await self._after_restart()
        while True:
            try:
                more = await self.send_due(datetime.now(UTC))
                pause = 0.0 if more else LOOK_EVERY_S
            except ServerAway as error:
                self._failures += 1
                pause = min(wait_before(self._failures + 1), timedelta(minutes=1)).total_seconds()
                log.warning("the mail server is away (%s), next attempt in %.0f s", error, pause)
            except Exception:  # the loop must outlive a database that is away
                log.exception("letters could not be sent, next attempt in %.0f s", LOOK_EVERY_S)
                pause = LOOK_EVERY_S
            # Not `wait_for`: on Python 3.11 it loses a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause or 0.001):
                    await self._awake.wait()
                    self._awake.clear()

    async def send_due(self, now: datetime) -> bool:
        """One round: send the letters that are due, a few at the same time.

        Returns:
            Whether any letter left, so that there may be more.

        Raises:
            ServerAway: the server takes nothing at all now.
        """
        if self._server is None:
            return False
        ids = await self._database.run(lambda session: _due(session, now))
        results = await asyncio.gather(*(self._send(letter, now) for letter in ids), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            if not isinstance(failure, ServerAway):
                raise failure
        if failures:
            raise failures[0]
        self._failures = 0
        return bool(ids)

    async def _send(self, letter_id: int, now: datetime) -> None:
        """One attempt for one letter: claimed in a transaction of its own, so that no other process sends it too."""
        letter = await self._database.run(lambda session: _claim(session, letter_id, now))
        if letter is None:
            return
        try:
            await self._deliver(letter)
        except LetterRefused as error:
            reason = str(error)
            await self._database.run(lambda session: _stuck(session, letter_id, reason))
            log.error("letter %s about %s is stuck: %s", letter.message_id, letter.about, reason)
        except LetterNotTaken as error:
            reason = str(error)
            await self._database.run(lambda session: _again(session, letter_id, reason, now))
            log.warning("letter %s about %s waits: %s", letter.message_id, letter.about, reason)
        except ServerAway as error:
            reason = str(error)
            await self._database.run(lambda session: _put_back(session, letter_id, reason, now))
            raise
        else:
            await self._database.run(lambda session: _sent(session, letter_id, datetime.now(UTC)))
            log.info("letter %s about %s sent", letter.message_id, letter.about)

    async def _deliver(self, letter: LetterOut) -> None:
        assert self._server is not None  # noqa: S101  send_due checked it
        sender = addresses(parse(letter.raw), "From")[0]
        client = _client(self._server)
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                try:
                    await client.connect()
                except (aiosmtplib.SMTPException, OSError) as error:
                    raise ServerAway(str(error) or type(error).__name__) from error
                try:
                    await client.sendmail(sender, [letter.to_address], letter.raw)
                except aiosmtplib.SMTPRecipientsRefused as error:
                    refusal = error.recipients[0]
                    raise _verdict(refusal.code, refusal.message) from error
                except aiosmtplib.SMTPResponseException as error:
                    raise _verdict(error.code, error.message) from error
                except (aiosmtplib.SMTPException, OSError) as error:
                    raise LetterNotTaken(str(error) or type(error).__name__) from error
        except TimeoutError:
            raise LetterNotTaken(f"no answer in {ATTEMPT_TIMEOUT_S} s") from None
        finally:
            # The letter's fate is decided; a server that does not say goodbye changes nothing about it.
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await asyncio.wait_for(client.quit(), GOODBYE_TIMEOUT_S)
            client.close()

    async def _after_restart(self) -> None:
        """Letters that a crash left half sent: with SQLite nobody else can be sending them, so they go at once."""
        if self._database.engine.dialect.name != "sqlite":
            return
        try:
            await self._database.run(
                lambda session: session.execute(
                    update(LetterOut).where(LetterOut.state == "sending").values(not_before=datetime.now(UTC))
                )
            )
        except DBAPIError:
            log.exception("half sent letters could not be looked for; they are tried again later")


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


def _due(session: Session, now: datetime) -> Sequence[int]:
    """Letters to try now, the longest waiting first; those that were interrupted among them."""
    return session.scalars(
        select(LetterOut.id)
        .where(LetterOut.state.in_(("waiting", "sending")), LetterOut.not_before <= now)
        .order_by(LetterOut.not_before, LetterOut.id)
        .limit(AT_ONCE)
    ).all()


def _claim(session: Session, letter_id: int, now: datetime) -> LetterOut | None:
    """Mark the letter as being sent; None when another process was faster, or when it was interrupted twice."""
    letter = session.scalar(select(LetterOut).where(LetterOut.id == letter_id).options(undefer(LetterOut.raw)))
    if letter is None or letter.not_before > now or letter.state not in ("waiting", "sending"):
        return None
    interrupted = letter.state == "sending"
    if interrupted and letter.last_error == INTERRUPTED:
        _stuck(session, letter_id, "interrupted twice; it may have arrived")
        return None
    # Not a moment before `now`, or a slow round would find its own letters interrupted.
    taken = session.execute(
        update(LetterOut)
        .where(LetterOut.id == letter_id, LetterOut.state == letter.state, LetterOut.not_before == letter.not_before)
        .values(
            state="sending",
            attempts=letter.attempts + 1,
            not_before=now + INTERRUPTED_AFTER,
            last_error=INTERRUPTED if interrupted else letter.last_error,
        )
        .execution_options(synchronize_session=False)
    )
    return letter if isinstance(taken, CursorResult) and taken.rowcount == 1 else None


def _sent(session: Session, letter_id: int, now: datetime) -> None:
    session.execute(
        update(LetterOut).where(LetterOut.id == letter_id).values(state="sent", sent_at=now, last_error=None)
    )


def _stuck(session: Session, letter_id: int, reason: str) -> None:
    session.execute(update(LetterOut).where(LetterOut.id == letter_id).values(state="stuck", last_error=reason))


def _put_back(session: Session, letter_id: int, reason: str, now: datetime) -> None:
    """No attempt: the server was not there. The loop waits, the letter need not, and goes when the server is back."""
    session.execute(
        update(LetterOut)
        .where(LetterOut.id == letter_id)
        .values(state="waiting", attempts=LetterOut.attempts - 1, not_before=now, last_error=reason)
    )


def _again(session: Session, letter_id: int, reason: str, now: datetime) -> None:
    """Back into the queue, a little later than computed, so that many letters do not come back as one crowd."""
    letter = session.get_one(LetterOut, letter_id)
    if now - letter.created_at > GIVE_UP_AFTER:
        _stuck(session, letter_id, reason)
        return
    letter.state, letter.last_error = "waiting", reason
    letter.not_before = now + wait_before(letter.attempts + 1) * random.uniform(1, 1.2)  # noqa: S311
