"""Finds the lowest point of a smooth convex function of millions of variables: L-BFGS, without bounds.

The method is that of Nocedal and Wright, Numerical Optimization, 2nd edition, algorithm 7.4. scipy's L-BFGS-B spends
half its time on bounds that nobody set and on double precision (docs/decisions/0021 has the measurements).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

#: So many of the last moves tell of the curvature.
MEMORY = 5
#: The least part of what a move promises that it has to bring.
ENOUGH = 1e-3
#: No shorter part of a move is tried: what is left is rounding.
SHORTEST = 1e-3


def descend(function: Callable[[np.ndarray], tuple[float, np.ndarray]], point: np.ndarray) -> Iterator[np.ndarray]:
    """Give ever lower points, until there is none.

    Args:
        function: its value and gradient at a point, of the point's shape.
        point: to begin at, shape (variables,), float32.
    """
    value, gradient = function(point)
    moves: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=MEMORY)
    while True:
        direction = _direction(gradient, moves)
        promised = float(gradient @ direction)
        length = 1.0
        while length > SHORTEST:
            move = length * direction
            there, slope = function(point + move)
            if there <= value + ENOUGH * length * promised:
                break
            length /= 2
        else:
            return
        change = slope - gradient
        curvature = float(move @ change)
        if curvature <= 0:
            return
        moves.append((move, change, curvature))
        point, value, gradient = point + move, there, slope
        yield point


def _direction(gradient: np.ndarray, moves: deque[tuple[np.ndarray, np.ndarray, float]]) -> np.ndarray:
    """Downhill, divided by the curvature that the last moves met; a move of length one before there were any."""
    if not moves:
        return -gradient / max(float(np.linalg.norm(gradient)), np.finfo(np.float32).tiny)
    direction, shares = -gradient, []
    for move, change, curvature in reversed(moves):
        shares.append(float(move @ direction) / curvature)
        direction -= shares[-1] * change
    _, change, curvature = moves[-1]
    direction *= curvature / float(change @ change)
    for (move, change, curvature), share in zip(moves, reversed(shares), strict=True):
        direction += (share - float(change @ direction) / curvature) * move
    return direction
