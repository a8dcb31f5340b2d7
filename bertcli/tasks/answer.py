"""answer: the words of a context that answer a question.

The head gives every token two logits: s, that an answer begins with it, and e, that one ends there. The
model reads `[CLS] question [SEP] context [SEP]`; a long context is cut into overlapping windows, each with
the whole question. As the published evaluation for SQuAD has it:

    the score of a span is s of its first token + e of its last; of windows that share it, the largest counts
    no span is longer than a number of tokens, leaves the context, or ends before it begins
    no answer scores s + e of [CLS], the least of all windows (Devlin et al. 2018, section 4.3)
    there is no answer when that is more than a threshold above the best span

The `score` of a record is a probability: softmax over all spans that may be, and over there being none.
Unless `overlap` says otherwise, windows overlap by at least the longest answer as far as there is room, so
that each span is complete in one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bertcli.engines import TokenLogits
from bertcli.errors import RecordError
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.windowing import Slice, Windowing

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.models.tokens import Tokens
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions


class AnswerNotes(NamedTuple):
    """What `decode` needs again: the context's tokens, where they begin in a window, how they were cut."""

    context: Tokens
    at: int
    slices: list[Slice]


class Answer(Task):
    """The best answer in a record's text (or that there is none) to `question`, or to its pair.

    `longest` is how many tokens an answer may have, `threshold` by how much (in logits) no answer must be
    likelier than the best span to be believed.
    """

    fields = ("answer", "score", "start", "end")

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        head: Head,
        long: LongOptions,
        *,
        question: str | None = None,
        longest: int = 30,
        threshold: float = 0.0,
    ) -> None:
        self._tokenizer = tokenizer
        self._frame = tokenizer.frame(True)
        self.head = head
        self._ask = TokenLogits(head)
        self._question = question
        self._longest = longest
        self._threshold = threshold
        length = long.max_length or checkpoint.max_length
        if long.overlap is None:
            capacity = max(0, length - len(self._frame))
            long = replace(long, overlap=min(max(length // 8, longest), capacity // 2))
        self._windowing = Windowing.of(checkpoint, tokenizer, long)

    def encode(self, record: Record) -> EncodedRecord:
        asked = self._question if self._question is not None else record.pair
        if asked is None or not asked.strip():
            raise RecordError("no-question", "the record has no question")
        question = self._tokenizer.encode(asked)
        context = self._tokenizer.encode(record.text or "")
        slices, truncated = self._slices(len(question), len(context))
        windows = [self._windowing.second_window(question.ids, context.ids, cut) for cut in slices]
        at = len(self._frame.before) + len(question) + len(self._frame.between)
        return EncodedRecord(windows, truncated, AnswerNotes(context, at, slices))

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """Logits (tokens, 2) of each window, special tokens included."""
        return engine.forward(windows, self._ask)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        text = record.text or ""
        context, at, slices = encoded.notes
        visible = [bool(text[start:end].strip()) for start, end in context.offsets]
        spans = span_scores(slices, [output[at:] for output in outputs], visible, self._longest)
        nothing = min(float(output[0].sum()) for output in outputs)
        best = float(spans.max(initial=-np.inf))
        if best == -np.inf or nothing - best > self._threshold:
            score = _probability(nothing, nothing, spans)
            return {"answer": None, "score": score, "start": None, "end": None}
        first, length = divmod(int(spans.argmax()), self._longest)
        start, end = context.offsets[first][0], context.offsets[first + length][1]
        score = _probability(best, nothing, spans)
        return {"answer": text[start:end], "score": score, "start": start, "end": end}

    def _slices(self, question: int, context: int) -> tuple[list[Slice], bool]:
        """How a context of so many tokens is cut beside a question, and whether some of it is lost."""
        if question + context <= self._windowing.pair_capacity:
            return [(0, context, 0)], False
        return self._windowing.slices(context, self._windowing.pair_space(question))


def span_scores(
    slices: Sequence[Slice], ends: Sequence[Array], visible: Sequence[bool], longest: int
) -> Array:
    """s + e of every span of a context, (tokens, longest): of the token it begins with and the tokens behind.

    `ends` are logits (tokens, 2) of each window from its first token of the context on. Spans that may not be
    have -inf: those that begin or end with a token that shows nothing, or that are in no window.
    """
    count = len(visible)
    scores = np.full((count, longest), -np.inf, np.float32)
    shown = np.where(np.array(visible)[:, None], np.float32(0), np.float32(-np.inf))  # (tokens, 1)
    for (start, stop, _), logits in zip(slices, ends, strict=True):
        begin, end = (logits[: stop - start] + shown[start:stop]).T
        for length in range(min(longest, stop - start)):
            place = scores[start : stop - length, length]
            np.maximum(place, begin[: len(place)] + end[length:], out=place)
    return scores


def _probability(chosen: float, nothing: float, spans: Array) -> float:
    """The share of one score in the softmax over all spans and there being no answer."""
    most = float(spans.max(initial=nothing))
    powers = np.exp(spans.astype(np.float64) - most).sum() + np.exp(nothing - most)
    return float(np.exp(chosen - most) / powers)
