"""How well Russian in Latin letters or on the wrong keyboard layout is read back, on training lines left out in turn.

    PYTHONPATH=. rasa-env/.venv/bin/python -m bench.spellings

Every fifth line is left out, the normaliser is counted from the others, and the lines left out are spoilt in each way;
then the next fifth. Tells the shares of words and of whole lines that come back as they were, and the time of each.
The held-out messages are not looked at: these figures are for choosing what the normaliser does.
"""

from __future__ import annotations

import random
import re
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from ruamel.yaml import YAML

from bot.engine.normaliser import CYRILLIC, Normaliser

ROOT = Path(__file__).parent.parent
#: Each line is left out in one of so many rounds.
ROUNDS = 5
#: As many lines are read in each way in each round.
LINES = 400

#: One key, two layouts: what comes out when Russian is typed while the keyboard is set to US English. Punctuation
#: shares keys with letters or other signs and changes too (Russian layout of Windows); Latin letters and digits stay.
KEYS = str.maketrans(
    "ёйцукенгшщзхъфывапролджэячсмитьбю." + 'ЁЙЦУКЕНГШЩЗХЪФЫВАПРОЛДЖЭЯЧСМИТЬБЮ,"№;:?',
    "`qwertyuiop[]asdfghjkl;'zxcvbnm,./" + '~QWERTYUIOP{}ASDFGHJKL:"ZXCVBNM<>?@#$^&',
)
#: How Russians spell Russian in Latin letters in chats: by sound, without signs for ъ and ь, е ё э alike, ы й alike.
PLAIN = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ё": "e", "ж": "zh", "з": "z", "и": "i", "й": "y",
    "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f",
    "х": "h", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "sch", "ъ": "", "ы": "y", "ь": "", "э": "e", "ю": "yu", "я": "ya",
}  # fmt: skip
#: Other ways, by how they differ: passports, digits for letters, German and Polish habits, the shortest.
PASSPORT = PLAIN | {"х": "kh", "щ": "shch", "й": "i", "ю": "iu", "я": "ia", "ъ": "ie"}
DIGITS = PLAIN | {
    "х": "x", "ч": "4", "ш": "6", "щ": "shh", "ж": "j", "ц": "c", "ю": "u", "й": "j", "ё": "yo", "в": "w", "ь": "'",
}  # fmt: skip
GERMAN = PLAIN | {"я": "ja", "ю": "ju", "ё": "jo", "й": "j", "ы": "i", "ц": "c"}
SLAVIC = PLAIN | {"ж": "z", "ш": "s", "ч": "c", "й": "j", "я": "ja", "ю": "ju", "щ": "sc", "ц": "c"}
SHORT = PLAIN | {"ж": "g", "й": "i", "ы": "i", "ц": "c", "щ": "sh", "ё": "io"}
#: What one person may use in one message, one as well as the other.
ANY = {
    "ё": ["e", "yo", "jo"], "й": ["y", "j", "i"], "х": ["h", "kh", "x"], "ц": ["c", "ts", "tc"], "ч": ["ch", "4"],
    "ш": ["sh", "6", "w"], "щ": ["sch", "shch", "shh"], "ы": ["y", "i"], "ь": ["", "'"], "ю": ["yu", "ju", "u", "iu"],
    "я": ["ya", "ja", "ia"], "ж": ["zh", "j", "g", "z"], "в": ["v", "w"],
}  # fmt: skip


def on_wrong_layout(text: str) -> str:
    """Russian typed with the keyboard set to English: "как" becomes "rfr"."""
    return text.translate(KEYS)


def transliterated(text: str, spelling: dict[str, str] = PLAIN) -> str:
    """Russian spelt with Latin letters: "хочу поменять" becomes "hochu pomenyat"."""
    capitals = {small.upper(): latin.capitalize() for small, latin in spelling.items()}
    return text.translate(str.maketrans(spelling | capitals))


def at_will(text: str) -> str:
    """Each letter spelt in one of its ways, the same text always alike."""
    chance = random.Random(text)  # noqa: S311 - nothing secret
    return "".join(transliterated(c, PLAIN | {s: chance.choice(ways) for s, ways in ANY.items()}) for c in text)


WAYS: dict[str, Callable[[str], str]] = {
    "plain": transliterated,
    "passport": lambda text: transliterated(text, PASSPORT),
    "digits": lambda text: transliterated(text, DIGITS),
    "german": lambda text: transliterated(text, GERMAN),
    "slavic": lambda text: transliterated(text, SLAVIC),
    "short": lambda text: transliterated(text, SHORT),
    "at will": at_will,
    "wrong layout": on_wrong_layout,
    "as it is": str,
}


def training_lines() -> list[str]:
    """Every example of data/, in both languages."""
    lines = []
    for path in sorted((ROOT / "data").rglob("*.yml")):
        for intent in YAML(typ="safe").load(path).get("nlu") or []:
            lines += [line.removeprefix("- ").strip() for line in intent["examples"].splitlines() if line.strip()]
    return lines


def rounds(lines: list[str]) -> list[tuple[Normaliser, list[str]]]:
    """Normalisers, each with the Russian lines it was not counted from."""
    chance = random.Random(0)  # noqa: S311 - nothing secret
    made = []
    for left_out in range(ROUNDS):
        own = [line for line in lines if zlib.crc32(line.encode()) % ROUNDS != left_out]
        other = [line for line in set(lines) - set(own) if CYRILLIC.search(line)]
        made.append((Normaliser.of(own), chance.sample(sorted(other), min(LINES, len(other)))))
    return made


def came_back(normaliser: Normaliser, lines: list[str], spoil: Callable[[str], str]) -> tuple[float, float]:
    """The shares of words and of whole lines that are read as they were before they were spoilt."""
    words = right = whole = 0
    for line in lines:
        meant, read = _words(line), _words(normaliser.read(spoil(line)).text)
        words += len(meant)
        right += sum(a == b for a, b in zip(meant, read, strict=True)) if len(meant) == len(read) else 0
        whole += meant == read
    return right / words, whole / len(lines)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower().replace("ё", "е"))


def main() -> None:
    """Print what comes back, way by way."""
    made = rounds(training_lines())
    sys.stdout.write(f"{'':14}{'words':>8}{'lines':>8}{'ms':>8}\n")
    for way, spoil in WAYS.items():
        begun = time.perf_counter()
        shares = [came_back(normaliser, lines, spoil) for normaliser, lines in made]
        ms = (time.perf_counter() - begun) * 1000 / sum(len(lines) for _, lines in made)
        words, whole = (sum(share) / len(shares) for share in zip(*shares, strict=True))
        sys.stdout.write(f"{way:14}{words:8.1%}{whole:8.1%}{ms:8.2f}\n")


if __name__ == "__main__":
    main()
