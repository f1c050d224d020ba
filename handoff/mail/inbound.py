"""Judges every letter that comes in, in one order of questions, and files it where it belongs or in quarantine.

A letter is never dropped and never believed: a ticket is found by an address that we signed, its author by the side
that this address was given to. A letter that our mail server knows to be forged, and everything else, waits for a
person, with the reason (docs/decisions/0005-signed-reply-addresses.md).
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from datetime import datetime
from email.message import Message
from email.parser import BytesHeaderParser

from flufl.bounce import all_failures
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from handoff.bounces import Report, note_bounce
from handoff.database import when_stored
from handoff.desk import Desk
from handoff.letter_tickets import LETTER_CHANNEL, LETTER_TOPIC, open_ticket_by_letter
from handoff.letters_filed import file_agent_letter, file_customer_letter
from handoff.mail.compose import MESSAGE_ID
from handoff.mail.judging import NOT_AUTHENTICATED, Filing, judge
from handoff.mail.reading import (
    LetterUnreadable,
    ReadLetter,
    addresses,
    dedupe_key,
    header,
    own_id,
    read_letter,
    storable,
)
from handoff.metrics import LETTERS_RECEIVED, TICKETS
from handoff.models import LetterIn, LetterOut

log = logging.getLogger(__name__)

#: More than any mail server we know passes on; the stdlib's parser needs ten times a letter's size in memory.
MAX_LETTER_BYTES = 25 * 1024 * 1024

#: What is kept of a letter that is too large.
KEPT_OF_LARGE_BYTES = 64 * 1024

TOO_LARGE = "too large"

MACHINE_SUBJECT = re.compile(
    r"^\W*(автоответ|автоматический ответ|out of office|automatic reply|auto-?reply)", re.IGNORECASE
)
MACHINE_SENDER = re.compile(r"^(mailer-daemon|postmaster|no-?reply|do-?not-?reply)\b", re.IGNORECASE)
BOUNCE_SENDER = re.compile(r"^(mailer-daemon|postmaster)\b", re.IGNORECASE)

#: The part of a delivery report that says why (RFC 3464 2.3).
DIAGNOSIS = re.compile(r"^Diagnostic-Code:\s*(?:smtp;\s*)?(.+(?:\n[ \t].+)*)", re.IGNORECASE | re.MULTILINE)
STATUS = re.compile(r"^Status:\s*([245])\.\d+\.\d+", re.IGNORECASE | re.MULTILINE)
#: What the reporting server did: it failed, or it only is delayed and goes on trying.
ACTION = re.compile(r"^Action:\s*(\w+)", re.IGNORECASE | re.MULTILINE)


def take_in(session: Session, raw: bytes, recipients: list[str], desk: Desk, now: datetime) -> LetterIn:
    """Judge a letter and do what follows from it. Never raises for anything that is in the letter.

    `recipients` are those of the envelope, as far as they are known; the letter's own headers are looked at as well.
    """
    if len(raw) > MAX_LETTER_BYTES:
        return quarantine_large(session, raw[:KEPT_OF_LARGE_BYTES], len(raw), recipients, now)
    return _counted(session, _filed(session, raw, recipients, desk, now))


def quarantine_large(session: Session, head: bytes, size: int, recipients: list[str], now: datetime) -> LetterIn:
    """Keep the beginning of a letter of `size` bytes that is too large to be taken in."""
    return _counted(session, _quarantine_unread(session, head, recipients, f"{TOO_LARGE}: {size} bytes", now))


def _counted(session: Session, letter: LetterIn) -> LetterIn:
    def tell() -> None:
        LETTERS_RECEIVED.labels(letter.outcome).inc()
        if letter.outcome == "new":
            TICKETS.labels(LETTER_TOPIC, LETTER_CHANNEL).inc()
        log.info("letter taken in %s is %s, ticket %s", letter.id, letter.outcome, letter.ticket_number)

    when_stored(session, tell)
    return letter


def _filed(session: Session, raw: bytes, recipients: list[str], desk: Desk, now: datetime) -> LetterIn:
    try:
        with session.begin_nested():
            return _take_in(session, raw, recipients, desk, now)
    except OperationalError:
        raise  # the database's trouble, not the letter's: it is taken in when the database is back
    except LetterUnreadable as error:
        reason = f"cannot be read: {error}"
    except Exception as error:  # one poisonous letter must not hold up the mailbox
        reason = f"cannot be read: {type(error).__name__}"
        log.warning("a letter of %d bytes is quarantined", len(raw), exc_info=True)
    return _quarantine_unread(session, raw, recipients, reason, now)


def _take_in(session: Session, raw: bytes, recipients: list[str], desk: Desk, now: datetime) -> LetterIn:
    read = read_letter(raw)
    key = dedupe_key(read.message)
    known = session.scalar(select(LetterIn).where(LetterIn.dedupe_key == key))
    if known is not None:
        return _keep_duplicate(session, known, raw, recipients, read, now)
    machine = _machine(read.message)
    if _is_ours(session, read.message, desk):
        filing = Filing("ignored", "our own letter")
    elif _is_bounce(read.message):
        filing = Filing("bounce", "delivery report about no letter of ours")
    elif machine:
        filing = Filing("ignored", machine)
    else:
        filing = judge(session, read, recipients, desk)
    letter = _keep(session, key, raw, recipients, now, filing, read)
    if filing.outcome == "bounce":
        _file_bounce(session, read.message, letter, desk, now)
    elif filing.outcome == "new":
        open_ticket_by_letter(session, letter, read, filing.customer_id, desk, now)
    elif filing.outcome == "threaded" and filing.ticket is not None:
        if filing.author == "agent":
            file_agent_letter(session, filing.ticket, letter, read, desk, now)
        else:
            proves = filing.reason != NOT_AUTHENTICATED
            file_customer_letter(session, filing.ticket, letter, read, desk, now, proves_mailbox=proves)
    return letter


def _is_ours(session: Session, message: Message, desk: Desk) -> bool:
    """Whether one of our own letters came back to us."""
    if "X-Handoff-Ticket" in message and desk.support_address.casefold() in map(
        str.casefold, addresses(message, "From")
    ):
        return True
    name = own_id(message)
    return name is not None and session.scalar(select(LetterOut.id).where(LetterOut.message_id == name)) is not None


def _is_bounce(message: Message) -> bool:
    if message.get_content_type() == "multipart/report":
        return str(message.get_param("report-type", "")).lower() == "delivery-status"
    sender = next(iter(addresses(message, "From")), "")
    if BOUNCE_SENDER.match(sender):
        return True
    # Out-of-office programs use the empty sender as well, but say what they are.
    is_reply = header(message, "Auto-Submitted").lower().startswith("auto-replied")
    return header(message, "Return-Path") == "<>" and not is_reply


def _machine(message: Message) -> str:
    """Why the letter was written by a machine, "" when a person may have written it."""
    submitted = re.sub(r"\(.*?\)|;.*", "", header(message, "Auto-Submitted")).strip().lower()
    if submitted not in ("", "no"):
        return f"automatic: Auto-Submitted {submitted[:40]}"
    if message.get_content_type() == "multipart/report":
        return "automatic: a report"
    precedence = header(message, "Precedence").lower()
    if precedence in ("bulk", "junk", "list", "auto_reply"):
        return f"automatic: Precedence {precedence}"
    for name in ("X-Autoreply", "X-Autorespond", "X-Autoresponder", "List-Id"):
        if name in message:
            return f"automatic: {name}"
    if MACHINE_SENDER.match(next(iter(addresses(message, "From")), "")):
        return "automatic: nobody reads that sender's mail"
    return "automatic: subject" if MACHINE_SUBJECT.match(header(message, "Subject")) else ""


def _file_bounce(session: Session, message: Message, letter: LetterIn, desk: Desk, now: datetime) -> None:
    """Believe a report only if it names a letter that we sent: anybody can write a report."""
    text = "\n".join(_report_parts(message))
    sent = None
    for name in MESSAGE_ID.findall(text):
        sent = session.scalar(select(LetterOut).where(LetterOut.message_id == name))
        if sent is not None:
            break
    if sent is None:
        return
    letter.ticket_number = sent.ticket_number
    status, said, action = STATUS.search(text), DIAGNOSIS.search(text), ACTION.search(text)
    _, for_good = all_failures(message)
    permanent = status[1] == "5" if status else bool(for_good)
    given_up = action[1].lower() == "failed" if action else permanent
    diagnosis = " ".join(said[1].split())[:500] if said else ""
    letter.reason = f"delivery report: {diagnosis or ('permanent' if permanent else 'temporary')}"
    note_bounce(session, sent, Report(diagnosis, permanent, given_up), letter, desk, now)


def _report_parts(message: Message) -> list[str]:
    """A report's own words and the headers of the letter it is about, as text."""
    texts = [str(message.get("In-Reply-To", "")), str(message.get("References", ""))]
    for part in message.walk():
        if part is not message:
            texts.append("\n".join(f"{name}: {value}" for name, value in part.items()))
        content = None if part.is_multipart() else part.get_payload(decode=True)
        if isinstance(content, bytes) and part.get_content_maintype() in ("text", "message"):
            texts.append(content[:KEPT_OF_LARGE_BYTES].decode(errors="replace"))
    return [storable(text) for text in texts]


