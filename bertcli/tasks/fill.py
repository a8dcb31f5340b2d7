"""fill: the words behind the masks of a text, likeliest first.

    read     [MASK], <mask>, the model's own mask token and --mask STR are masks; everything else is text
    window   a text longer than the model is cut to a window with its masks in the middle; masks too far apart
             for one window get a window each, and are filled independently of each other
    search   several masks of a window are filled together (see `beam`); the score is the probability of all
             the words at once
    write    the original text with the words in place of its masks, its own spelling kept

Only what can be in a text is proposed: no special tokens and no unused entries of the vocabulary. They
keep their share of the probability, so that a score is the model's own and never renormalised; the same
holds for what `words_only` and targets leave out. A piece that continues the word before it is shown as the
vocabulary writes it (`##ing`) and joined to that word in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bertcli.engines import MaskLogits
from bertcli.errors import RecordError, UsageError
from bertcli.models.tokenizer import CONTINUATION
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.batching import forward_in_batches
from bertcli.tasks.beam import (
    Filling,
    Lexicon,
    MaskedWindow,
    Question,
    Targets,
    TokenScores,
    Vocabulary,
    combined,
    likeliest,
    search_masks,
    search_together,
)
from bertcli.tasks.masking import mask_of
from bertcli.tasks.windowing import Windowing

if TYPE_CHECKING:
    from bertcli.engines import Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions

SPELLINGS = ("[MASK]", "<mask>")

MaskSpan = tuple[int, int]


class Fill(Task):
    """Fills masks with pieces of the vocabulary, or with `targets`.

    `beam` is how many fillings are kept after each mask, at least as many as `top` wants.
    """

    fields = ("fills",)

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        head: Head,
        long: LongOptions,
        *,
        top: int = 5,
        beam: int = 10,
        targets: Sequence[str] = (),
        words_only: bool = False,
        mask: str | None = None,
    ) -> None:
        self._ask = MaskLogits(head)
        self._tokenizer = tokenizer
        self._mask_token, self._mask_id = mask_of(checkpoint, tokenizer)
        self._spelling = _spelling(self._mask_token, mask)
        self._top, self._width = top, max(beam, top)
        self._targets = _distinct(targets)
        self._marks_starts = _marks_starts(tokenizer)
        self._lexicon: Lexicon
        if self._targets:
            spaced = [_spelled(tokenizer, " " + target) for target in self._targets]
            glued = [_spelled(tokenizer, target) for target in self._targets]
            self._lexicon = Targets(spaced, glued, self._mask_id)
            self._growth = max(map(len, spaced + glued)) - 1
        else:
            proposed = _proposed(tokenizer, checkpoint.vocab_size)
            self._lexicon = self._words(proposed) if words_only else self._pieces(proposed)
            self._growth = 0
        self._windowing = Windowing.of(checkpoint, tokenizer, long)
        if self._growth >= self._windowing.capacity:
            raise UsageError("a target is longer than a window", hint="raise --max-length")

    def encode(self, record: Record) -> EncodedRecord:
        text = record.text or ""
        spans = [match.span() for match in self._spelling.finditer(text)]
        if not spans:
            raise RecordError(
                "no-mask", f"the text has no mask; write {SPELLINGS[0]} where a word is missing"
            )
        ids = self._tokenizer.encode(self._spelling.sub(lambda _: self._mask_token, text), mask=True).ids
        masks = [place for place, piece in enumerate(ids) if piece == self._mask_id]
        if len(masks) != len(spans):
            raise RecordError("no-mask", f"the model's tokenizer reads {len(masks)} of {len(spans)} masks")
        glued = [start == 0 or not text[start - 1].isspace() for start, _ in spans]
        capacity = self._windowing.capacity - self._growth * len(masks)
        if len(ids) > capacity and self._windowing.mode == "truncate":
            return self._truncated(ids, masks, glued, spans, capacity)
        if len(ids) <= capacity:
            return EncodedRecord([self._window(ids, (0, len(ids)), masks, glued)], notes=spans)
        if self._windowing.mode == "error":
            raise self._windowing.too_long(len(ids), capacity)
        groups = list(self._groups(masks))
        rest = iter(glued)
        windows = [
            self._window(ids, self._around(group, len(ids)), group, [next(rest) for _ in group])
            for group in groups
        ]
        return EncodedRecord(windows, notes=spans)

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[list[Filling]]:
        """The best fillings of each window's masks, best first."""

        def ask(questions: list[Question]) -> list[TokenScores]:
            logits = forward_in_batches(engine, [question.window for question in questions], self._ask)
            return [likeliest(rows[0], question) for rows, question in zip(logits, questions, strict=True)]

        masked = cast("Sequence[MaskedWindow]", windows)  # as `encode` made them
        return search_together([search_masks(window, self._lexicon, self._width) for window in masked], ask)

    def decode(
        self, record: Record, encoded: EncodedRecord, outputs: Sequence[list[Filling]]
    ) -> Mapping[str, Any]:
        best = combined(outputs, self._width)[: self._top]
        return {"fills": [self._fill(record.text or "", encoded.notes, filling) for filling in best]}

    def _fill(self, text: str, spans: Sequence[MaskSpan], filling: Filling) -> dict[str, Any]:
        words = [self._word(choice) for choice in filling.choices]
        written, end = "", 0
        for (start, stop), word, choice in zip(spans, words, filling.choices, strict=True):
            written = self._join(written + text[end:start], word, choice)
            end = stop
        return {"words": words, "score": float(np.exp(filling.log_prob)), "text": written + text[end:]}

    def _word(self, choice: int) -> str:
        return self._targets[choice] if self._targets else self._tokenizer.decode([choice]).strip()

    def _join(self, before: str, word: str, choice: int) -> str:
        """Put a word behind a text as its piece wants it: after a blank, or joined to the word before.

        Where word starts are marked, the mark is the blank, so that its absence joins; else only a
        continuation joins, and a word replaces the mask.
        """
        if self._targets:
            return before + word
        starts = self._tokenizer.starts_word(choice)
        if not starts:
            return before.rstrip() + word.removeprefix(CONTINUATION)
        if self._marks_starts and before and not before[-1].isspace():
            return before + " " + word
        return before + word

    def _window(
        self, ids: Sequence[int], cut: MaskSpan, masks: Sequence[int], glued: Sequence[bool]
    ) -> MaskedWindow:
        start, stop = cut
        window = self._windowing.window(ids, (start, stop, start))
        at = self._windowing.leading - start
        return MaskedWindow(
            window.ids,
            window.types,
            (0, len(window)),
            masks=tuple(mask + at for mask in masks),
            glued=tuple(glued),
        )

    def _truncated(
        self,
        ids: Sequence[int],
        masks: Sequence[int],
        glued: Sequence[bool],
        spans: Sequence[MaskSpan],
        capacity: int,
    ) -> EncodedRecord:
        stays = self._windowing.stays(len(ids), capacity)
        lost = sum(not stays.start <= mask < stays.stop for mask in masks)
        if lost:
            raise RecordError(
                "too-long", f"{lost} of {len(masks)} masks are in the part that is cut off; use --long window"
            )
        window = self._window(ids, (stays.start, stays.stop), masks, glued)
        return EncodedRecord([window], truncated=True, notes=spans)

    def _groups(self, masks: Sequence[int]) -> Iterator[list[int]]:
        """Masks near enough to be filled together: within half a window, so that text is left around them."""
        group = [masks[0]]
        for mask in masks[1:]:
            span = mask - group[0] + 1 + self._growth * (len(group) + 1)
            if span > self._windowing.capacity // 2:
                yield group
                group = []
            group.append(mask)
        yield group

    def _around(self, group: Sequence[int], count: int) -> MaskSpan:
        """The slice of `count` tokens that has a group of masks in its middle."""
        capacity = self._windowing.capacity - self._growth * len(group)
        start = (group[0] + group[-1] + 1 - capacity) // 2
        start = max(0, min(start, count - capacity))
        return start, min(start + capacity, count)

    def _pieces(self, proposed: Sequence[int]) -> Vocabulary:
        ids = np.array(proposed)
        return Vocabulary(ids, ids, self._mask_id)

    def _words(self, proposed: Sequence[int]) -> Vocabulary:
        """Pieces that are whole words: that begin one and hold a letter or digit.

        At the beginning of a text (and after a bracket or quote) a word may have another mark than after
        white space: the one its first piece gets there.
        """
        tokenizer = self._tokenizer
        wordlike = [number for number in proposed if _is_wordlike(tokenizer, number, self._marks_starts)]
        spaced = np.array([number for number in wordlike if tokenizer.starts_word(number)])
        if tokenizer.starts_word(tokenizer.encode("a").ids[0]):
            return Vocabulary(spaced, spaced, self._mask_id)
        glued = np.array([number for number in wordlike if not tokenizer.starts_word(number)])
        return Vocabulary(spaced, glued, self._mask_id)


