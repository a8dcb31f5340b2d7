"""label with a guarantee: whether each label may be taken unseen.

Adds the field `decision`: `accepted` for a label with a score above the threshold of the guarantee, else `review`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bertcli.records import ACCEPTED, DECISION_FIELD, REVIEW
from bertcli.tasks import EncodedRecord, Task

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.heads import Head
    from bertcli.records import Record, Window
    from bertcli.tasks.label import Label
    from bertcli.tasks.zero_shot import ByEntailment, ByNearness


class Acceptance(Task):
    """The answers of `task`, each with a decision. `statement` is the bound in words; `dtype` is what the scores of the
    guarantee were computed in, and these must be."""

    def __init__(
        self, task: Label | ByEntailment | ByNearness, *, above: float, statement: str, dtype: str
    ) -> None:
        self._task = task
        self._above = above
        self.statement = statement
        self.dtype = dtype
        self.choice = task.choice
        self.head: Head | None = getattr(task, "head", None)
        self.fields = (*task.fields, DECISION_FIELD)

    def prepare(self, engine: Engine) -> None:
        self._task.prepare(engine)

    def encode(self, record: Record) -> EncodedRecord:
        return self._task.encode(record)

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        return self._task.forward(engine, windows)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        values = self._task.decode(record, encoded, outputs)
        return {**values, DECISION_FIELD: ACCEPTED if values["score"] > self._above else REVIEW}
