"""Letters wait in the outbox until the mail server has taken them; this loop takes them there, each once.

What may happen at the worst moment is decided in docs/decisions/0014-letters-out-once.md.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, undefer

from handoff.database import Database
from handoff.log_lines import follow
from handoff.mail.reading import addresses, parse, storable
from handoff.mail.smtp import (
    ANSWER_TIMEOUT_S,
    ATTEMPT_TIMEOUT_S,
    AnswerLost,
    LetterNotTaken,
    LetterRefused,
    ServerAway,
    hand_in,
    read_smtp_url,
)
from handoff.metrics import LETTER_DELIVERY_SECONDS, LETTER_SEND_SECONDS, LETTERS_SENT
from handoff.models import LetterOut

log = logging.getLogger(__name__)

#: First wait after a failed delivery, each further one twice as long: a restarted server gets its mail at once, and
#: one that is away all night is still asked four times an hour.
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=15)

#: RFC 5321 4.5.4.1: a letter is given up after four to five days.
GIVE_UP_AFTER = timedelta(days=5)

#: A letter that is still being sent after so long was interrupted: before its end, or while the answer was awaited.
INTERRUPTED_AFTER = timedelta(seconds=2 * ATTEMPT_TIMEOUT_S)
UNANSWERED_AFTER = timedelta(seconds=ANSWER_TIMEOUT_S + ATTEMPT_TIMEOUT_S)

#: How often the outbox is looked at when nobody wakes us, and a database that is away is asked again.
LOOK_EVERY_S = 2.0

#: How long letters on their way may take when the service stops; it has ten seconds in all.
STOP_WITHIN_S = 4.0

#: Letters on their way at the same time.
AT_ONCE = 4

#: A server that was waited for until the end of the letter and not until its answer can be cut off this often.
MOST_UNANSWERED = 2

MAYBE_TWICE = "may have arrived twice: cut off while the mail server was taking it, and sent again"
MAYBE_ARRIVED = "may have arrived"


def wait_before(attempt: int) -> timedelta:
    """How long to wait before delivery number `attempt` (the second is the first that waits), without jitter."""
    return min(FIRST_WAIT * (1 << min(attempt - 2, 20)), LONGEST_WAIT) if attempt > 1 else timedelta()


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
        """Send letters until cancelled; nothing that happens to a letter, the server or the database ends it.

        Of several services one runs this (`bot.lease`).
        """
        if self._server is None:
            log.info("SMTP_URL is not set, letters wait in the outbox")
            return
        await self._after_restart()
        while True:
            try:
                more = await self._round()
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
        ids = await self._database.run(_due, now)
        results = await asyncio.gather(*(self._send(letter, now) for letter in ids), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            if not isinstance(failure, ServerAway):
                raise failure
        if failures:
            raise failures[0]
        self._failures = 0
        return bool(ids)

    async def _round(self) -> bool:
        """`send_due`; a stop lets letters on their way arrive first, or nobody would know whether they did."""
        sending = asyncio.ensure_future(self.send_due(datetime.now(UTC)))
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            with suppress(Exception):
                await asyncio.wait_for(sending, STOP_WITHIN_S)
            raise

    async def _send(self, letter_id: int, now: datetime) -> None:
        """One attempt for one letter: claimed in a transaction of its own, so that no other process sends it too."""
        letter = await self._database.run(_claim, letter_id, now)
        if letter is None or self._server is None:
            return
        follow(ticket=letter.ticket_number)

        async def before_end() -> None:
            await self._database.run(_note_end, letter, now)

        sender = addresses(parse(letter.raw), "From")[0]
        try:
            with LETTER_SEND_SECONDS.time():
                await hand_in(self._server, sender, letter.to_address, letter.raw, before_end)
        except LetterRefused as error:
            log.error("letter %s about %s is stuck: %s", letter.message_id, letter.about, error)
            await self._settle(letter, "refused", state="stuck", last_error=str(error))
        except AnswerLost as error:
            log.error("letter %s about %s may have arrived: %s", letter.message_id, letter.about, error)
            reason = f"{MAYBE_ARRIVED}: no answer to the whole letter ({error})"
            await self._settle(letter, "maybe sent", state="stuck", last_error=reason)
        except LetterNotTaken as error:
            log.warning("letter %s about %s waits: %s", letter.message_id, letter.about, error)
            await self._settle(letter, "later", **_again(letter, now), last_error=str(error))
        except ServerAway as error:
            # No attempt: the server was not there. The loop waits, the letter need not, and goes when it is back.
            waiting = {"state": "waiting", "attempts": letter.attempts, "not_before": now}
            await self._settle(letter, "server away", **waiting, last_error=str(error))
            raise
        else:
            log.info("letter %s about %s sent", letter.message_id, letter.about)
            twice = MAYBE_TWICE if letter.unanswered else None
            sent_at = datetime.now(UTC)
            await self._settle(letter, "sent", state="sent", sent_at=sent_at, last_error=twice)
            LETTER_DELIVERY_SECONDS.observe((sent_at - letter.created_at).total_seconds())

    async def _settle(self, letter: LetterOut, outcome: str, *, last_error: str | None, **fate: Any) -> None:
        """Write down what became of a letter. Only we know it, so a database that is away is waited for."""
        LETTERS_SENT.labels(outcome).inc()
        reason = storable(last_error) if last_error else None
        while True:
            try:
                return await self._database.run(_set, letter, **fate, last_error=reason, unanswered=letter.unanswered)
            except DBAPIError as error:
                log.warning("letter %s is %s, but the database is away: %s", letter.message_id, fate["state"], error)
                await asyncio.sleep(LOOK_EVERY_S)

    async def _after_restart(self) -> None:
        """Letters that a crash left half sent: nobody else can be sending them, so they go at once."""
        try:
            await self._database.run(
                lambda session: session.execute(
                    update(LetterOut).where(LetterOut.state == "sending").values(not_before=datetime.now(UTC))
                )
            )
        except DBAPIError:
            log.exception("half sent letters could not be looked for; they are tried again later")


def _due(session: Session, now: datetime) -> Sequence[int]:
    """Letters to try now, the longest waiting first; those that were interrupted among them."""
    return session.scalars(
        select(LetterOut.id)
        .where(LetterOut.state.in_(("waiting", "sending")), LetterOut.not_before <= now)
        .order_by(LetterOut.not_before, LetterOut.id)
        .limit(AT_ONCE)
    ).all()


def _claim(session: Session, letter_id: int, now: datetime) -> LetterOut | None:
    """Mark the letter as being sent; None when another process was faster, or when it was cut off too often.

    The letter is returned as it was before, so that an attempt that was none can be taken back.
    """
    letter = session.scalar(select(LetterOut).where(LetterOut.id == letter_id).options(undefer(LetterOut.raw)))
    if letter is None or letter.not_before > now or letter.state not in ("waiting", "sending"):
        return None
    if letter.state == "sending" and letter.unanswered >= MOST_UNANSWERED:
        letter.state = "stuck"
        letter.last_error = f"{MAYBE_ARRIVED}: cut off {letter.unanswered} times while the mail server was taking it"
        log.error("letter %s about %s is stuck: %s", letter.message_id, letter.about, letter.last_error)
        return None
    # Not a moment before `now`, or a slow round would find its own letters interrupted.
    taken = session.execute(
        update(LetterOut)
        .where(LetterOut.id == letter_id, LetterOut.state == letter.state, LetterOut.not_before == letter.not_before)
        .values(state="sending", attempts=letter.attempts + 1, not_before=now + INTERRUPTED_AFTER)
        .execution_options(synchronize_session=False)
    )
    return letter if isinstance(taken, CursorResult) and taken.rowcount == 1 else None


def _note_end(session: Session, letter: LetterOut, now: datetime) -> None:
    """The end of the letter leaves now: until the answer is known, it may have arrived."""
    _set(session, letter, unanswered=letter.unanswered + 1, not_before=now + UNANSWERED_AFTER)


def _set(session: Session, letter: LetterOut, /, **values: Any) -> None:
    session.execute(update(LetterOut).where(LetterOut.id == letter.id).values(**values))


def _again(letter: LetterOut, now: datetime) -> dict[str, Any]:
    """Back into the queue, a little later than computed, so that many letters do not come back as one crowd."""
    if now - letter.created_at > GIVE_UP_AFTER:
        return {"state": "stuck"}
    wait = wait_before(letter.attempts + 2) * random.uniform(1, 1.2)  # noqa: S311
    return {"state": "waiting", "not_before": now + wait}
