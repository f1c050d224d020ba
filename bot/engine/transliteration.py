"""Reads Russian spelt in Latin letters: "hochu pomenyat dzhinsy" is "хочу поменять джинсы".

People spell it in many ways, so a table does not undo it. Every way to cut a word into spellings of letters is
followed; the likeliest words win, by how usual the spellings are and by how likely the words are in Russian, one after
the other.
"""

from __future__ import annotations

import re
from functools import lru_cache

from bot.engine.language_model import START, LanguageModel

#: How each letter is spelt: as a rule / also / oddly. "ь" and "ъ" are mostly left out, see `SIGNS`.
SPELLINGS = {
    "а": "a", "б": "b", "в": "v / w / b", "г": "g / / h", "д": "d", "е": "e / ye je yo jo / io", "ж": "zh / j g / z",
    "з": "z", "и": "i / / y", "й": "y j / i", "к": "k / / c q", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p",
    "р": "r", "с": "s / c", "т": "t", "у": "u / oo / y", "ф": "f / ph", "х": "h / kh x", "ц": "ts c / tc tz / s",
    "ч": "ch / 4 / c tch", "ш": "sh / 6 / w s", "щ": "sch shch / shh sh / w sc", "ъ": "' / ie", "ы": "y / i",
    "ь": "'", "э": "e / je", "ю": "yu / ju u iu", "я": "ya / ja ia / a q", "ий": "iy / y i", "ый": "y / i iy",
    "ое": "oe / oje oye", "ье": "ie ye", "ья": "ia ya ja", "кс": "x ks",
}  # fmt: skip
#: What a spelling costs, in nats, as a rule / also / oddly.
COSTS = (0.5, 1.5, 3.0)
#: Consonants after which the sign may have been left out, and what that costs.
SIGNS = {"ь": ("бвдзлмнпрстфшчжщ", 0.5), "ъ": ("бвдзс", 1.5)}
#: What it costs to take a word for an English one amid Russian.
FOREIGN = 7.0

#: Readings of a word that are followed to its next letter, and that are tried among the words around it.
FOLLOWED, TRIED = 5, 5
#: Nobody spells longer words; what is longer is no word.
LONGEST_WORD = 30

TOKEN = re.compile(r"[\w'’]+")
SPELT = re.compile(r"(?=.*[a-z])[a-z46][a-z46']*")


def _meanings() -> dict[str, list[tuple[str, float]]]:
    """What each spelling may stand for, with its cost; a left out sign belongs to the letter before it."""
    meanings: dict[str, list[tuple[str, float]]] = {}
    for letter, spellings in SPELLINGS.items():
        for place, ways in enumerate(spellings.split("/")):
            cost = COSTS[place]
            for way in ways.split():
                meanings.setdefault(way, []).append((letter, cost))
                for sign, (consonants, more) in SIGNS.items():
                    if letter in consonants:
                        meanings[way].append((letter + sign, cost + more))
    return meanings


MEANINGS = _meanings()
LONGEST = max(map(len, MEANINGS))


class Transliteration:
    """Undoes it, with what is known of Russian and of the English words amid it."""

    def __init__(self, russian: LanguageModel, english: LanguageModel) -> None:
        self.russian, self.english = russian, english
        self.readings = lru_cache(maxsize=20_000)(self._readings)

    def read(self, text: str) -> tuple[float, str]:
        """The likeliest Russian text that was spelt so, with its log-probability; English words in it stay."""
        tokens = [(m.span(), m.group().lower().replace("’", "'")) for m in TOKEN.finditer(text)]
        spelt = [(span, token) for span, token in tokens if SPELT.fullmatch(token) and len(token) <= LONGEST_WORD]
        # The best way to each reading of the last word: its log-probability and the words so far.
        ways: dict[str, tuple[float, list[str]]] = {START: (0.0, [])}
        for _, token in spelt:
            further = {}
            for cost, word in self.readings(token):
                further[word] = max(
                    (score - cost + self.russian.after(before, word), [*words, word])
                    for before, (score, words) in ways.items()
                )
            score, words = max(ways.values())
            further[token] = (score + self.english.word(token.replace("'", "")) - FOREIGN, [*words, token])
            ways = further
        score, words = max(ways.values())
        for ((start, end), _), word in reversed(list(zip(spelt, words, strict=True))):
            text = text[:start] + word + text[end:]
        return score, text

    def _readings(self, spelt: str) -> list[tuple[float, str]]:
        """The likeliest Russian words that a word may be, each with what its spelling costs."""
        # To each place in the word: what it was read as so far, with log-probability and cost of the spelling.
        reached: list[dict[str, tuple[float, float]]] = [{} for _ in range(len(spelt) + 1)]
        reached[0][" "] = (0.0, 0.0)
        for at in range(len(spelt)):
            followed = sorted(reached[at].items(), key=lambda way: -way[1][0])[:FOLLOWED]
            for end in range(at + 1, min(at + LONGEST, len(spelt)) + 1):
                further = reached[end]
                for letters, cost in MEANINGS.get(spelt[at:end], ()):
                    for so_far, (score, paid) in followed:
                        word = so_far + letters
                        likely = score - cost + self.russian.spelt(letters, so_far)
                        if word not in further or further[word][0] < likely:
                            further[word] = (likely, paid + cost)
        ends = sorted(reached[-1].items(), key=lambda way: -way[1][0])[: 2 * TRIED]
        words = sorted((self.russian.word(word[1:]) - paid, paid, word[1:]) for word, (_, paid) in ends)
        return [(paid, word) for _, paid, word in reversed(words[-TRIED:])]
