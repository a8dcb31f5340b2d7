"""label: a probability for every class of the checkpoint's own head.

The head gives a logit z for each class. What the logits mean is the checkpoint's `problem_type`:

    single_label_classification   softmax(z): one of many, the probabilities add up to 1
    multi_label_classification    sigmoid(z): each class by itself
    regression                    z as it is: one output is a number (`score` alone), several are named ones.
                                  That of a cross-encoder goes through the function that its files declare
                                  (see `models.cross_encoder`)

Where the model has been calibrated (`bertcli evaluate label --calibrate`), z is divided by the head's
temperature first, which changes how sure an answer is and not which it is.

A text longer than the model is read window by window; the answer is the average of the windows'
probabilities, each weighted by the tokens that no earlier window had, so that overlaps do not count twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.engines import SequenceLogits
from bertcli.engines.instant.arithmetic import softmax
from bertcli.errors import UsageError
from bertcli.tasks import BulkTask, EncodedRecord, TokenizedTask
from bertcli.tasks.choice import Choice, Top, sigmoid
from bertcli.tasks.windowing import Windowing, fresh_shares

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions

_NUMBERS: Mapping[str, Callable[[Array], Array]] = {
    "identity": lambda logits: logits,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
}


class Label(TokenizedTask, BulkTask):
    """The classes of one label head. A record with a `pair` is read as a pair of texts. `is_number` says that
    the answer is one number and no label."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        head: Head,
        long: LongOptions,
        *,
        top: Top = None,
        threshold: float = 0.5,
    ) -> None:
        self.tokenizer = tokenizer
        self._windowing = Windowing.of(checkpoint, tokenizer, long)
        self.head = head
        self.ask = SequenceLogits(head)
        self._activation = activation_of(head)
        several = head.problem == "multi_label_classification"
        self.choice = Choice(head.labels, several=several, top=top, threshold=threshold)
        self.is_number = head.problem == "regression" and len(head.labels) == 1
        self.fields = ("score",) if self.is_number else self.choice.fields

    def texts(self, record: Record) -> tuple[str, ...]:
        text = self.head.prompt + (record.text or "")
        return (text,) if record.pair is None else (text, record.pair)

    def encode(self, record: Record) -> EncodedRecord:
        text = self.tokenizer.encode(self.head.prompt + (record.text or ""))
        if record.pair is None:
            return self._windowing.single(text)
        return self._windowing.pair(text, self.tokenizer.encode(record.pair))

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """Probabilities (labels,) of each window."""
        return self.probabilities(engine.forward(windows, self.ask))

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        return self.values(self.combine(encoded.windows, outputs))

    def decode_all(self, outputs: Sequence[Array]) -> Sequence[Mapping[str, Any]] | None:
        return None if self.is_number else self.choice.all_values(np.stack(outputs))

    def probabilities(self, logits: Sequence[Array]) -> list[Array]:
        """Logits (labels,) of some windows -> the probabilities of each."""
        return list(self._activation(np.stack(logits)))

    def combine(self, windows: Sequence[Window], outputs: Sequence[Array]) -> Array:
        """A record's probabilities (labels,) from those of its windows."""
        if len(outputs) == 1:
            return outputs[0]
        average: Array = np.average(np.stack(outputs), axis=0, weights=fresh_shares(windows))
        return average

    def values(self, scores: Array) -> Mapping[str, Any]:
        """The result fields for a record's probabilities (labels,)."""
        return {"score": float(scores[0])} if self.is_number else self.choice.values(scores)


def rename(head: Head, text: str, where: str) -> Head:
    """The head with its classes named by a labels file: one name a line, or JSON as in a checkpoint's config
    (a list, `{"0": "name"}` or `{"name": 0}`). Raises UsageError, for `where`, when they do not fit."""
    names = _names_from_json(text, where) if text.lstrip()[:1] in ("[", "{") else _names_from_lines(text)
    if len(names) != len(head.labels):
        raise UsageError(
            f"{len(names)} label names for {len(head.labels)} classes",
            hint="give exactly one name a class, in the order of the model's outputs",
            where=where,
        )
    if len(set(names)) != len(names) or not all(names):
        raise UsageError(
            "label names must differ and not be empty", where=where, hint="give each class a name of its own"
        )
    return replace(head, labels=tuple(names), named=True)


def _names_from_lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def _names_from_json(text: str, where: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"not valid JSON: {error}", where=where, hint="write one name a line, or a JSON list of names"
        ) from None
    if isinstance(found, dict):
        if all(isinstance(place, int) for place in found.values()):
            found = {str(place): name for name, place in found.items()}
        try:
            found = [found[str(place)] for place in range(len(found))]
        except KeyError as error:
            raise UsageError(
                f"no label name for class {error.args[0]}",
                where=where,
                hint='write {"0": "name", "1": "name", …}, or one name a line',
            ) from None
    return [str(name).strip() for name in found]


def activation_of(head: Head) -> Callable[[Array], Array]:
    """The function that turns logits (…, labels) of a head into its answer."""
    if head.problem == "regression":
        return _NUMBERS[head.activation or "identity"]
    activation = sigmoid if head.problem == "multi_label_classification" else softmax
    temperature = np.float32(head.temperature)
    return lambda logits: activation(logits / temperature)
