"""The words of a letter's writer: without the quoted history, signatures and what companies add.

Only for showing and passing on; the letter itself is kept as it came. A rule that is not sure leaves the words alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from itertools import groupby
from typing import Literal

from handoff.mail.charsets import part_text
from handoff.mail.html_text import HISTORY_MARK, PICTURE, html_text
from handoff.mail.parts import content_id, file_name, html_parts, pictures, text_parts
from handoff.mail.quotes import (
    ATTRIBUTION,
    BANNER,
    CLOSING,
    DISCLAIMER,
    DISCLAIMER_WORD,
    EVIDENCE,
    FIELD,
    FIRST_FIELD,
    FORWARD,
    FORWARD_SUBJECT,
    MARKER,
    PROGRAM_LINE,
    SEPARATOR,
    WRAPPED,
    is_short,
    is_signature_line,
)

#: Nobody writes so much by hand, and no history is so long; the rest stays in the letter itself.
MAX_CHARACTERS = 500_000

#: Lines of a quotation that are shown above the answer that was written between them.
CONTEXT_LINES = 3

#: A quoted line that a program has broken because it was longer than this goes on without a ">".
WRAPPED_LENGTH = 60

QUOTED = re.compile(r"\s*>")
SENTENCE_END = re.compile(r"[.?!:;…]\W*$")

PGP_SIGNED = re.compile(
    r"^-----BEGIN PGP SIGNED MESSAGE-----\n(?:Hash:[^\n]*\n)*\n(?P<text>.*?)\n-----BEGIN PGP SIGNATURE-----",
    re.MULTILINE | re.DOTALL,
)

Kind = Literal["own", "quote", "cut"]


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
        for kind, run in groupby(zip(_kinds(lines), lines, strict=True), key=lambda pair: pair[0])
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


def _kinds(lines: Sequence[str]) -> list[Kind]:
    """For each line whether it is the writer's, quoted, or neither."""
    kinds: list[Kind] = []
    prefix: re.Pattern[str] | None = None  # The Bat! quotes with initials: "АП> Заказ"
    while len(kinds) < len(lines):
        at = len(kinds)
        if QUOTED.match(lines[at]) or (prefix and prefix.match(lines[at])):
            kinds.append("quote")
        elif MARKER.fullmatch(lines[at].strip()):
            kinds += ["cut"] * (len(lines) - at)
        elif length := _introduction(lines, at):
            below = at + length
            initials = re.match(r"\s*([A-ZА-ЯЁ]{1,3}>)", lines[below]) if below < len(lines) else None
            if initials:
                prefix = re.compile(rf"\s*{initials[1]}")
            marked = below < len(lines) and (initials or QUOTED.match(lines[below]))
            kinds += ["cut"] * (length if marked else len(lines) - at)
        elif _is_broken_off(lines, at):
            kinds.append("quote")
        else:
            kinds.append("own")
    return kinds


def _introduction(lines: Sequence[str], start: int) -> int:
    """How many lines from here on introduce the old letter, blank ones included; 0 if they do not."""
    at, certain = start, False
    while at < len(lines):
        line = lines[at].strip()
        if line == HISTORY_MARK or SEPARATOR.fullmatch(line) or FORWARD.fullmatch(line):
            at, certain = at + 1, True
        elif length := _header_block(lines, at):
            at, certain = at + length, True
        elif length := _attribution(lines, at):
            below = _next_line(lines, at + length)
            quoted = below < len(lines) and re.match(r"\s*[A-ZА-ЯЁ]{0,3}>", lines[below])
            if not quoted and not certain and not _is_certain(" ".join(lines[at : at + length])):
                break
            at, certain = at + length, True
        elif not line and (certain or at > start):
            at += 1
        else:
            break
    return at - start if certain else 0


def _is_certain(attribution: str) -> bool:
    """Whether it must be a program's even if no quoted line follows; people write "On 3 March the courier wrote:"."""
    return "@" in attribution and re.search(r"\d{1,2}[:.]\d{2}|\d{4}", attribution) is not None


def _header_block(lines: Sequence[str], at: int) -> int:
    """Length of a block From, Sent, To, Subject, with the rule above it; 0 if there is none."""
    start = at
    if re.fullmatch(r"[ \t]*_{5,}", lines[at]):
        at = _next_line(lines, at + 1)
    if at >= len(lines) or not FIRST_FIELD.match(lines[at].strip()):
        return 0
    fields, last, gap = set(), at, 0
    for number in range(at, min(at + 16, len(lines))):
        field = FIELD.match(lines[number].strip())
        if field:
            fields.add(field[1].lower())
            last, gap = number, 0
        else:
            gap += 1
        if gap > 2:
            break
    evident = EVIDENCE.search(" ".join(lines[at : last + 1]))
    return last + 1 - start if len(fields) >= 3 and evident else 0


def _attribution(lines: Sequence[str], at: int) -> int:
    """Length of "On ... wrote:" in whichever language, 1 to 3 lines; 0 if there is none."""
    joined = ""
    for length, line in enumerate(lines[at : at + 3], 1):
        if not line.strip() or QUOTED.match(line) or len(line) > 300:
            return 0
        joined = f"{joined} {line.strip()}".strip()
        if line.rstrip().endswith(":") and EVIDENCE.search(joined):
            if ATTRIBUTION.fullmatch(joined):
                return length
            below = _next_line(lines, at + length)
            if length == 1 and re.search(r"\d{1,2}[:.]\d{2}|<\S+@\S+>", joined) and below < len(lines):
                return int(QUOTED.match(lines[below]) is not None)  # a language that we do not know
        if not WRAPPED.match(lines[at].strip()):
            return 0
    return 0


def _is_broken_off(lines: Sequence[str], at: int) -> bool:
    """Whether this is the end of a quoted line that was too long for a program."""
    if not 0 < at < len(lines) - 1 or not QUOTED.match(lines[at + 1]) or not QUOTED.match(lines[at - 1]):
        return False
    return (
        len(lines[at - 1]) >= WRAPPED_LENGTH
        and not SENTENCE_END.search(lines[at - 1])
        and lines[at].strip()[:1].islower()
    )


def _next_line(lines: Sequence[str], at: int) -> int:
    """Where the next line is that is not blank."""
    while at < len(lines) and not lines[at].strip():
        at += 1
    return at


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
    first = _next_line(lines, 0)
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
