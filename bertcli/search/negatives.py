"""Texts that are not relevant to a query, to train a reranker on: near ones and random ones.

Those near to the query teach most. A text that is nearly as near as the relevant one may be relevant, too, and is not
taken (as with `relative_margin` of `mine_hard_negatives` in sentence-transformers).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, cast

import numpy as np

from bertcli.errors import InputError
from bertcli.search.nearest import nearest
from bertcli.tasks.pooling import unit

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.search.vectors import Vectors

NEAREST = 50
"""Texts that are looked at for each query."""
MARGIN = 0.95
"""The most similarity of a negative, as a share of that of the relevant text."""


class Negatives:
    """Chooses negatives for queries. `relevant` are the texts that each query is known to want."""

    def __init__(
        self,
        relevant: Mapping[str, Collection[str]],
        query_vectors: Mapping[str, Array],
        text_vectors: Mapping[str, Array],
        seed: int,
    ) -> None:
        self._relevant = relevant
        self._random = Random(seed)
        texts = list(dict.fromkeys(text for wanted in relevant.values() for text in wanted))
        places = {text: place for place, text in enumerate(texts)}
        of_texts = unit(np.stack([text_vectors[text] for text in texts]))
        of_queries = unit(np.stack([query_vectors[query] for query in relevant]))
        found, _ = nearest(cast("Vectors", of_texts), of_queries, most=NEAREST)
        self._near: dict[str, list[str]] = {}
        for (query, wanted), vector, hits in zip(relevant.items(), of_queries, found, strict=True):
            most = MARGIN * min(float(of_texts[places[text]] @ vector) for text in wanted)
            self._near[query] = [texts[hit.row] for hit in hits if hit.score < most]

    def choose(self, query: str, count: int, *, near: int, among: Sequence[str]) -> list[str]:
        """`count` texts of `among` (fewer where there are not as many) that the query does not want, up to `near` of
        them near to it. Raises InputError where there is none."""
        others = [text for text in among if text not in self._relevant[query]]
        if not others:
            raise InputError(
                "there is no text that is not relevant",
                hint="give the texts of several queries, or irrelevant ones with label 0",
            )
        usable = set(others)
        candidates = [text for text in self._near[query] if text in usable]
        chosen = self._random.sample(candidates, min(near, len(candidates)))
        rest = [text for text in others if text not in chosen]
        return chosen + self._random.sample(rest, min(count - len(chosen), len(rest)))
