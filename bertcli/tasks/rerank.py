"""rerank: how relevant each text is to a query, by a cross-encoder: a model that reads both at once.

The model is a sequence classifier with one output. The query is the first text of the pair and the candidate the
second; the score is the output, put through the function that the model's files declare, as `CrossEncoder.predict` of
sentence-transformers gives it (see `models.cross_encoder`).

A text that is too long is read window by window, each beside the whole query, and its score is that of its best
window (MaxP in Dai and Callan, 2019, https://arxiv.org/abs/1905.09217). `--long truncate` cuts the pair as
sentence-transformers does: the longer text first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.engines import SequenceLogits
from bertcli.errors import RecordError
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.label import activation_of
from bertcli.tasks.windowing import Windowing

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.models.tokens import Tokens
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions


class Rerank(Task):
    """The relevance of each text to `query` or, where that is None, to the record's `pair`."""

    fields = ("score",)

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        head: Head,
        long: LongOptions,
        *,
        query: str | None = None,
    ) -> None:
        self.head = head
        self._tokenizer = tokenizer
        self._windowing = Windowing.of(checkpoint, tokenizer, long)
        self._ask = SequenceLogits(head)
        self._activation = activation_of(head)
        self._query = query
        self._last: tuple[str, Tokens] | None = None

    def encode(self, record: Record) -> EncodedRecord:
        query, text = self._query_tokens(record), self._tokenizer.encode(record.text or "")
        windowing = self._windowing
        if windowing.mode == "truncate" or len(query) + len(text) <= windowing.pair_capacity:
            return windowing.pair(query, text)
        slices, _ = windowing.slices(len(text), windowing.pair_space(len(query)))
        return EncodedRecord([windowing.second_window(query.ids, text.ids, cut) for cut in slices])

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """A score (1,) of each window."""
        return list(self._activation(np.stack(engine.forward(windows, self._ask))))

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        return {"score": max(float(output[0]) for output in outputs)}

    def _query_tokens(self, record: Record) -> Tokens:
        """The tokens of the query. Records that follow each other mostly have the same one: it is tokenised once."""
        query = self._query if self._query is not None else record.pair
        if query is None or not query.strip():
            raise RecordError("no-query", "the record has no query")
        if self._last is None or self._last[0] != query:
            self._last = query, self._tokenizer.encode(self.head.prompt + query)
        return self._last[1]
