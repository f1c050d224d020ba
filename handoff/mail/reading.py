"""Takes a raw letter apart without trusting anything in it."""

from __future__ import annotations

import email
import hashlib
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses

from handoff.errors import HandoffError
from handoff.mail.compose import MESSAGE_ID, Attachment, one_line
from handoff.mail.parts import files, has_winmail, open_winmail
from handoff.mail.visible_text import read_text

#: Real letters have a handful of parts; a thousand is an attack on whoever walks through them.
MAX_PARTS = 200

#: 25 MB in base64 are 350,000 lines. Each line and each part costs the parser many times its size in memory, so they
#: are counted before.
MAX_LINES = 500_000
MAX_BOUNDARIES = 10_000


class LetterUnreadable(HandoffError):
    """The raw letter cannot be taken apart; it is kept for a person as it is."""


@dataclass(frozen=True)
class ReadLetter:
    """What a letter says, as far as it could be read.

    `text` are the writer's own words and may be passed on to the other side; `shown` is what an agent or operator sees,
    which may hold quoted lines (see `visible_text.Written`).
    """

    message: Message
    message_id: str | None
    from_address: str
    recipients: list[str]
    references: list[str]
    text: str
    shown: str
    attachments: tuple[Attachment, ...]


def parse(raw: bytes) -> Message:
    """The letter's parts.

    Raises:
        LetterUnreadable: nested too deeply, too many parts or lines.
    """
    for limit, sign, name in ((MAX_LINES, b"\n", "lines"), (MAX_BOUNDARIES, b"\n--", "lines that may begin a part")):
        if (count := raw.count(sign)) > limit:
            raise LetterUnreadable(f"{count} {name}")
    try:
        message = email.message_from_bytes(raw)
        parts = sum(1 for _ in message.walk())
    except RecursionError:
        raise LetterUnreadable("nested too deeply") from None
    if parts > MAX_PARTS:
        raise LetterUnreadable(f"{parts} parts")
    return message


def read_letter(raw: bytes) -> ReadLetter:
    """Everything we want to know about a letter.

    Raises:
        LetterUnreadable: see `parse`.
    """
    message = parse(raw)
    senders = addresses(message, "From")
    body = message
    if has_winmail(message):
        body = parse(raw)  # a second one: what a letter is recognised by stays as it came
        open_winmail(body)
    written = read_text(body, header(message, "Subject"))
    return ReadLetter(
        message=message,
        message_id=own_id(message),
        # Two senders are no sender: nobody could say whose letter it is.
        from_address=senders[0] if len(senders) == 1 else "",
        recipients=[
            address for name in ("Delivered-To", "X-Original-To", "To", "Cc") for address in addresses(message, name)
        ],
        references=_references(message),
        text=storable(written.own),
        shown=storable(written.shown),
        attachments=tuple(files(body, written.unshown_pictures)),
    )


def header(message: Message, name: str) -> str:
    """A header decoded into one line, "" when there is none; damaged ones as far as they can be read."""
    value = message.get(name)
    if value is None:
        return ""
    try:
        decoded = str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        decoded = str(value)
    return one_line(storable(decoded), 2000)


def addresses(message: Message, name: str) -> list[str]:
    """The bare addresses in a header, in order."""
    values = [storable(str(value)) for value in message.get_all(name, [])]
    return [address for _, address in getaddresses(values) if "@" in address]


def own_id(message: Message) -> str | None:
    """The letter's Message-ID with its angle brackets, None when there is none to speak of."""
    return one_line(storable(str(message.get("Message-ID", ""))), 400) or None


def dedupe_key(message: Message) -> str:
    """The same for every copy of a letter, however often and by whichever way it comes.

    Made of the Message-ID (without one, of sender and date) and of what the parts hold. Servers on the way add headers
    and encode parts anew, and a program that sends again may draw new boundaries: none of that makes another letter.
    """
    digest = hashlib.sha256((own_id(message) or f"{header(message, 'From')}|{header(message, 'Date')}").encode())
    for part in message.walk():
        if not part.is_multipart():
            content = part.get_payload(decode=True)
            held = content.replace(b"\r\n", b"\n").strip() if isinstance(content, bytes) else b""
            digest.update(b"\0" + hashlib.sha256(held).digest())
    return digest.hexdigest()


def storable(text: str) -> str:
    """Text that every database takes: no NUL, no halves of surrogate pairs."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _references(message: Message) -> list[str]:
    """Ids of earlier letters, the most telling first: In-Reply-To, then References from the newest."""
    replied = MESSAGE_ID.findall(str(message.get("In-Reply-To", "")))
    return list(dict.fromkeys([*replied, *reversed(MESSAGE_ID.findall(str(message.get("References", ""))))]))
