"""Tasks: how a record becomes windows, and how arrays become its answer. NumPy only.

`runs.tasks.TASKS` lists the tasks; docs/architecture.md says what a new one needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertcli.engines import Engine
from bertcli.records import Record, Window

if TYPE_CHECKING:
    from bertcli.models.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class EncodedRecord:
    """A record's windows, what was lost on the way, and notes the task wants back in `decode`.

    `slices` is into how many windows the text was cut, which the record reports as `windows`. `cut` says it where
    there are more windows, since a task asks about the same slice several times (zero-shot by entailment once
    a label).
    """

    windows: Sequence[Window]
    truncated: bool = False
    notes: Any = None
    cut: int | None = None

    @property
    def slices(self) -> int:
        return len(self.windows) if self.cut is None else self.cut


class Task(ABC):
    """`fields` are the names of the result fields every record gets, in order; `optional` those only some
    get (without `windows`, `truncated` and `error`, which belong to every task)."""

    fields: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def prepare(self, engine: Engine) -> None:  # noqa: B027
        """Compute what is needed before the first record (vectors of labels, say). Called once a run, before
        any other method, in the main thread. Most tasks need nothing."""

    @abstractmethod
    def encode(self, record: Record) -> EncodedRecord:
        """Tokens of the record, cut into windows. Raises RecordError. Never called for blank records."""

    @abstractmethod
    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Any]:
        """One output a window, in order: as many calls of the engine as the task needs (fill's beam takes
        one a mask). Windows may belong to different records. Runs in a worker thread: no shared state."""

    @abstractmethod
    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Any]) -> Mapping[str, Any]:
        """The record's result fields from the outputs of its windows. Scores are Python floats, vectors
        NumPy arrays. `truncated: True` among them says that the answer was cut, as `EncodedRecord.truncated` does
        of text."""


class TokenizedTask(Task):
    """A task that says which texts it tokenises, so that those of many records can be tokenised at once."""

    tokenizer: Tokenizer

    @abstractmethod
    def texts(self, record: Record) -> tuple[str, ...]:
        """What `encode` gives to the tokenizer, for a record that is not blank."""


class BulkTask(Task):
    """A task that decodes many texts at once, which takes less time for each."""

    @abstractmethod
    def decode_all(self, outputs: Sequence[Any]) -> Sequence[Mapping[str, Any]] | None:
        """What `decode` returns, to the last bit, for the output of each text that has one window; None where they are
        decoded one by one. Raises RecordError where one of them does not decode."""
