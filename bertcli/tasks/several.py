"""Several answers from one pass: more than one label head, and what else the hidden states give.

    label      label and score (labels too, where asked for), as `tasks.label` gives them
    entropy    how undecided the head is, -Σ p·ln p in nats: 0 when sure, ln(labels) when it does not know
    margin     how far the best label is ahead of the second, from 0 to 1
    embedding  the text's vector, pooled and normalised as the model's own files say

With more than one head each name has the head's before it: `sentiment_label`, `sentiment_score`,
`emotion_label` … Texts are cut into windows as for `label`; where a model makes vectors from shorter windows,
the vector of a long text differs a little from what `embed` gives.

`Several` is for a model's own label heads, `EmittingZeroShot` for labels of the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bertcli.errors import UsageError
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.choice import Choice, entropy, margin
from bertcli.tasks.pooling import unit
from bertcli.tasks.zero_shot import ByNearness

if TYPE_CHECKING:
    from bertcli.engines import Array, Ask, Engine
    from bertcli.records import Record, Window
    from bertcli.requests import Emitted
    from bertcli.tasks.label import Label
    from bertcli.tasks.pooling import TextVector
    from bertcli.tasks.zero_shot import ByEntailment


class Several(Task):
    """The answers `emit` of label heads that read the same windows; `vector` makes the embedding.

    Raises UsageError for entropy or margin of a head whose probabilities do not add up to 1, and for a vector
    that needs a prompt before the text, which label heads do not read.
    """

    def __init__(
        self, heads: Sequence[Label], emit: Sequence[Emitted] = ("label",), vector: TextVector | None = None
    ) -> None:
        for head in heads:
            exclusive = head.head.problem == "single_label_classification"
            _refuse_shares(emit, f"those of {head.head.name}", exclusive=exclusive)
        if vector is not None and vector.prompt:
            raise UsageError(
                f"the model makes vectors with {vector.prompt!r} before the text, which label leaves out",
                hint="use `bertcli embed` for them",
            )
        self._heads = {f"{head.head.name}_" if len(heads) > 1 else "": head for head in heads}
        self._emit = emit
        self._vector = vector
        self._asks: list[Ask] = [head.ask for head in heads]
        if vector is not None:
            self._asks.append(vector.ask)
        self.fields = tuple(self._names())

    def encode(self, record: Record) -> EncodedRecord:
        return next(iter(self._heads.values())).encode(record)

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[tuple[Array, ...]]:
        """For each window: probabilities (labels,) of each head, then the vector (hidden,) if asked for."""
        answers = engine.forward_all(windows, self._asks)
        for number, head in enumerate(self._heads.values()):
            answers[number] = head.probabilities(answers[number])
        return list(zip(*answers, strict=True))

    def decode(
        self, record: Record, encoded: EncodedRecord, outputs: Sequence[tuple[Array, ...]]
    ) -> Mapping[str, Any]:
        answers = list(zip(*outputs, strict=True))
        values: dict[str, Any] = {}
        for (prefix, head), found in zip(self._heads.items(), answers, strict=False):
            scores = head.combine(encoded.windows, found)
            for what in self._emit:
                values |= {prefix + name: value for name, value in _emitted(head, what, scores).items()}
        if self._vector is not None:
            vector = self._vector.combine(encoded.windows, answers[-1])[: self._vector.dim]
            values["embedding"] = unit(vector) if self._vector.normalize else vector
        return values

    def _names(self) -> list[str]:
        names = []
        for prefix, head in self._heads.items():
            for what in self._emit:
                if what == "label":
                    names += [prefix + field for field in head.fields]
                elif what != "embedding":
                    names.append(prefix + what)
        return names if self._vector is None else [*names, "embedding"]


class EmittingZeroShot(Task):
    """The answers `emit` of one zero-shot task.

    Raises UsageError for entropy or margin of scores that do not add up to 1, and for an embedding where
    texts are only read together with labels.
    """

    def __init__(self, task: ByEntailment | ByNearness, emit: Sequence[Emitted]) -> None:
        _refuse_shares(emit, "with --multi-label those", exclusive=not task.choice.several)
        self.nearness = task if isinstance(task, ByNearness) else None
        if "embedding" in emit and self.nearness is None:
            raise UsageError(
                "--emit embedding: this model reads each text together with a label, so it has no embedding"
                " of the text alone",
                hint="leave embedding out of --emit, and use `bertcli embed` for it",
            )
        self._task = task
        self._emit = emit
        self.choice = task.choice
        names = {"label": task.fields, "embedding": ()}
        self.fields = tuple(name for what in emit for name in names.get(what, (what,)))
        self.fields += ("embedding",) if "embedding" in emit else ()

    def prepare(self, engine: Engine) -> None:
        self._task.prepare(engine)

    def encode(self, record: Record) -> EncodedRecord:
        return self._task.encode(record)

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        return self._task.forward(engine, windows)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        scores = self._task.scores(encoded, outputs)
        values: dict[str, Any] = {}
        for what in self._emit:
            values |= _emitted(self.choice, what, scores)
        if "embedding" in self._emit and self.nearness is not None:
            values["embedding"] = self.nearness.embedding(encoded, outputs)
        return values


def _emitted(head: Label | Choice, what: Emitted, scores: Array) -> Mapping[str, Any]:
    """The fields that one head, or a choice of labels, adds for one thing asked of it."""
    match what:
        case "label":
            return head.values(scores)
        case "entropy":
            return {"entropy": entropy(scores)}
        case "margin":
            return {"margin": margin(scores)}
        case "embedding":  # the text's, not the head's
            return {}


def _refuse_shares(emit: Sequence[Emitted], labels: str, *, exclusive: bool) -> None:
    asked = [what for what in emit if what in ("entropy", "margin")]
    if asked and not exclusive:
        raise UsageError(
            f"--emit {asked[0]} needs labels that exclude each other, and {labels} do not",
            hint=f"leave {asked[0]} out of --emit",
        )
