"""score: how likely a model holds a text, and which of its words surprise it.

A masked language model reads on both sides of a word, so the chain rule does not give the probability of a
whole text. The pseudo-log-likelihood takes its place (Salazar et al. 2020, arXiv 1910.14659): each token is
hidden once, and the log-probabilities of what was hidden are added up,

    score = Σ log p(token | the rest of the text)        perplexity = exp(-score / tokens)

in nats. A word of several pieces gives itself away, though: with `##vre` to see, `lou` is no longer hard to
guess, and rare words look likely. So with `within-word` (Kauf and Ivanova 2023, arXiv 2305.10588) the pieces
behind the hidden one in the same word are hidden too: a word is read from left to right, all others are
there. `plain` masks one token at a time. A token of blanks alone belongs to the word before it,
so that the words' log-probabilities add up to the score.

A text longer than the model is scored window by window; each token in the window in which it has more
context, handing over at the beginning of a word (`windowing.borders`).

Of a pair each text is scored alone, and `likelier` says which has the higher score: `text` or `pair`, null
where neither has. A text without a token has no score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from bertcli.engines import MaskLogits
from bertcli.errors import RecordError
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.masking import MaskedIds, ScoringWindow, in_parts, log_probs, mask_of
from bertcli.tasks.windowing import Windowing, borders
from bertcli.tasks.word_alignment import Word, each_token, found_words, within

if TYPE_CHECKING:
    from bertcli.engines import Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.models.tokens import Tokens
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions
    from bertcli.tasks.windowing import Slice

Method = Literal["within-word", "plain"]
PAIR = "pair_"


class Copies(NamedTuple):
    """One text with each of its tokens hidden in turn: a window a token, the words they make (as `words`
    counts tokens), and how the text was cut."""

    windows: list[ScoringWindow]
    words: list[Word]
    slices: int
    truncated: bool


class Score(Task):
    """Pseudo-log-likelihood of texts; with `pair`, of two texts each. `words` adds the log-probability of
    each word."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        head: Head,
        long: LongOptions,
        *,
        method: Method = "within-word",
        words: bool = False,
        pair: bool = False,
    ) -> None:
        self._mask = mask_of(checkpoint, tokenizer)[1]
        self._tokenizer = tokenizer
        self._windowing = Windowing.of(checkpoint, tokenizer, long)
        self._ask = MaskLogits(head)
        self._method = method
        self._words = words
        self._pair = pair
        one = ("score", "tokens", "perplexity", *(["words"] if words else []))
        self.fields = (*one, *(PAIR + name for name in one), "likelier") if pair else one

    def encode(self, record: Record) -> EncodedRecord:
        texts = [self._copies(record.text or "")]
        if self._pair:
            if record.pair is None or not record.pair.strip():
                raise RecordError("field", "the second text is missing or empty")
            texts.append(self._copies(record.pair))
        return EncodedRecord(
            [window for text in texts for window in text.windows],
            truncated=any(text.truncated for text in texts),
            notes=texts,
            cut=max(text.slices for text in texts),
        )

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[float]:
        """The log-probability of what each window hides."""
        found: list[float] = []
        for part in in_parts(cast("Sequence[ScoringWindow]", windows)):  # as `encode` made them
            for window, logits in zip(part, engine.forward(part, self._ask), strict=True):
                found.append(float(log_probs(logits, window.pieces)[0]))
        return found

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[float]) -> Mapping[str, Any]:
        first = encoded.notes[0]
        count = len(first.windows)
        values = self._values(record.text or "", first, outputs[:count])
        if not self._pair:
            return values
        other = self._values(record.pair or "", encoded.notes[1], outputs[count:])
        likelier = _likelier(values["score"], other["score"])
        return values | {PAIR + name: value for name, value in other.items()} | {"likelier": likelier}

    def _values(self, text: str, copies: Copies, outputs: Sequence[float]) -> dict[str, Any]:
        count = len(outputs)
        score = sum(outputs) if count else None
        values: dict[str, Any] = {"score": score, "tokens": count, "perplexity": _perplexity(score, count)}
        if self._words:
            values["words"] = [
                {
                    "word": text[word.start : word.end],
                    "start": word.start,
                    "end": word.end,
                    "log_prob": sum(outputs[word.first : word.stop]),
                }
                for word in copies.words
            ]
        return values

    def _copies(self, text: str) -> Copies:
        tokens = self._tokenizer.encode(text)
        words = self._all_tokens(text, tokens)
        slices, truncated = self._windowing.slices(len(tokens), self._windowing.capacity)
        windows = list(self._hidden(tokens, words, slices))
        kept = list(within(words, slices[0][0], slices[-1][1]))
        return Copies(windows, kept, len(slices), truncated)

    def _all_tokens(self, text: str, tokens: Tokens) -> list[Word]:
        """The words of a text, so that each token belongs to one."""
        words = found_words(text, tokens, self._tokenizer) or each_token(text, tokens)
        begins = [0, *(word.first for word in words[1:]), len(tokens)]
        return [
            word._replace(first=first, stop=stop)
            for word, (first, stop) in zip(words, pairwise(begins), strict=False)
        ]

    def _hidden(
        self, tokens: Tokens, words: Sequence[Word], slices: Sequence[Slice]
    ) -> Iterator[ScoringWindow]:
        """A window for each token, in order."""
        ends = [word.stop for word in words for _ in range(word.first, word.stop)]
        limits = borders(slices, [word.first for word in words])
        for cut, (first, stop) in zip(slices, pairwise(limits), strict=True):
            window = self._windowing.window(tokens.ids, cut)
            shift = self._windowing.leading - cut[0]
            for token in range(first, stop):
                end = min(ends[token], cut[1]) if self._method == "within-word" else token + 1
                place = token + shift
                ids = MaskedIds(window.ids, place, end + shift, self._mask)
                pieces = (tokens.ids[token],)
                yield ScoringWindow(ids, window.types, (0, len(ids)), masks=(place,), pieces=pieces)


def _likelier(text: float | None, pair: float | None) -> Literal["text", "pair"] | None:
    if text is None or pair is None or text == pair:
        return None
    return "text" if text > pair else "pair"


def _perplexity(score: float | None, tokens: int) -> float | None:
    """exp of the mean surprise; None for a text without a token."""
    if score is None:
        return None
    with np.errstate(over="ignore"):
        return float(np.exp(-score / tokens))
