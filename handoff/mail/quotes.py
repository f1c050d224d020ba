"""The patterns in quotes.yml: what mail programs and companies write around a person's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

_DATA: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("quotes.yml"))


def _pattern(name: str) -> re.Pattern[str]:
    value = _DATA[name]
    return re.compile(value if isinstance(value, str) else "|".join(f"(?:{entry})" for entry in value), re.IGNORECASE)


MARKER = _pattern("marker")
SEPARATOR = _pattern("separators")
FIRST_FIELD = re.compile(rf"\**{_DATA['first_field']}\**:\**\s.+", re.IGNORECASE)
FIELD = re.compile(rf"\**{_DATA['fields']}\**:", re.IGNORECASE)
ATTRIBUTION = _pattern("attributions")
WRAPPED = _pattern("wrapped_begins")
FORWARD = _pattern("forwards")
FORWARD_SUBJECT = _pattern("forward_subject")
PROGRAM_LINE = _pattern("program_lines")
CLOSING = re.compile(rf"{_DATA['closings']}(?!\w)[\s,.!—–-]*(?P<rest>.*)", re.IGNORECASE)
ROLE = _pattern("roles")
CONTACT_LABEL = _pattern("contact_labels")
DISCLAIMER = _pattern("disclaimers")
DISCLAIMER_WORD = _pattern("disclaimer_words")
BANNER = _pattern("banners")
HTML_HISTORY = frozenset(_DATA["html_history"])
HTML_SIGNATURES = frozenset(_DATA["html_signatures"])

#: An attribution names a moment or an address; a sentence that merely ends with "she wrote:" does not.
EVIDENCE = re.compile(r"\d{1,2}[:.]\d{2}|\d{4}|@")

#: Telephone numbers, addresses and sites.
CONTACT = re.compile(
    r"(?:доб|ext)\.?\s*\d+|\+?\d[\d\s().-]{5,18}\d|\S+@\S+\.\w+|(?:https?://|www\.)\S+|\b[\w-]+\.(?:ru|com|org|net|example)\b"
)

#: A name: capitalised words and initials, perhaps with a comma or in quotation marks.
NAME = re.compile(r"[\W_]*(?:[A-ZА-ЯЁ][\w'’-]*\.?[\s,«»\"()/|]*){1,5}")


def is_short(signature: Sequence[str]) -> bool:
    """Whether it is no longer than signatures are; what is longer may be somebody's words."""
    return sum(1 for line in signature if line.strip()) <= 10 and sum(map(len, signature)) <= 600


def is_signature_line(line: str) -> bool:
    """A name, a post or firm, telephone and addresses, and no sentence."""
    line = line.strip()
    if not line:
        return True
    if len(line) > 80 or line.endswith(("!", "?")) or (line.endswith(".") and not re.search(r"\b[A-ZА-ЯЁ]\.$", line)):
        return False
    rest = CONTACT.sub(" ", line)
    if re.search(r"\d", rest):
        return False
    words = [word for word in re.findall(r"[\w'’-]+", rest) if not CONTACT_LABEL.fullmatch(word)]
    return (
        not words or NAME.fullmatch(" ".join(words)) is not None or (ROLE.search(line) is not None and len(words) <= 8)
    )
