"""The words of a letter's writer: without the quoted history, signatures and what companies add.

Only for showing and passing on; the letter itself is kept as it came. A rule that is not sure leaves the words alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from itertools import groupby

from handoff.mail.charsets import part_text
from handoff.mail.history import kinds_of, next_line
from handoff.mail.html_text import HISTORY_MARK, PICTURE, html_text
from handoff.mail.parts import content_id, file_name, html_parts, pictures, text_parts
from handoff.mail.quotes import (
    BANNER,
    CLOSING,
    DISCLAIMER,
    DISCLAIMER_WORD,
    FIELD,
    FORWARD,
    FORWARD_SUBJECT,
    MARKER,
    PROGRAM_LINE,
    SEPARATOR,
    is_short,
    is_signature_line,
)

#: Nobody writes so much by hand, and no history is so long; the rest stays in the letter itself.
MAX_CHARACTERS = 500_000

#: Lines of a quotation that are shown above the answer that was written between them.
CONTEXT_LINES = 3

PGP_SIGNED = re.compile(
    r"^-----BEGIN PGP SIGNED MESSAGE-----\n(?:Hash:[^\n]*\n)*\n(?P<text>.*?)\n-----BEGIN PGP SIGNATURE-----",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Written:
    """What a letter says.

    `own` holds only the writer's words and never a quoted line, so it may be passed on to the other side. `shown` is
    for a person who may read everything: answers written into a quotation stand below the lines they answer, a
    forwarded letter stays, and a letter with no words of its own is there as a whole. `unshown_pictures` are the
    Content-IDs of pictures that belong to the history or to a signature.
    """

    own: str
    shown: str
    unshown_pictures: frozenset[str]


def read_text(message: Message, subject: str = "") -> Written:
    """What the writer of this letter has written."""
    whole = _whole_text(message)
    own, shown = _separated(whole)
    if not own or FORWARD_SUBJECT.match(subject) or any(FORWARD.fullmatch(line) for line in whole.split("\n")):
        shown = _tidy([line.rstrip() for line in whole.replace(HISTORY_MARK, "").split("\n")])
    names = {content_id(part): file_name(part) or "image" for part in pictures(message)}
    unshown = _unshown(message) if names and own else frozenset()
    return Written(_with_names(own, names), _with_names(shown, names), unshown)


def own_words(text: str) -> str:
    """The text without history, signature and additions."""
    return _separated(text)[0]


def _whole_text(message: Message) -> str:
    """All of the letter's text; a second form of what is there already is left out."""
    texts: list[str] = []
    seen: list[str] = []
    for part in text_parts(message):
        if sum(map(len, seen)) > MAX_CHARACTERS:
            break
        text = part_text(part)
        text = html_text(text) if part.get_content_type() == "text/html" else _without_pgp(text)
        words = "".join(text.split())
        if words and words not in seen:
            seen.append(words)
            texts.append(text.strip("\n"))
    return "\n\n".join(texts).replace("\xa0", " ")[:MAX_CHARACTERS]


def _without_pgp(text: str) -> str:
    """What was signed, without the signature around it (RFC 9580 7)."""
    signed = PGP_SIGNED.search(text)
    return re.sub(r"^- ", "", signed["text"], flags=re.MULTILINE) if signed else text


def _separated(text: str) -> tuple[str, str]:
    """The writer's words alone, and with the quoted lines that answers were written under."""
    lines = [line.rstrip() for line in _without_banner(text.replace("\r\n", "\n").replace("\r", "\n"))]
    runs = [
        (kind, [line for _, line in run])
        for kind, run in groupby(zip(kinds_of(lines), lines, strict=True), key=lambda pair: pair[0])
    ]
    own: list[str] = []
    shown: list[str] = []
    answers = 0
    quotation: list[str] = []
    for kind, run in runs:
        if kind == "quote":
            quotation = _end_of(run)
        if kind != "own":
            continue
        words = _tidy(_without_signature(run))
        if words:
            answers += bool(quotation)
            own += ["", words]
            shown += ["", *quotation, words]
            quotation = []
    interleaved = answers > 1 or (answers == 1 and not shown[1].startswith(">"))
    return _tidy(own), _tidy(shown if interleaved else own)


def _end_of(quotation: Sequence[str]) -> list[str]:
    """The last lines of a quotation, for understanding what was answered."""
    said = [re.sub(r"^[\s>]*([A-ZА-ЯЁ]{1,3}>\s*)?", "", line) for line in quotation]
    said = [
        line for line in said if line and not any(rule.match(line) for rule in (PROGRAM_LINE, FIELD, SEPARATOR, MARKER))
    ]
    return [f"> {line}" for line in said[-CONTEXT_LINES:]]


def _without_signature(lines: Sequence[str]) -> list[str]:
    """The lines of one piece of text down to its signature, without what programs and companies add."""
    kept = [line for line in lines if not PROGRAM_LINE.fullmatch(line.strip())]
    for number in _ends(kept):
        # RFC 3676 4.3 wants a blank after the dashes; many programs drop it, but then they may be a person's.
        if re.fullmatch(r"-- ?-?", kept[number]) and not any(line.endswith("?") for line in kept[number:]):
            kept = kept[:number]
            break
    kept = _without_disclaimers(kept)
    for number in _ends(kept):
        closing = CLOSING.fullmatch(kept[number].strip())
        if closing and all(map(is_signature_line, [closing["rest"], *kept[number + 1 :]])):
            return kept[:number]
    return kept


def _ends(lines: Sequence[str]) -> list[int]:
    """The lines that a signature may begin with: what is left from there on is no longer than signatures are."""
    count = len(lines)
    while count > 0 and len(lines) - count < 40 and is_short(lines[count - 1 :]):
        count -= 1
    return list(range(count, len(lines)))


def _without_disclaimers(lines: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for blank, paragraph in groupby(lines, key=lambda line: not line.strip()):
        piece = list(paragraph)
        text = " ".join(line.strip(" *_-") for line in piece)
        if blank or not (DISCLAIMER.match(text) and DISCLAIMER_WORD.search(text)):
            kept += piece
    return kept


def _without_banner(text: str) -> list[str]:
    """The lines without a server's warning above them."""
    lines = text.split("\n")
    first = next_line(lines, 0)
    if first < len(lines) and BANNER.fullmatch(lines[first].strip()):
        while first < len(lines) and lines[first].strip():
            first += 1
        return lines[first:]
    return lines


def _unshown(message: Message) -> frozenset[str]:
    """Pictures that the HTML shows, but not among the writer's own words."""
    everywhere, among_words = set(), set()
    for part in html_parts(message):
        text = html_text(part_text(part))
        everywhere |= set(PICTURE.findall(text))
        among_words |= set(PICTURE.findall(own_words(text)))
    return frozenset(everywhere - among_words)


def _with_names(text: str, names: dict[str, str]) -> str:
    return PICTURE.sub(lambda found: f"[{names[found[1]]}]" if found[1] in names else "", text).strip()


def _tidy(lines: Sequence[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
