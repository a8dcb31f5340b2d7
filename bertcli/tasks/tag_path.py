"""The likeliest tags of a text's words together, where a head scores which tag may follow which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bertcli.engines import Array


def best_path(log_p: Array, transitions: Array) -> list[int]:
    """The tags with the largest sum of scores (Viterbi 1967).

    log_p (words, labels) are the log-probabilities of each word's tags. transitions (labels + 1, labels) is what is
    added where the tag of a column follows that of a row; the last row is for the first word.
    """
    if not len(log_p):
        return []
    follows = transitions[:-1].T  # (next, previous)
    best = log_p[0] + transitions[-1]  # of all paths to each tag of the word so far
    came_from = np.zeros(log_p.shape, np.int64)
    for word in range(1, len(log_p)):
        scores = follows + best
        came_from[word] = scores.argmax(1)
        best = scores.max(1) + log_p[word]
    path = [int(best.argmax())]
    for word in range(len(log_p) - 1, 0, -1):
        path.append(int(came_from[word, path[-1]]))
    return path[::-1]
