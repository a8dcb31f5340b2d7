"""The cosine of a record's two texts: what embed says of how alike they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bertcli.errors import RecordError
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.pooling import TextVector, unit

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.pooling import Mode
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions


class SimilarityPairs(Task):
    """A task with the result `cosine`, of the vectors that `embed` makes with the same options."""

    fields = ("cosine",)

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        long: LongOptions,
        *,
        pooling: Mode | None = None,
        prompt_name: str | None = None,
    ) -> None:
        self._text = TextVector(checkpoint, tokenizer, long, pooling=pooling, prompt_name=prompt_name)

    def encode(self, record: Record) -> EncodedRecord:
        if record.pair is None or not record.pair.strip():
            raise RecordError("field", "the second text is missing or empty")
        first, second = self._text.encode(record.text or ""), self._text.encode(record.pair)
        windows = [*first.windows, *second.windows]
        border = len(first.windows)
        longer = max(border, len(second.windows))
        return EncodedRecord(windows, first.truncated or second.truncated, notes=border, cut=longer)

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """A vector (hidden,) a window."""
        return engine.forward(windows, self._text.ask)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        border = encoded.notes
        first = self._text.combine(encoded.windows[:border], outputs[:border])
        second = self._text.combine(encoded.windows[border:], outputs[border:])
        return {"cosine": float(unit(first) @ unit(second))}
