"""Choices between labels, and their form on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from bot.engine.regression import Weights, fit

#: Of one text: the columns of the terms in it, and their weighted values. Both have shape (terms in the text,).
Terms = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Level:
    """A choice between labels: routes, or the topics of one route."""

    labels: list[str]
    weights: Weights

    @classmethod
    def learn(cls, terms: csr_matrix, meaning: np.ndarray, labels: list[str], strength: float, steps: int) -> Level:
        """Fit on rows of features and their labels; `strength` and `steps` as in `bot.engine.regression.fit`."""
        kinds = sorted(set(labels))
        classes = np.array([kinds.index(label) for label in labels])
        return cls(kinds, fit(terms, meaning, classes, strength=strength, steps=steps))

    @classmethod
    def stored(cls, arrays: Any, name: str, labels: list[str]) -> Level:
        """Rebuild from what `arrays` gave under this name."""
        parts = (arrays[f"{name}.{part}"].astype(np.float32) for part in ("terms", "meaning", "bias"))
        return cls(labels, Weights(*parts))

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights in half precision, which changes no decision and halves the file."""
        weights = self.weights
        return {
            "terms": weights.terms.astype(np.float16),
            "meaning": weights.meaning.astype(np.float16),
            "bias": weights.bias,
        }

    def likely(self, terms: csr_matrix, meaning: np.ndarray) -> np.ndarray:
        """Each text's probabilities of the labels, shape (n, labels)."""
        logits = self.weights.logits(terms, meaning)
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        return likely / likely.sum(axis=1, keepdims=True)


class Choices:
    """Several levels side by side, so that one text is read against all of them at once."""

    def __init__(self, levels: dict[str, Level]) -> None:
        weights = [level.weights for level in levels.values()]
        # The largest part of a model stays in half precision, as it is stored.
        self._terms = np.hstack([each.terms.astype(np.float16) for each in weights])
        self._meaning = np.hstack([each.meaning for each in weights])
        self._bias = np.concatenate([each.bias for each in weights])
        self.labels = {name: level.labels for name, level in levels.items()}

    def probabilities(self, terms: Terms, meaning: np.ndarray) -> dict[str, dict[str, float]]:
        """Each label's probability within its level; `meaning` has shape (512,)."""
        columns, values = terms
        logits = values @ self._terms[columns].astype(np.float32) + meaning @ self._meaning + self._bias
        found, first = {}, 0
        for name, labels in self.labels.items():
            of_level = logits[first : first + len(labels)]
            likely = np.exp(of_level - of_level.max())
            found[name] = dict(zip(labels, (likely / likely.sum()).tolist(), strict=True))
            first += len(labels)
        return found