def _distinct(targets: Sequence[str]) -> tuple[str, ...]:
    """Targets without blanks around them. Raises UsageError for empty and repeated ones."""
    words = tuple(target.strip() for target in targets)
    for word in words:
        if not word:
            raise UsageError("an empty target", where="--targets", hint="name words as in good,bad")
        if words.count(word) > 1:
            raise UsageError(
                f"the target {word} is there twice", where="--targets", hint="name each target once"
            )
    return words


def _spelling(mask_token: str, mask: str | None) -> re.Pattern[str]:
    if mask is not None and not mask.strip():
        raise UsageError("--mask is empty", hint="give the characters for a missing word, such as ___")
    spellings = {*SPELLINGS, mask_token, *([mask] if mask else [])}
    return re.compile("|".join(map(re.escape, sorted(spellings, key=len, reverse=True))))


def _spelled(tokenizer: Tokenizer, target: str) -> tuple[int, ...]:
    """The pieces of a target. Raises UsageError for one the vocabulary cannot spell."""
    ids = tuple(tokenizer.encode(target).ids)
    if not ids or tokenizer.unknown_id in ids:
        raise UsageError(
            f"the model's vocabulary cannot spell the target {target.strip()}",
            hint="it would be scored as an unknown word; leave it out",
        )
    return ids


def _proposed(tokenizer: Tokenizer, vocab_size: int) -> list[int]:
    """Ids that may be in a text: no special token, no unused entry, none without a piece."""
    return [
        number
        for number, piece in enumerate(tokenizer.pieces[:vocab_size])
        if piece and not piece.startswith("[unused") and not tokenizer.is_special(number)
    ]


def _marks_starts(tokenizer: Tokenizer) -> bool:
    """Whether the vocabulary marks the pieces that begin a word: a bare piece of letters then does not."""
    bare = (number for number, piece in enumerate(tokenizer.pieces) if piece.isascii() and piece.isalpha())
    first = next(bare, None)
    return first is not None and not tokenizer.starts_word(first)


def _is_wordlike(tokenizer: Tokenizer, number: int, byte_level: bool) -> bool:
    """Whether a piece holds a letter or digit and no broken character (byte-level pieces may)."""
    word = tokenizer.decode([number]) if byte_level else tokenizer.piece(number)
    return any(map(str.isalnum, word)) and "\ufffd" not in word
