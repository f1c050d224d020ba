"""Multinomial logistic regression on a sparse and a dense half.

scikit-learn takes one matrix: with the dense embedding stored as sparse rows it needed 102 s for 5,000 examples and 101
topics. Multiplying each half its own way took 59 s on the same busy machine (2026-11, 2 cores).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
from scipy.sparse import csr_matrix, diags

from bot.engine.descent import descend

#: Typical p(1 - p) of a class, for the curvature that columns are scaled by; of 0.02 to 0.2 the best on writers left
#: out (docs/decisions/0003).
UNCERTAINTY = 0.05
#: Of the steps asked for, from which to which one the weights are averaged.
AROUND = 0.7, 1.2


@dataclass(frozen=True)
class Weights:
    """A fitted model: `terms` (sparse columns, classes), `meaning` (dense columns, classes), `bias` (classes,)."""

    terms: np.ndarray
    meaning: np.ndarray
    bias: np.ndarray

    def logits(self, sparse: csr_matrix, dense: np.ndarray) -> np.ndarray:
        """Unnormalised log-probabilities, shape (n, classes)."""
        return sparse @ self.terms + dense @ self.meaning + self.bias


def fit(sparse: csr_matrix, dense: np.ndarray, labels: np.ndarray, *, strength: float, steps: int) -> Weights:
    """Likely weights under an L2 penalty, found in few steps.

    Columns are divided by the root of their curvature, so that a rare term moves as far in one step as a common one:
    30 such steps come as near as some 80 without. The bias is left as it is: with it, too, 15 steps come as near, and
    other writers' messages are read half a point worse.

    Args:
        sparse: shape (n, sparse columns).
        dense: shape (n, dense columns); may have no columns.
        labels: class of each row, 0 to classes - 1; a class with four times the examples weighs twice as much.
        strength: inverse of the L2 penalty, scikit-learn's `C`.
        steps: of the optimiser; more fit the examples better and, from some on, other writers' messages worse. Single
            steps swing between classes by a point, so what is given is the mean of those around (`AROUND`).
    """
    # A column that no row uses would get weight zero anyway; the topics of one route use half of all terms.
    used = np.flatnonzero(sparse.getnnz(axis=0))
    columns, sparse = sparse.shape[1], sparse[:, used]
    rows, classes = len(labels), int(labels.max()) + 1
    split = len(used)
    width = split + dense.shape[1]
    balance = np.sqrt(rows / (classes * np.bincount(labels, minlength=classes)))[labels].astype(np.float32)
    squares = np.concatenate([sparse.multiply(sparse).T @ balance, (dense**2).T @ balance])
    scale = ((UNCERTAINTY * squares + 1 / strength) ** -0.5).astype(np.float32)
    sparse, dense = (sparse @ diags(scale[:split])).tocsr(), dense * scale[split:]
    transposed = sparse.T.tocsr()
    penalty = (scale**2 / strength)[:, None]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[:-classes].reshape(width, classes), flat[-classes:]
        logits = sparse @ weights[:split] + dense @ weights[split:] + bias
        logits -= logits.max(axis=1, keepdims=True)
        error = np.exp(logits)
        total = error.sum(axis=1)
        value = float(balance @ (np.log(total) - logits[np.arange(rows), labels]))
        error /= total[:, None]
        error[np.arange(rows), labels] -= 1
        error *= balance[:, None]
        shrink = penalty * weights
        value += float(shrink.ravel() @ weights.ravel()) / 2
        gradient = np.vstack([transposed @ error, dense.T @ error])
        gradient += shrink
        return value, np.concatenate([gradient.ravel(), error.sum(axis=0)])

    first, last = (round(share * steps) for share in AROUND)
    mean = np.zeros(width * classes + classes, dtype=np.float32)
    for step, found in enumerate(islice(descend(loss, mean), last), 1):
        mean = found if step <= first else mean + (found - mean) / (step - first + 1)
    weights, bias = mean[:-classes].reshape(width, classes) * scale[:, None], mean[-classes:]
    terms = np.zeros((columns, classes), dtype=np.float32)
    terms[used] = weights[:split]
    return Weights(terms, weights[split:], bias)
