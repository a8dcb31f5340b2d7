"""Zero-shot labels: any labels the user names, without training.

A label becomes a sentence through the template ("This text is about {}."), and there are two ways to ask a
model how well a text x and the sentence s_l of a label l go together.

**By entailment** (`ByEntailment`), where the checkpoint has a label head with a class named entailment: the
pair (x, s_l) is read as premise and hypothesis. With e_l the entailment logit and c_l the contradiction
logit,

    one of many   score_l = exp(e_l) / Σ_m exp(e_m)
    any of many   score_l = exp(e_l) / (exp(e_l) + exp(c_l))

as transformers' zero-shot pipeline does (Yin et al. 2019). A text costs as many passes as there are labels.

**By nearness** (`ByNearness`), where the checkpoint is made for sentence embeddings: v(x) and v(s_l) are unit
vectors, their dot product is a cosine, and

    one of many   score_l = exp(cos(x, d_l) / T) / Σ_m exp(cos(x, d_m) / T)
    any of many   score_l = sigmoid((cos(x, s_l) - cos(x, s_0)) / T)

with T = 0.05, the temperature sentence-transformers trains such models with (its `scale=20`). d_l is between
v(s_l) and the vector of the label's words alone, v(s_l) where the template is the user's own: this labels one to
five more of a hundred texts right than the default template alone (docs/performance.md). The expected calibration
error of these scores is 2 to 6 points on news topics, sentiment, emotions, intents and question types, by the
bundled model of version 0.4.0. s_0 is the template with the label left out: a label holds when it describes the
text better than saying nothing does, so that its score does not depend on what other labels were named; this ranks
labels well and is not calibrated. Labels are embedded once, before the first record; a text costs one pass.

**Adapted** (`ByNearness.adapt`): texts about something lie in a region of their own, which the words of its label only
point at. With d_l at first, each text x belongs to the nearest direction; the next direction of a label is

    p_l = (d_l + mean of the v(x) that belong to it, scaled to length 1) / 2, scaled to length 1

and again, until no text changes its label: k-means on the sphere, tied to the labels. Scores are as before, with p_l in
the place of d_l.

`--threshold`, `-k` and `--all` act as they do for a model's own labels (see `choice`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.engines import SequenceLogits
from bertcli.engines.instant.arithmetic import softmax
from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.records import Window
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.batching import forward_in_batches
from bertcli.tasks.candidates import TEMPLATE, Candidate
from bertcli.tasks.choice import Choice, Top, sigmoid
from bertcli.tasks.pooling import TextVector, unit
from bertcli.tasks.windowing import Windowing

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Record
    from bertcli.requests import LongOptions

TEMPERATURE = np.float32(0.05)
ROUNDS = 20
"""Times that texts are divided among the labels, at most."""


def zero_shot(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    candidates: Sequence[Candidate],
    long: LongOptions,
    *,
    template: str = TEMPLATE,
    multi_label: bool = False,
    top: Top = None,
    threshold: float = 0.5,
    head: str | None = None,
) -> ByEntailment | ByNearness:
    """The way this checkpoint can answer with labels that are not its own.

    `head` names the label head to ask for entailment where there are several. Raises UsageError for labels or
    a template that cannot be meant, ModelError where the checkpoint can do it neither way.
    """
    if len(candidates) == 1 and not multi_label:
        raise UsageError(
            "one label alone is always the answer", hint="name at least two, or add --multi-label"
        )
    if template.count("{}") != 1:
        raise UsageError(
            f"the template must hold {{}} exactly once: {template}", hint=f'as in --template "{TEMPLATE}"'
        )
    choice = Choice([c.label for c in candidates], several=multi_label, top=top, threshold=threshold)
    described = [candidate.description for candidate in candidates]
    sentences = [template.replace("{}", description) for description in described]
    entailment = _entailment_head(checkpoint, head)
    if entailment is not None:
        return ByEntailment(checkpoint, tokenizer, entailment, long, choice, sentences, multi_label)
    if head is not None:
        raise UsageError(
            f"head {head} has no entailment class to judge labels of your own with", hint="leave out --head"
        )
    if not checkpoint.pooling.declared:
        raise ModelError(
            "this model can neither judge entailment nor compare sentences, so labels of your own would be"
            " guesses",
            hint="use a model with an entailment class or one made for sentence embeddings",
        )
    if multi_label:
        nothing = template.replace("{}", "")
        return ByNearness(checkpoint, tokenizer, long, choice, [(one,) for one in (*sentences, nothing)])
    phrases = zip(sentences, described, strict=True) if template == TEMPLATE else zip(sentences, strict=True)
    return ByNearness(checkpoint, tokenizer, long, choice, list(phrases))


class ByEntailment(Task):
    """Asks a natural-language-inference head whether the text entails each label's sentence.

    All labels see the same slices of a long text; their scores are computed slice by slice and averaged,
    weighted by new tokens.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        head: Head,
        long: LongOptions,
        choice: Choice,
        sentences: Sequence[str],
        multi_label: bool,
    ) -> None:
        self.fields = choice.fields
        self._tokenizer = tokenizer
        self._windowing = Windowing.of(checkpoint, tokenizer, long)
        self._ask = SequenceLogits(head)
        self._entailment, self._contradiction = _entailment_classes(head)
        self.choice = choice
        self._hypotheses = [tokenizer.encode(sentence).ids for sentence in sentences]
        self._several = multi_label
        self._space = self._capacity_beside(max(map(len, self._hypotheses)))

    def encode(self, record: Record) -> EncodedRecord:
        premise = self._tokenizer.encode(record.text or "").ids
        slices, truncated = self._windowing.slices(len(premise), self._space)
        windows = [
            self._windowing.pair_window(premise, hypothesis, cut)
            for cut in slices
            for hypothesis in self._hypotheses
        ]
        return EncodedRecord(windows, truncated, cut=len(slices), notes=slices)

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """Logits of (contradiction, entailment) of each pair."""
        logits = np.stack(engine.forward(windows, self._ask))
        return list(logits[:, [self._contradiction, self._entailment]])

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        return self.choice.values(self.scores(encoded, outputs))

    def scores(self, encoded: EncodedRecord, outputs: Sequence[Array]) -> Array:
        """The score of each label (labels,) for a record, from the outputs of its windows."""
        logits = np.stack(outputs).reshape(-1, len(self._hypotheses), 2)  # (slices, labels, 2)
        scores = softmax(logits)[..., 1] if self._several else softmax(logits[..., 1])
        weights = [stop - fresh or 1 for _, stop, fresh in encoded.notes]
        average: Array = np.average(scores, axis=0, weights=weights)
        return average

    def _capacity_beside(self, kept: int) -> int:
        try:
            return self._windowing.pair_space(kept)
        except RecordError as error:
            raise UsageError(
                f"the longest label's sentence has {kept} tokens and leaves no room for text in"
                f" {self._windowing.length}",
                hint="shorten the label, the template or raise --max-length",
            ) from error


