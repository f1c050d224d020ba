"""A reply as a mail program writes it: to the right address, in the thread, the quoted letter below."""

from __future__ import annotations

import re
import smtplib
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from bot.demo.letters import Letter, correspondents, read_letter, safe_html, text_as_html

ALREADY_A_REPLY = re.compile(r"\s*(re|aw|sv|отв|ответ)\s*(\[\d+\])?\s*:", re.IGNORECASE)
MESSAGE_ID = re.compile(r"<[^<>\s]+>")
CYRILLIC = re.compile(r"[а-яё]", re.IGNORECASE)

#: A long thread would make a header no server takes; the first and the latest letters are enough (RFC 5537 3.4.4).
MAX_REFERENCES = 20


def compose_reply(
    letter: bytes,
    author: str,
    name: str,
    text: str,
    *,
    at: datetime | None = None,
    message_id: str | None = None,
) -> bytes:
    """Write the reply to a letter, plain text and HTML, in the form Gmail gives it.

    Args:
        letter: the letter that is answered.
        author: the answering person's address.
        name: the name shown with it.
        text: what the person wrote, without a quote.
        at: when; now if left out.
        message_id: with angle brackets; pass the same one again to send the same reply again.

    Raises:
        ValueError: the letter names nobody to answer.
    """
    original = read_letter(letter)
    recipients = correspondents(original)
    if not recipients:
        raise ValueError("the letter has neither Reply-To nor From")
    reply = EmailMessage(policy=policy.SMTP)
    reply["Date"] = format_datetime(at or datetime.now(UTC))
    reply["Message-ID"] = message_id or make_msgid(domain=author.rpartition("@")[2])
    reply["From"] = Address(name, addr_spec=author)
    reply["To"] = [Address(to, addr_spec=address) for to, address in recipients]
    reply["Subject"] = original.subject if ALREADY_A_REPLY.match(original.subject) else f"Re: {original.subject}"
    attribution = _attribution(original)
    reply.set_content(_plain(text, attribution, original))
    reply.add_alternative(_html(text, attribution, original), subtype="html")
    return _thread_headers(letter) + reply.as_bytes()


def send_letter(raw: bytes, host: str, port: int, timeout_s: float = 15) -> None:
    """Hand a letter to a mail server, as a mail program does.

    Raises:
        smtplib.SMTPException: the server does not take it.
        OSError: the server is away.
    """
    message = message_from_bytes(raw, policy=policy.default)
    recipients = [address.addr_spec for address in message["To"].addresses]
    with smtplib.SMTP(host, port, timeout=timeout_s) as server:
        server.sendmail(message["From"].addresses[0].addr_spec, recipients, raw)


def _thread_headers(letter: bytes) -> bytes:
    """In-Reply-To and References, written by hand: the email package would encode a long Message-ID (bpo-35805)."""
    original = message_from_bytes(letter, policy=policy.compat32)
    answered = MESSAGE_ID.findall(str(original.get("Message-ID", "")))[:1]
    if not answered:
        return b""
    thread = MESSAGE_ID.findall(str(original.get("References") or original.get("In-Reply-To") or ""))
    thread = [known for known in thread if known not in answered] + answered
    if len(thread) > MAX_REFERENCES:
        thread = thread[:1] + thread[-MAX_REFERENCES + 1 :]
    references = "\r\n ".join(thread)
    return f"In-Reply-To: {answered[0]}\r\nReferences: {references}\r\n".encode()


def _attribution(original: Letter) -> str:
    """The line above the quote, in the language of the quoted letter."""
    russian = bool(CYRILLIC.search(original.subject + original.text))
    if original.sent is None:
        return f"{original.sender} пишет:" if russian else f"{original.sender} wrote:"
    if russian:
        return f"{original.sent:%d.%m.%Y %H:%M}, {original.sender} пишет:"
    # The first 16 characters are like "Fri, 20 Nov 2026".
    return f"On {format_datetime(original.sent)[:16]} at {original.sent:%H:%M}, {original.sender} wrote:"


def _plain(text: str, attribution: str, original: Letter) -> str:
    quoted = [f">{line}" if line.startswith(">") else f"> {line}".rstrip() for line in original.text.splitlines()]
    return "\n".join([text.strip(), "", attribution, "", *quoted, ""])


def _html(text: str, attribution: str, original: Letter) -> str:
    # The pictures of the quoted letter stay behind, as they do in most mail programs.
    quoted = safe_html(original.html, lambda _: None).html if original.html else text_as_html(original.text)
    return (
        f'<div dir="ltr">{text_as_html(text.strip())}</div><br>'
        f'<div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">{text_as_html(attribution)}'
        '<br></div><blockquote class="gmail_quote" '
        'style="margin:0px 0px 0px 0.8ex;border-left:1px solid rgb(204,204,204);padding-left:1ex">'
        f"\n{quoted}\n</blockquote></div>\n"
    )
