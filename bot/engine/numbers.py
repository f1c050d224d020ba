"""Numbers by word in a tenth of a dictionary's memory: of each word only its hash is kept."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping

import numpy as np


class Numbers:
    """Looked up like a dictionary, a microsecond a word.

    A word that is not there is taken for one that is if the hashes agree: with 250,000 words once in 10^13 looks.
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        """From numbers that fit into 32 bits."""
        hashes = np.fromiter(map(_hash, numbers), dtype=np.int64, count=len(numbers))
        order = hashes.argsort()
        self._hashes = array("q", hashes[order].tobytes())
        self._numbers = array("i", np.fromiter(numbers.values(), dtype=np.int32, count=len(numbers))[order].tobytes())

    def __len__(self) -> int:
        """How many words there are."""
        return len(self._hashes)

    def get(self, word: str) -> int | None:
        """The number of a word; None for a word without one."""
        sought = _hash(word)
        place = bisect_left(self._hashes, sought)
        if place < len(self._hashes) and self._hashes[place] == sought:
            return self._numbers[place]
        return None


def _hash(word: str) -> int:
    # Not of the word itself: Python hashes the bytes it keeps, and those of "問" are those of two Latin letters.
    return hash(word.encode("utf-8", "surrogatepass"))