class ByNearness(Task):
    """Compares a text's vector with the directions of labels. `phrases` are the texts whose vectors the direction of
    each label lies between; of a choice of several labels the last of them stands for no label."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        long: LongOptions,
        choice: Choice,
        phrases: Sequence[Sequence[str]],
    ) -> None:
        self.fields = choice.fields
        self._text = TextVector(checkpoint, tokenizer, long)
        self.choice = choice
        self._phrases = phrases
        self._directions: Array = np.empty((0, 0), dtype=np.float32)

    def prepare(self, engine: Engine) -> None:
        """Embed the labels: directions (labels, hidden), unit vectors."""
        cut = [self._text.encode(text).windows for phrase in self._phrases for text in phrase]
        vectors = forward_in_batches(
            engine, [window for windows in cut for window in windows], self._text.ask
        )
        whole = [self._text.combine(windows, [next(vectors) for _ in windows]) for windows in cut]
        shape = (len(self._phrases), len(self._phrases[0]), -1)
        self._directions = unit(unit(np.stack(whole)).reshape(shape).mean(axis=1))

    def adapt(self, vectors: Sequence[Array]) -> None:
        """Move the directions of the labels towards texts with these unit vectors (hidden,). Call `prepare` first."""
        self._directions = adapted(self._directions, np.stack(vectors))

    def encode(self, record: Record) -> EncodedRecord:
        return self._text.encode(record.text or "")

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """A vector (hidden,) a window."""
        return engine.forward(windows, self._text.ask)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        return self.choice.values(self.scores(encoded, outputs))

    def unit_vector(self, encoded: EncodedRecord, outputs: Sequence[Array]) -> Array:
        """The vector of the text (hidden,), of length 1."""
        return unit(self._text.combine(encoded.windows, outputs))

    def scores(self, encoded: EncodedRecord, outputs: Sequence[Array]) -> Array:
        """The score of each label (labels,) for a record, from the outputs of its windows."""
        nearness = self._directions @ self.unit_vector(encoded, outputs) / TEMPERATURE
        return sigmoid(nearness[:-1] - nearness[-1]) if self.choice.several else softmax(nearness)

    def embedding(self, encoded: EncodedRecord, outputs: Sequence[Array]) -> Array:
        """The embedding of the text (dimensions,), as `embed` gives it."""
        vector = self._text.combine(encoded.windows, outputs)[: self._text.dim]
        return unit(vector) if self._text.normalize else vector


class UnitVectors(Task):
    """A task whose result is the unit vector (hidden,) that `ByNearness` compares."""

    fields = ("vector",)

    def __init__(self, task: ByNearness) -> None:
        self._task = task

    def encode(self, record: Record) -> EncodedRecord:
        return self._task.encode(record)

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """A vector (hidden,) a window."""
        return self._task.forward(engine, windows)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        return {"vector": self._task.unit_vector(encoded, outputs)}


def adapted(directions: Array, vectors: Array) -> Array:
    """Directions (labels, hidden) moved towards the texts that are nearest to each: unit vectors (texts, hidden)."""
    moved, before = directions, None
    for _ in range(ROUNDS):
        nearest = (vectors @ moved.T).argmax(axis=1)
        if before is not None and np.array_equal(nearest, before):
            break
        before = nearest
        sums = np.zeros_like(directions)
        np.add.at(sums, nearest, vectors)
        moved = unit(directions + unit(sums))  # half of each; a label without texts stays where it was
    return moved


def _entailment_head(checkpoint: Checkpoint, name: str | None) -> Head | None:
    """The first label head (or the one called `name`) that has an entailment class."""
    for head in checkpoint.heads.values():
        if head.kind == "label" and (name is None or head.name == name) and _starting(head, "entail"):
            return head
    return None


def _entailment_classes(head: Head) -> tuple[int, int]:
    """The outputs for entailment and its opposite: the class named contradiction or not-entailment, else, as
    transformers takes it, the first class (the last one where entailment comes first)."""
    entailment = _starting(head, "entail")[0]
    opposite = _starting(head, "contra", "not")
    fallback = len(head.labels) - 1 if entailment == 0 else 0
    return entailment, opposite[0] if opposite else fallback


def _starting(head: Head, *beginnings: str) -> list[int]:
    return [place for place, label in enumerate(head.labels) if label.lower().startswith(beginnings)]
