"""Which word of a translation comes from which word of the source, by the attention of the decoder.

A target token attends to source tokens with weights that add up to 1 (the mean over heads and layers). Weights are
summed over the tokens of a source word and of a target word; the source word with the most is the one. It is what the
model looked at, and no dictionary: function words often look at what is beside them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines.seq2seq import Hypothesis

Span = tuple[int, int]
_WORD = re.compile(r"\S+")


def token_ends(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[int]:
    """The length of the text behind each token of a translation."""
    return [len(decode(ids[: place + 1])) for place in range(len(ids))]


def align_words(
    source: str,
    source_tokens: Sequence[Span | None],
    hypothesis: Hypothesis,
    decode: Callable[[Sequence[int]], str],
    weights: NDArray[np.float32],
) -> list[dict[str, Any]]:
    """An entry for each word of the translation: the word and its place, the source word and its place, the weight.

    `source_tokens` are the places of the source tokens in `source`, None for special ones; `weights` are (layers,
    target tokens, source tokens).
    """
    target = decode(hypothesis.ids)
    source_words = [match.span() for match in _WORD.finditer(source)]
    target_words = [match.span() for match in _WORD.finditer(target)]
    columns = [None if place is None else _word_at(source_words, place[0]) for place in source_tokens]
    ends = token_ends(hypothesis.ids, decode)
    rows = [
        _word_at(target_words, end - 1) if end > before else None
        for before, end in zip([0, *ends], ends, strict=False)
    ]
    table = np.zeros((len(target_words), len(source_words)))
    mean = weights.mean(0)
    for row, column in np.ndindex(*mean.shape):
        word, source_word = rows[row], columns[column]
        if word is not None and source_word is not None:
            table[word, source_word] += mean[row, column]
    found = []
    for (start, stop), row in zip(target_words, table, strict=True):
        if total := float(row.sum()):
            best = int(row.argmax())
            begin, end = source_words[best]
            found.append(
                {
                    "target": target[start:stop],
                    "target_start": start,
                    "target_end": stop,
                    "source": source[begin:end],
                    "source_start": begin,
                    "source_end": end,
                    "weight": float(row[best]) / total,
                }
            )
    return found


def shifted(entries: Sequence[dict[str, Any]], source: int, target: int) -> list[dict[str, Any]]:
    """The entries of a sentence with places in the whole texts, where it begins at `source` and `target`."""
    moves = {"source_start": source, "source_end": source, "target_start": target, "target_end": target}
    return [
        {key: value + moves.get(key, 0) if key in moves else value for key, value in one.items()}
        for one in entries
    ]


def _word_at(words: Sequence[Span], place: int) -> int | None:
    return next((number for number, (start, stop) in enumerate(words) if start <= place < stop), None)
