"""The text of a letter that a person is shown: decoded whatever its label says, and without the quoted history."""

from __future__ import annotations

import re
from email.message import Message

from charset_normalizer import from_bytes
from inscriptis import get_text
from inscriptis.model.config import ParserConfig

#: Labels that programs put on anything; bytes above 127 under them are checked.
CATCH_ALL_CHARSETS = frozenset({"us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1", "windows-1252", "cp1252"})

#: Where the history begins. Each is looked for at the beginning of a line, quoted or not.
HISTORY = re.compile(
    r"""^[ \t>]*(?:
        ——[ ].*[ ]——                                                # our own "reply above this line"
      | -{2,}\s*(?:Original\ Message|Forwarded\ message|Исходное\ сообщение|Пересылаемое\ сообщение|Конец\ пересыл).*
      | _{20,}\s*$                                                # Outlook's rule
      | On\ [^\n]{5,200}(?:\n[^\n]{0,120})?\ wrote:\s*$
      | (?:[^\n]{0,200}(?:\d{1,2}[:.]\d{2}|\d{4}|@)[^\n]{0,200}\n)?[^\n]{0,200}\b(?:пишет|(?:на)?писал(?:а|\(а\))?):\s*$
      | [^\n]{0,200}<[^<>\s@]+@[^<>\s]+>:\s*$                       # Gmail, Yandex and Mail.ru in Russian
      | (?:From|От(?:\ кого)?):\ [^\n]+\n[ \t>]*(?:Sent|Date|To|Отправлено|Дата|Кому|Subject|Тема):\ [^\n]+
    )""",
    re.MULTILINE | re.VERBOSE | re.IGNORECASE,
)

#: RFC 3676 4.3; some programs drop the blank at the end.
SIGNATURE = re.compile(r"^-- ?$", re.MULTILINE)

#: An attribution names a moment or an address; a sentence that merely ends with "she wrote:" does not.
ATTRIBUTION_EVIDENCE = re.compile(r"\d{1,2}[:.]\d{2}|\d{4}|@")

PLAIN_LAYOUT = ParserConfig(display_links=False, display_images=False)


def visible_text(message: Message) -> str:
    """What its writer has written in this letter."""
    part = body_part(message)
    if part is None:
        return ""
    text = decoded_text(part)
    if part.get_content_type() == "text/html":
        text = get_text(text, PLAIN_LAYOUT) if text.strip() else ""
    return without_history(text)


def body_part(message: Message) -> Message | None:
    """The part that holds the text: plain before HTML, unless the plain one is empty."""
    candidates = [
        part
        for part in message.walk()
        if part.get_content_type() in ("text/plain", "text/html")
        and part.get_content_disposition() != "attachment"
        and part.get_filename() is None
    ]
    plain = [part for part in candidates if part.get_content_type() == "text/plain" and decoded_text(part).strip()]
    html = [part for part in candidates if part.get_content_type() == "text/html"]
    return next(iter([*plain, *html]), None)


def decoded_text(part: Message) -> str:
    """The part's text; a wrong or unknown charset label is corrected as far as the bytes allow."""
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    label = (part.get_content_charset() or "us-ascii").lower()
    try:
        text = content.decode(label)
    except (LookupError, UnicodeError):
        return _guessed(content)
    if label in CATCH_ALL_CHARSETS and _looks_like_cyrillic(text):
        return _guessed(content)
    return text


def without_history(text: str) -> str:
    """The text down to where the quoted history or the signature begins; what is unquoted if nothing stands above."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ")
    new = text
    for found in HISTORY.finditer(text):
        said = found.group()
        if not said.rstrip().endswith(":") or ATTRIBUTION_EVIDENCE.search(said):
            new = text[: found.start()]
            break
    signature = SIGNATURE.search(new)
    if signature:
        new = new[: signature.start()]
    lines = [line.rstrip() for line in new.split("\n")]
    while lines and (not lines[-1] or lines[-1].lstrip().startswith(">")):
        lines.pop()
    if not any(lines) and re.search(r"^\s*>", text, re.MULTILINE):
        # Answered below the quotation, as people on mailing lists do.
        below = re.sub(r"^\s*>.*\n?", "", HISTORY.sub("", text), flags=re.MULTILINE)
        lines = [line.rstrip() for line in SIGNATURE.split(below)[0].split("\n")]
    return "\n".join(lines).strip()


def _guessed(content: bytes) -> str:
    """Text of unknown charset: UTF-8 if it is, else the likeliest of what Russian and English mail is written in."""
    try:
        return content.decode()
    except UnicodeError:
        best = from_bytes(content, cp_isolation=["cp1251", "koi8_r", "cp866", "cp1252", "utf_16"]).best()
        return str(best) if best else content.decode("cp1251", errors="replace")


def _looks_like_cyrillic(text: str) -> bool:
    """Whether Western letters are so many that they must be Cyrillic ones read with the wrong table."""
    letters = [character for character in text if character.isalpha()]
    western = sum(1 for character in letters if "À" <= character <= "ÿ")
    return western > len(letters) / 2
