"""Tells whether a text is like any example: what is like none must not be answered with confidence."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Examples compared at once, some 1 MB of them as numbers.
AT_ONCE = 512


class Examples:
    """The embeddings of all examples, a byte for each number: a quarter of the memory, cosines within 0.003."""

    def __init__(self, numbers: np.ndarray, scale: float) -> None:
        """From `arrays`: shape (n, 512), bytes; and what they were multiplied with."""
        self._numbers, self._scale = numbers, scale

    @classmethod
    def of(cls, meanings: np.ndarray) -> Examples:
        """From embeddings of unit length, shape (n, 512)."""
        scale = 127 / float(np.abs(meanings).max(initial=1e-9))
        # Neighbours resemble each other; mixed, a few of them resemble most messages (see `any_near`).
        mixed = np.random.default_rng(0).permutation(meanings)
        return cls(np.round(mixed * scale).astype(np.int8), scale)

    @classmethod
    def stored(cls, arrays: Any) -> Examples:
        """Rebuild from what `arrays` gave."""
        return cls(arrays["examples"], float(arrays["examples_scale"]))

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept on disk."""
        return {"examples": self._numbers, "examples_scale": np.array(self._scale)}

    def any_near(self, meaning: np.ndarray, least: float) -> bool:
        """Whether the cosine to an example is `least` or more; most texts find one soon and skip the rest."""
        return any(
            float((self._numbers[first : first + AT_ONCE].astype(np.float32) @ meaning).max()) >= least * self._scale
            for first in range(0, len(self._numbers), AT_ONCE)
        )
