"""Reads what a customer meant to type: undoes a wrong keyboard layout and transliteration, tells the language.

A model of each language, counted from the project's own examples, chooses among the readings ("ghbdtn" is "привет",
"kak pomenyat dzhinsy" is "как поменять джинсы", "hello" stays). No library does this: language detectors score zero on
both (measured, shared notes of 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bot.engine.language_model import LanguageModel, plain
from bot.engine.transliteration import Transliteration

CYRILLIC = re.compile(r"[а-яё]", re.I)
LATIN = re.compile(r"[a-z]", re.I)
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")

#: One key, two layouts (Windows): letters, and the signs that sit on other keys in each.
_QWERTY = "`qwertyuiop[]asdfghjkl;'zxcvbnm,./~QWERTYUIOP{}ASDFGHJKL:\"ZXCVBNM<>?@#$^&"
_JCUKEN = 'ёйцукенгшщзхъфывапролджэячсмитьбю.ЁЙЦУКЕНГШЩЗХЪФЫВАПРОЛДЖЭЯЧСМИТЬБЮ,"№;:?'
TO_CYRILLIC_KEYS = str.maketrans(_QWERTY, _JCUKEN)
TO_LATIN_KEYS = str.maketrans(_JCUKEN, _QWERTY)

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

#: A sign before a letter is seldom meant where the other layout has a letter on its key: so much (nats) speaks against
#: the text as typed.
STRAY_SIGN = re.compile(r"[`\[\];,.{}:\"<>~](?=[a-z])", re.I)
STRAY = 3.0

#: A capital within a word, as in "штеутеХэчэ", speaks against having meant it.
INNER_CAPITAL = re.compile(r"(?<=[а-яё])[А-ЯЁ]")

#: How much likelier (nats) another reading must be before the text as typed is given up.
RELUCTANCE = 3.0
#: A reading less likely than this (nats per letter) is nonsense too.
PLAUSIBLE = -5.0

#: As many characters are read anew; what comes after them stays as typed.
MOST = 1000
#: A stretch of a message in which no Cyrillic letter stands, and no address.
LATIN_STRETCH = re.compile(r"(?<!\S)[^а-яё@]*[a-z][^а-яё@]*(?!\S)", re.I)


@dataclass(frozen=True)
class Reading:
    """What was meant: the text to understand, its language (None: it says nothing about it), and whether that is sure.

    Sure is what a conversation may switch its language for: two words or more that are not the same everywhere.
    """

    text: str
    language: str | None
    sure: bool


class Normaliser:
    """Chooses the likeliest reading of a message."""

    def __init__(self, russian: LanguageModel, english: LanguageModel) -> None:
        self.russian, self.english = russian, english
        self.transliteration = Transliteration(russian, english)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Normaliser:
        """Learn both languages from the training examples."""
        texts = list(texts)
        return cls(
            LanguageModel.of(t for t in texts if CYRILLIC.search(t)),
            LanguageModel.of(t for t in texts if not CYRILLIC.search(t)),
        )

    def read(self, text: str) -> Reading:
        """The reading of a message; text without letters keeps its form and says nothing about the language."""
        text, rest = text[:MOST], text[MOST:]
        words_only = re.sub(r"\S*@\S*", " ", text)  # a half-typed address is Latin in every language
        cyrillic, latin = CYRILLIC.search(words_only), LATIN.search(words_only)
        if not cyrillic and not latin:
            return Reading(text + rest, None, sure=False)
        if cyrillic and latin:
            meant = LATIN_STRETCH.sub(lambda stretch: self._latin(stretch.group()), text)
        else:
            meant = self._latin(text) if latin else self._cyrillic(text)
        # In a mixed message words count, not letters: "а jeans slim fit у вас есть" is Russian.
        words = WORD.findall(meant.lower())
        language = "ru" if 2 * sum(bool(CYRILLIC.search(word)) for word in words) >= len(words) else "en"
        told = [word for word in words if word not in NEUTRAL]
        return Reading(meant + rest, language if told else None, sure=len(told) >= 2)

    def _latin(self, text: str) -> str:
        """A text in Latin letters as it was meant: English, Russian on the wrong layout, or Russian spelt in them."""
        typed = self.english.text(text) - STRAY * len(STRAY_SIGN.findall(text))
        others = [self.transliteration.read(text)]
        # No message ends with the comma that a question mark would be.
        body = text.rstrip("?")
        other = "".join(map(self._on_russian_keys, re.split(r"(\s+)", body))) + text[len(body) :]
        others.append((self.russian.text(other) - STRAY * len(INNER_CAPITAL.findall(other)), other))
        return self._likelier(typed, text, others)

    def _on_russian_keys(self, chunk: str) -> str:
        """What the keys of a word give on the Russian layout; an English word may stand amid them."""
        other = chunk.translate(TO_CYRILLIC_KEYS)
        word = plain(chunk.rstrip("?!"))
        foreign = len(word) > 2 and word in self.english.words and plain(other) not in self.russian.words
        return chunk if foreign else other

    def _cyrillic(self, text: str) -> str:
        """A text in Cyrillic letters as it was meant: Russian, or English on the wrong layout."""
        other = text.translate(TO_LATIN_KEYS)
        # Few do this, and a row of keys ("фывапр") is nonsense on either layout: it must be likelier with every letter.
        typed = self.russian.text(text) + len(CYRILLIC.findall(text))
        return self._likelier(typed, text, [(self.english.text(other), other)])

    @staticmethod
    def _likelier(typed: float, text: str, others: list[tuple[float, str]]) -> str:
        """The likeliest of the text as typed and other readings of it, each with its log-probability."""
        score, other = max(others)
        letters = sum(character.isalpha() for character in other)
        return other if score > max(typed + RELUCTANCE, PLAUSIBLE * letters) else text

    def as_json(self) -> dict[str, Any]:
        """Everything needed to rebuild it."""
        return {"russian": self.russian.pairs, "english": self.english.pairs}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Normaliser:
        """Rebuild it."""
        return cls(LanguageModel(stored["russian"]), LanguageModel(stored["english"]))