def _keep(
    session: Session, key: str, raw: bytes, recipients: list[str], now: datetime, filing: Filing, read: ReadLetter
) -> LetterIn:
    """Store the letter with what was decided about it."""
    letter = LetterIn(
        dedupe_key=key,
        message_id=read.message_id,
        received_at=now,
        outcome=filing.outcome,
        reason=filing.reason,
        ticket_number=filing.ticket.number if filing.ticket else None,
        author=filing.author,
        from_address=read.from_address,
        recipients=recipients,
        raw=raw,
        # An agent's text goes on to the customer: no quoted line may be in it.
        text=read.text if filing.author == "agent" else read.shown,
        attachments=len(read.attachments),
    )
    session.add(letter)
    session.flush()
    return letter


def _keep_duplicate(
    session: Session, known: LetterIn, raw: bytes, recipients: list[str], read: ReadLetter, now: datetime
) -> LetterIn:
    filing = Filing("duplicate", f"the same as letter {known.id}", author=known.author)
    letter = _keep(session, f"copy:{secrets.token_hex(16)}", raw, recipients, now, filing, read)
    letter.ticket_number = known.ticket_number
    return letter


def _quarantine_unread(session: Session, raw: bytes, recipients: list[str], reason: str, now: datetime) -> LetterIn:
    """Keep a letter of which at most the headers can be read; the same bytes again are a duplicate."""
    key = f"raw:{hashlib.sha256(raw).hexdigest()}"
    known = session.scalar(select(LetterIn).where(LetterIn.dedupe_key == key))
    head = BytesHeaderParser().parsebytes(raw[:KEPT_OF_LARGE_BYTES])
    letter = LetterIn(
        dedupe_key=f"copy:{secrets.token_hex(16)}" if known else key,
        message_id=own_id(head),
        received_at=now,
        outcome="duplicate" if known else "quarantined",
        reason=f"the same as letter {known.id}" if known else reason,
        from_address=next(iter(addresses(head, "From")), ""),
        recipients=recipients,
        raw=raw,
    )
    session.add(letter)
    session.flush()
    return letter
