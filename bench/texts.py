"""What customers write in the benchmarks: the held-out messages of tests/nlu, which the model has never seen.

Drawn as in life: a few texts again and again, most of them rarely, and many typed with a slip, so that they were never
written like this before. The engine keeps the last texts that it has read; what is new costs it most.
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain, cycle
from typing import Any

from bench.figures import ROOT
from tests.system.running import SUPPORT

HELD_OUT = ROOT / "tests" / "nlu" / "heldout.tsv"

#: How often somebody slips; of a text that is drawn again each slip makes a new one.
SLIPS = 0.3

#: Routes that are answered by a text alone, without an action.
ANSWERED = frozenset({"faq", "reassure", "smalltalk"})

#: Topics of cases that need number and address, whatever was said before.
OPENING = frozenset({"delay", "defect", "refund", "cancel", "wrong_item", "lost_parcel"})


@dataclass(frozen=True)
class Text:
    """A message and what its writer meant."""

    language: str
    text: str
    route: str


@cache
def held_out() -> tuple[Text, ...]:
    """All of them; those with numbers or addresses are left out, for whose they are nobody knows."""
    with HELD_OUT.open(encoding="utf-8", newline="") as file:
        rows = [Text(row["language"], row["text"], row["route"]) for row in csv.DictReader(file, delimiter="\t")]
    return tuple(row for row in rows if "@" not in row.text and not any(map(str.isdigit, row.text)))


def answered_by_a_text() -> list[str]:
    """Texts that the model understands as questions, doubts or small talk, so that no action is called for them."""
    return [text for text, found in _understood(ANSWERED) if found["route"] in ANSWERED]


def opening_a_case() -> list[str]:
    """Texts that the model understands as a problem with an order: they open the form."""
    return [text for text, found in _understood({"case"}) if found["route"] == "case" and found["topic"] in OPENING]


def never_seen(texts: Sequence[str], rng: random.Random) -> Iterator[str]:
    """Each text once, then with slips that nobody made before, for ever."""
    seen = set()
    for text in chain(texts, (slipped(slipped(text, rng), rng) for text in cycle(texts))):
        if text not in seen:
            seen.add(text)
            yield text


def _understood(routes: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Texts of these routes, and what the model takes them for."""
    texts = [row.text for row in held_out() if row.route in routes]
    lines = "\n".join(json.dumps({"text": text}) for text in texts)
    asked = subprocess.run(  # noqa: S603 - our own command
        [str(SUPPORT), "classify"], input=lines, capture_output=True, text=True, cwd=ROOT, check=False
    )
    if asked.returncode:
        raise RuntimeError(f"support classify failed: {asked.stderr.strip()[-500:]}")
    return zip(texts, map(json.loads, asked.stdout.splitlines()), strict=True)


class Drawn:
    """Draws from texts by Zipf's law: the second most usual half as often as the first, the third a third."""

    def __init__(self, texts: Sequence[str], rng: random.Random) -> None:
        self._texts = list(texts)
        self._rng = rng
        rng.shuffle(self._texts)
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self._texts) + 1)))

    def draw(self) -> str:
        """The next text, perhaps with a slip."""
        text = self._rng.choices(self._texts, cum_weights=self._weights)[0]
        return slipped(text, self._rng) if self._rng.random() < SLIPS else text


def slipped(text: str, rng: random.Random) -> str:
    """The text as somebody types it in a hurry: a letter doubled, left out, or changed places with the next."""
    if len(text) < 4:
        return text + rng.choice("!.)")
    place = rng.randrange(1, len(text) - 1)
    letters = text[place : place + 2]
    return text[:place] + rng.choice((letters[0] * 2 + letters[1], letters[1], letters[::-1])) + text[place + 2 :]
