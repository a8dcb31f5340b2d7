"""fill, measured: how often the model finds a piece of a text that is hidden, and how surprised it is.

A share of each text's pieces is drawn, 15 % as in BERT's own training (Devlin et al. 2019), at least one.
Each is hidden by the mask token alone, with the rest of the text to see, or all of a text together
(`together`), which is what training asked for and is harder. Special and unknown tokens are never drawn. What
is drawn depends on the seed and on the text, not on how texts are batched nor on which of them are equal.

    accuracy         the piece has the highest probability of the whole vocabulary
    top_5_accuracy   it is among the first five
    perplexity       exp of the mean of -log p
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bertcli.engines import MaskLogits
from bertcli.evaluation import Collector
from bertcli.evaluation.bootstrap import Measure, Numbers, estimates
from bertcli.evaluation.report import Report
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.masking import ScoringWindow, in_parts, log_probs, mask_of
from bertcli.tasks.windowing import Windowing

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Record, Result, Window
    from bertcli.requests import LongOptions

SHARE = 0.15
FIRST = 5
Sums = tuple[float, float, float, float]
"""Of the hidden pieces of a text: how many, found, among the first five, and the sum of -log p."""


class MaskedWords(Task):
    """A task that hides pieces and looks for them. Its result `pieces` is an array (drawn pieces, 2): the
    rank of each from 0, and its log-probability."""

    fields = ("pieces",)

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        head: Head,
        long: LongOptions,
        *,
        share: float = SHARE,
        together: bool = False,
        seed: int = 0,
    ) -> None:
        self._mask = mask_of(checkpoint, tokenizer)[1]
        self._tokenizer = tokenizer
        self._windowing = Windowing.of(checkpoint, tokenizer, long)
        self._ask = MaskLogits(head)
        self._share = share
        self._together = together
        self._seed = seed

    def encode(self, record: Record) -> EncodedRecord:
        encoded = self._windowing.single(self._tokenizer.encode(record.text or ""))
        candidates = [
            (number, place)
            for number, window in enumerate(encoded.windows)
            for place in self._windowing.fresh_tokens(window)
            if self._is_word(window.ids[place])
        ]
        random = np.random.default_rng((self._seed, _number(record.text or "")))
        count = min(len(candidates), max(1, round(self._share * len(candidates))))
        drawn = sorted(random.choice(len(candidates), size=count, replace=False).tolist()) if count else []
        places = [candidates[place] for place in drawn]
        windows = list(self._hidden(encoded.windows, places))
        return EncodedRecord(windows, encoded.truncated, cut=len(encoded.windows))

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """Ranks and log-probabilities (masks, 2) of the hidden pieces of each window."""
        found: list[Array] = []
        for part in in_parts(cast("Sequence[ScoringWindow]", windows)):  # as `encode` made them
            logits = engine.forward(part, self._ask)
            found += [_found(rows, window.pieces) for rows, window in zip(logits, part, strict=True)]
        return found

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        return {"pieces": np.concatenate(outputs) if outputs else np.empty((0, 2), dtype=np.float32)}

    def _is_word(self, token: int) -> bool:
        return not self._tokenizer.is_special(token) and token != self._tokenizer.unknown_id

    def _hidden(
        self, windows: Sequence[Window], places: Sequence[tuple[int, int]]
    ) -> Iterator[ScoringWindow]:
        """The windows with their pieces at `places` (number of the window, position) hidden."""
        if self._together:
            groups = [
                (number, [place for where, place in places if where == number])
                for number in dict.fromkeys(number for number, _ in places)
            ]
        else:
            groups = [(number, [place]) for number, place in places]
        for number, group in groups:
            ids = list(windows[number].ids)
            pieces = tuple(ids[place] for place in group)
            for place in group:
                ids[place] = self._mask
            yield ScoringWindow(ids, windows[number].types, (0, len(ids)), tuple(group), pieces=pieces)


class MaskedWordAnswers(Collector):
    """Figures of a MaskedWords task. A text is what is drawn together in a resample."""

    def __init__(self, task: MaskedWords, *, facts: dict[str, Any]) -> None:
        super().__init__()
        self.task = task
        self._facts = facts
        self._sums: list[Sums] = []

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        return iter(records)

    def keep(self, result: Result) -> None:
        if len(result.values["pieces"]):
            self._sums.append(piece_sums(result.values["pieces"]))

    def report(self) -> Report:
        if not self._sums:
            return Report("fill", self._facts | {"pieces": 0}, {})
        facts = self._facts | {"pieces": int(sum(pieces for pieces, *_ in self._sums))}
        return Report("fill", facts, estimates(piece_measure(self._sums), len(self._sums)))


def piece_sums(found: Array) -> Sums:
    """The sums over the hidden pieces of a text, from the rank and log-probability (pieces, 2) of each."""
    ranks, log_p = found.astype(np.float64).T
    return len(ranks), float((ranks == 0).sum()), float((ranks < FIRST).sum()), float(-log_p.sum())


def piece_measure(sums: Sequence[Sums]) -> Measure:
    """Accuracy, top-5 accuracy and perplexity, from the sums of each text."""
    table = np.array(sums, dtype=np.float64)  # (texts, 4)

    def measure(weights: Numbers) -> dict[str, float]:
        pieces, found, first, surprise = weights @ table
        return {
            "accuracy": float(found / pieces),
            "top_5_accuracy": float(first / pieces),
            "perplexity": float(np.exp(surprise / pieces)),
        }

    return measure


def _number(text: str) -> int:
    """The text as a number of 64 bits, the same in every run."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _found(logits: Array, pieces: tuple[int, ...]) -> Array:
    """Rank and log-probability (masks, 2) of each piece among logits (masks, vocabulary)."""
    own = logits[np.arange(len(pieces)), list(pieces)]
    ranks = (logits > own[:, None]).sum(axis=1)
    return np.stack([ranks, log_probs(logits, pieces)], axis=1).astype(np.float32)
