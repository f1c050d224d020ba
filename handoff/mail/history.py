"""Tells the lines of a letter's writer from those of the old letter below or between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from handoff.mail.html_text import HISTORY_MARK
from handoff.mail.quotes import ATTRIBUTION, EVIDENCE, FIELD, FIRST_FIELD, FORWARD, MARKER, SEPARATOR, WRAPPED

#: A quoted line that a program has broken because it was longer than this goes on without a ">".
WRAPPED_LENGTH = 60

QUOTED = re.compile(r"\s*>")
SENTENCE_END = re.compile(r"[.?!:;…]\W*$")

Kind = Literal["own", "quote", "cut"]


def kinds_of(lines: Sequence[str]) -> list[Kind]:
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
            below = next_line(lines, at + length)
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
        at = next_line(lines, at + 1)
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
            below = next_line(lines, at + length)
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


def next_line(lines: Sequence[str], at: int) -> int:
    """Where the next line is that is not blank."""
    while at < len(lines) and not lines[at].strip():
        at += 1
    return at
