"""Reads what a customer meant to type: undoes a wrong keyboard layout and transliteration, tells the language.

A character model of each language, counted from the project's own examples, chooses among the readings
("ghbdtn" is "привет", "kak pomenyat dzhinsy" is "как поменять джинсы", "hello" stays). No library does this: language
detectors score zero on both (measured, shared notes of 2026-11).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

CYRILLIC = re.compile(r"[а-яё]", re.I)
LATIN = re.compile(r"[a-z]", re.I)
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")

_QWERTY = "`qwertyuiop[]asdfghjkl;'zxcvbnm,.~QWERTYUIOP{}ASDFGHJKL:\"ZXCVBNM<>&"
_JCUKEN = "ёйцукенгшщзхъфывапролджэячсмитьбюЁЙЦУКЕНГШЩЗХЪФЫВАПРОЛДЖЭЯЧСМИТЬБЮ?"
TO_CYRILLIC_KEYS = str.maketrans(_QWERTY, _JCUKEN)
TO_LATIN_KEYS = str.maketrans(_JCUKEN[:-1], _QWERTY[:-1])

#: Longest first; how Russians spell Russian with Latin letters in chats.
TRANSLITERATION = [
    ("shch", "щ"), ("sch", "щ"), ("yo", "ё"), ("jo", "ё"), ("zh", "ж"), ("kh", "х"), ("ts", "ц"), ("ch", "ч"),
    ("sh", "ш"), ("yu", "ю"), ("ju", "ю"), ("ya", "я"), ("ja", "я"), ("ye", "е"), ("iy", "ий"), ("a", "а"), ("b", "б"),
    ("v", "в"), ("g", "г"), ("d", "д"), ("e", "е"), ("z", "з"), ("i", "и"), ("j", "й"), ("k", "к"), ("l", "л"),
    ("m", "м"), ("n", "н"), ("o", "о"), ("p", "п"), ("r", "р"), ("s", "с"), ("t", "т"), ("u", "у"), ("f", "ф"),
    ("h", "х"), ("c", "ц"), ("w", "в"), ("x", "х"), ("q", "к"), ("'", "ь"), ("4", "ч"), ("6", "ш"),
]  # fmt: skip
_TRANSLITERATED = re.compile("|".join(re.escape(latin) for latin, _ in TRANSLITERATION) + "|y")

#: Said in every language: they change nothing about the language of a conversation.
NEUTRAL = {
    "ok",
    "okay",
    "ok.",
    "ок",
    "лол",
    "lol",
    "hm",
    "hmm",
    "wow",
    "no",
    "getwear",
    "jeans",
    "email",
    "e-mail",
    "vk",
    "telegram",
    "up",
}

#: A shifted key inside a word or before a space ("/intent{"x":1}", "he said: no") is punctuation, not a capital letter.
_PUNCTUATION = re.compile(r'(?<=\S)[{}":<>]|[{}":<>](?![a-z\[\];\',.`])', re.I)

#: How much better (nats per character) another reading must be before the text as typed is given up.
RELUCTANCE = 0.35
#: A reading less likely than this (nats per character) is nonsense too: real ones lie above -2.2.
PLAUSIBLE = -2.4


@dataclass(frozen=True)
class Reading:
    """What was meant: the text to understand, its language (None: it says nothing about it), and whether that is sure.

    Sure is what a conversation may switch its language for: two words or more that are not the same everywhere.
    """

    text: str
    language: str | None
    sure: bool


class CharacterModel:
    """Interpolated character 4-grams; gives the mean log-probability of a character."""

    ORDER = 4

    def __init__(self, counts: dict[str, dict[str, int]]) -> None:
        self.counts = counts
        self.totals = {context: sum(following.values()) for context, following in counts.items()}

    @classmethod
    def of(cls, texts: Iterable[str]) -> CharacterModel:
        """Count the n-grams of texts."""
        counts: dict[str, Counter[str]] = {}
        for text in texts:
            padded = cls._padded(text)
            for end in range(1, len(padded)):
                for length in range(cls.ORDER):
                    if end - length >= 0:
                        counts.setdefault(padded[end - length : end], Counter())[padded[end]] += 1
        return cls({context: dict(following) for context, following in counts.items()})

    @staticmethod
    def _padded(text: str) -> str:
        return " " + re.sub(r"[^a-zа-яё]+", " ", text.lower()).strip() + " "

    def score(self, text: str) -> float:
        """Mean log-probability per character, Witten-Bell smoothed."""
        padded = self._padded(text)
        total = 0.0
        for end in range(1, len(padded)):
            probability = 1 / 70  # any letter
            for length in range(self.ORDER):
                if end - length < 0:
                    break
                following = self.counts.get(padded[end - length : end])
                if not following:
                    break
                seen, kinds = self.totals[padded[end - length : end]], len(following)
                probability = (following.get(padded[end], 0) + kinds * probability) / (seen + kinds)
            total += math.log(probability)
        return total / max(1, len(padded) - 1)


class Normaliser:
    """Chooses the likeliest reading of a message."""

    def __init__(self, russian: CharacterModel, english: CharacterModel) -> None:
        self.russian, self.english = russian, english

    @classmethod
    def of(cls, texts: Iterable[str]) -> Normaliser:
        """Learn both languages from the training examples."""
        texts = list(texts)
        return cls(
            CharacterModel.of(t for t in texts if CYRILLIC.search(t)),
            CharacterModel.of(t for t in texts if not CYRILLIC.search(t)),
        )

    def read(self, text: str) -> Reading:
        """The reading of a message; text without letters keeps its form and says nothing about the language."""
        words_only = re.sub(r"\S*@\S*", " ", text)  # a half-typed address is Latin in every language
        cyrillic, latin = len(CYRILLIC.findall(words_only)), len(LATIN.findall(words_only))
        if not cyrillic and not latin:
            return Reading(text, None, sure=False)
        # In a mixed message words count, not letters: "а jeans slim fit у вас есть" is Russian.
        russian = sum(bool(CYRILLIC.search(word)) for word in WORD.findall(text))
        language = "ru" if cyrillic and 2 * russian >= len(WORD.findall(text)) else "en"
        readings = [(self._score(text, cyrillic, latin), text, language)]
        if not cyrillic:
            if not _PUNCTUATION.search(text):
                typed = text.translate(TO_CYRILLIC_KEYS)
                readings.append((self.russian.score(typed) - RELUCTANCE, typed, "ru"))
            for j in "йж" if "}" not in text else "":  # "moj zakaz", "ja jdu": people mean both; no code ("{...}")
                spelt = transliterate(text, j)
                readings.append((self.russian.score(spelt) - RELUCTANCE, spelt, "ru"))
        elif not latin:
            typed = text.translate(TO_LATIN_KEYS)
            readings.append((self.english.score(typed) - 2 * RELUCTANCE, typed, "en"))
        typed_as, *others = readings
        _, meant, language = max([typed_as, *(r for r in others if r[0] > PLAUSIBLE)], key=lambda reading: reading[0])
        words = [word for word in WORD.findall(meant.lower()) if word not in NEUTRAL]
        return Reading(meant, language if words else None, sure=len(words) >= 2)

    def _score(self, text: str, cyrillic: int, latin: int) -> float:
        if cyrillic and latin:
            return 0.0  # both alphabets in one message: somebody who switches layouts knows what he types
        return (self.russian if cyrillic else self.english).score(text)

    def as_json(self) -> dict[str, Any]:
        """Everything needed to rebuild it."""
        return {"russian": self.russian.counts, "english": self.english.counts}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Normaliser:
        """Rebuild it."""
        return cls(CharacterModel(stored["russian"]), CharacterModel(stored["english"]))


def transliterate(text: str, j: str = "й") -> str:
    """Latin spelling of Russian to Cyrillic: "dzhinsy" -> "джинсы"; `j` is what a single "j" stands for."""
    table = dict(TRANSLITERATION) | {"j": j}

    def letter(match: re.Match[str]) -> str:
        found = match.group()
        if found == "y":
            before = text[match.start() - 1 : match.start()].lower()
            return "й" if before and before in "aeiouy" else "ы"
        if found in "46" and not (text[match.start() - 1 : match.start()].isalpha()):
            return found
        return table[found]

    text = text.lower()
    return _TRANSLITERATED.sub(letter, text)
