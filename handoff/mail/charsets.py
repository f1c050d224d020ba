"""The text of one part of a letter, whatever its labels say: transfer encoding, charset, flowed lines."""

from __future__ import annotations

import base64
import codecs
import re
from copy import copy
from email.message import Message
from itertools import islice, takewhile
from math import log

#: Nobody writes so much by hand; what is beyond stays in the letter itself.
MAX_BYTES = 2_000_000

#: Labels whose text cannot be told from single bytes; they are believed. ISO-2022 and UTF-7 look like ASCII.
MULTIBYTE = re.compile(r"utf-?(7|16|32)|iso-?2022|gb|big5|euc|shift|hz", re.IGNORECASE)

#: Under these labels programs write cp1252, as browsers know (WHATWG Encoding 4.2).
LATIN = re.compile(r"(us-)?ascii|iso-?8859-?1|latin-?1", re.IGNORECASE)

#: What Russian mail was written in before UTF-8, likeliest first.
CYRILLIC = ("cp1251", "koi8-r", "cp866", "iso8859-5")

#: How often a letter comes in Russian, in per cent (Lyashevskaya and Sharov's frequency dictionary, 2009, rounded).
PER_CENT = {
    "о": 11.0, "е": 8.5, "а": 8.0, "и": 7.4, "н": 6.7, "т": 6.3, "с": 5.5, "р": 4.7, "в": 4.5, "л": 4.4, "к": 3.5,
    "м": 3.2, "д": 3.0, "п": 2.8, "у": 2.6, "я": 2.0, "ы": 1.9, "ь": 1.7, "г": 1.7, "з": 1.6, "б": 1.6, "ч": 1.4,
    "й": 1.2, "х": 1.0, "ж": 0.9, "ш": 0.7, "ю": 0.6, "ц": 0.5, "щ": 0.4, "э": 0.3, "ф": 0.3, "ъ": 0.04, "ё": 0.04,
}  # fmt: skip

#: Signs that are at home in Russian text; any other beyond ASCII tells of the wrong table.
RUSSIAN_SIGNS = frozenset("«»—–№…€“”„’\xa0")

#: Enough of a letter to know its alphabet.
SAMPLE_WORDS = 400

#: How much likelier another table must be than the one that the label names.
TRUST_IN_LABELS = 0.3

BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+={0,2}\s*")

#: Joiners, direction marks and other signs that nobody sees: they hide words from people or from our rules.
INVISIBLE = re.compile(
    "[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\x00-\x08\x0b\x0c\x0e-\x1f]"
)


def part_text(part: Message) -> str:
    """The part's text without carriage returns and invisible signs; "" for a part that holds other parts."""
    if part.is_multipart():
        return ""
    text = decoded(part_bytes(part)[:MAX_BYTES], part.get_content_charset() or "")
    text = INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if part.get_content_type() == "text/plain" and str(part.get_param("format", "")).lower() == "flowed":
        return unflowed(text, delete_space=str(part.get_param("delsp", "")).lower() == "yes")
    return text


def part_bytes(part: Message) -> bytes:
    """The part's content; of broken base64 what can be read, and of text that is only labelled base64 the text."""
    encoded = str(part.get("Content-Transfer-Encoding", "")).strip().lower() == "base64"
    if encoded:
        part = copy(part)
        del part["Content-Transfer-Encoding"]
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return b""
    return _from_base64(content) if encoded else content


def decoded(content: bytes, label: str) -> str:
    """Bytes as text; a wrong or unknown label is corrected as far as the bytes allow."""
    if MULTIBYTE.match(label) or content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode(label if MULTIBYTE.match(label) else "utf-16")
        except (LookupError, ValueError):
            pass
    text = content.decode("utf-8", "replace")
    # Other encodings hardly ever happen to be valid UTF-8; one that was cut or damaged on its way is still UTF-8.
    if text.count("\ufffd") * 10 <= sum(character > "\x7f" for character in text):
        return text
    try:
        labelled = content.decode("cp1252" if LATIN.fullmatch(label) else label)
    except (LookupError, ValueError):
        labelled = ""
    table = max(CYRILLIC, key=lambda name: likeliness(content.decode(name, "replace")))
    russian = content.decode(table, "replace")
    if likeliness(russian) > max(0.0, likeliness(labelled) + TRUST_IN_LABELS):
        return russian
    return labelled or content.decode("cp1252", "replace")


def likeliness(text: str) -> float:
    """How well what the text or HTML holds beyond ASCII reads as Russian: above 0 it may be, far below it is not."""
    score, count = 0.0, 0
    words = re.sub("<[^<>]*>", " ", text).split()
    for word in islice((word[:50] for word in words if not word.isascii()), SAMPLE_WORDS):
        letters = re.sub(r"[\W\d_]", "", word)
        regular = letters.islower() or letters.istitle() or letters.isupper()
        mixed = any(letter.isascii() for letter in letters)  # "cafй": an accented letter read with our table
        for sign in (sign for sign in word.lower() if not sign.isascii()):
            count += 1
            score += -3.0 if sign not in PER_CENT and sign not in RUSSIAN_SIGNS else log(PER_CENT.get(sign, 1.0))
            score -= (0.0 if regular else 2.0) + (4.0 if mixed else 0.0)
    return score / count if count else -3.0


def unflowed(text: str, delete_space: bool) -> str:
    """Lines that a program broke by itself put together again (RFC 3676 4), each depth of quotation for itself."""
    lines: list[str] = []
    open_depth: int | None = None
    for line in text.split("\n"):
        unquoted = line.lstrip(">")
        depth = len(line) - len(unquoted)
        unquoted = unquoted.removeprefix(" ")  # stuffed, 4.4
        flows = unquoted.endswith(" ") and unquoted != "-- "
        kept = unquoted[:-1] if flows and delete_space else unquoted
        if open_depth == depth and unquoted != "-- ":
            lines[-1] += kept
        else:
            lines.append(">" * depth + (" " if depth else "") + kept)
        open_depth = depth if flows else None
    return "\n".join(lines)


def _from_base64(payload: bytes) -> bytes:
    """Decode the lines that are base64; what follows them was added on the way by a program that did not look."""
    encoded = payload
    if not BASE64.fullmatch(payload):
        lines = (line.strip() for line in payload.splitlines())
        encoded = b"".join(takewhile(lambda line: not line or BASE64.fullmatch(line), lines))
    encoded = encoded.translate(None, b" \t\r\n\f\v=")
    if not encoded:
        return payload  # not base64 at all
    if len(encoded) % 4 == 1:  # a single letter holds no byte
        encoded = encoded[:-1]
    return base64.b64decode(encoded + b"=" * (-len(encoded) % 4))
