"""Splits a message into the parts that ask or tell one thing each."""

from __future__ import annotations

import re

SENTENCE_END = re.compile(r"(?<=[.?!…])\s+|\n+")
#: Words that begin another matter in the same breath.
AND_ANOTHER = re.compile(
    r"[,;]?\s+(?=(?:и (?:ещ[её]|кстати|заодно)|а ещ[её]|кстати|заодно|and also|also|by the way|btw|oh and|plus)\b)",
    re.I,
)
OPENER = re.compile(
    r"^(?:и ещ[её]|и кстати|и заодно|а ещ[её]|кстати|and also|also|by the way|btw|oh and)[,:]?\s+", re.I
)
#: A part of fewer words is a greeting, a thanks or a scrap, never a matter of its own.
LEAST_WORDS = 2
#: A part of nothing else points back at what was said, like "where are they": alone it would be read as the office.
POINTING = {
    "where", "what", "when", "why", "how", "is", "are", "was", "it", "they", "them", "that", "this", "these", "now",
    "so", "then", "well", "and",
    "где", "что", "когда", "почему", "как", "это", "он", "она", "оно", "они", "их", "его", "ее", "её", "там", "тут",
    "так", "вот", "ну", "и", "а", "же", "теперь",
}  # fmt: skip
#: A long story is read as a whole; its first parts tell what it is about, and each costs some milliseconds.
MOST_PARTS = 6


def parts_of(text: str) -> list[str]:
    """The first sentences, cut again where one of them turns to another matter; nothing when there is but one part."""
    cut = [part.strip() for sentence in SENTENCE_END.split(text) for part in AND_ANOTHER.split(sentence)]
    parts = [OPENER.sub("", part) for part in cut]
    telling = [part for part in parts if len(part.split()) >= LEAST_WORDS and not _points_back(part)]
    return telling[:MOST_PARTS] if len(parts) > 1 else []


def _points_back(part: str) -> bool:
    return set(re.findall(r"\w+", part.lower())) <= POINTING
