"""How likely a text is in a language: known words by what they follow, new ones by their letters.

Counted from the project's own examples, so it knows the words of this shop.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

#: A word as the model counts it, of a text in lower case with "ё" as "е".
WORD = re.compile(r"[a-zа-я]+")

#: Stands before the first word.
START = ""
#: A letter depends on as many letters before it; one never seen after them is one of an alphabet.
CONTEXT, ALPHABET = 4, 35
#: The letters of a longer word tell no more.
LONGEST_WORD = 40
#: How many of the words that people type are in no example.
NEW_WORDS = 0.05

#: How often which word was said after which.
Pairs = dict[str, dict[str, int]]


def plain(text: str) -> str:
    """A text in the letters that are counted."""
    return text.lower().replace("ё", "е")


class LanguageModel:
    """Pairs of words over words over n-grams of letters, each smoothed with the next (Witten-Bell)."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.words: dict[str, int] = {}
        for following in pairs.values():
            for word, count in following.items():
                self.words[word] = self.words.get(word, 0) + count
        self._said = sum(self.words.values())
        self._after = {word: (sum(following.values()), len(following)) for word, following in pairs.items()}
        self._letters = _letters_of(self.words)
        self._seen = {context: sum(following.values()) for context, following in self._letters.items()}
        self.letter = lru_cache(maxsize=20_000)(self._letter)
        self.word = lru_cache(maxsize=20_000)(self._word)

    @classmethod
    def of(cls, texts: Iterable[str]) -> LanguageModel:
        """Count the words of texts."""
        pairs: Pairs = {}
        for text in texts:
            for before, word in pairwise([START, *WORD.findall(plain(text))]):
                following = pairs.setdefault(before, {})
                following[word] = following.get(word, 0) + 1
        return cls(pairs)

    def _letter(self, before: str, letter: str) -> float:
        """Log-probability of a letter after (at most `CONTEXT`) others."""
        following = self._letters.get(before)
        if not following:
            return self.letter(before[1:], letter) if before else -math.log(ALPHABET)
        seen, kinds = self._seen[before], len(following)
        shorter = math.exp(self.letter(before[1:], letter)) if before else 1 / ALPHABET
        return math.log((following.get(letter, 0) + kinds * shorter) / (seen + kinds))

    def spelt(self, letters: str, before: str) -> float:
        """Log-probability of letters after others; a blank begins and ends a word."""
        likely = 0.0
        for letter in letters:
            likely += self.letter(before[-CONTEXT:], letter)
            before += letter
        return likely

    def _word(self, word: str) -> float:
        """Log-probability of a word, wherever it stands."""
        known = (1 - NEW_WORDS) * self.words.get(word, 0) / (self._said or 1)
        return math.log(known + NEW_WORDS * math.exp(self.spelt(word[:LONGEST_WORD] + " ", " ")))

    def after(self, before: str, word: str) -> float:
        """Log-probability of a word after another, or after `START`."""
        alone = self.word(word)
        if before not in self._after:
            return alone
        said, kinds = self._after[before]
        return math.log(self.pairs[before].get(word, 0) / (said + kinds) + kinds / (said + kinds) * math.exp(alone))

    def text(self, text: str) -> float:
        """Log-probability of the words of a text."""
        return sum(self.after(before, word) for before, word in pairwise([START, *WORD.findall(plain(text))]))


def _letters_of(words: Iterable[str]) -> dict[str, dict[str, int]]:
    """Which letter stands how often after which; each word counts once, or the few commonest would drown the rest."""
    letters: dict[str, dict[str, int]] = {}
    for word in words:
        padded = f" {word} "
        for end in range(1, len(padded)):
            for start in range(max(0, end - CONTEXT), end + 1):
                following = letters.setdefault(padded[start:end], {})
                following[padded[end]] = following.get(padded[end], 0) + 1
    return letters
