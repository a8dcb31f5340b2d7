"""Whether the engines can be trusted with a checkpoint on this machine: what `models check --deep` proves.

Windows of many lengths run together and one at a time; both must give the same numbers, and these must be the
numbers of transformers in float32: to 1e-4 in float32, and in another dtype no further from them than a few
times what transformers itself loses in that dtype. A difference is reported relative to the largest number of the
reference (or to 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bertcli.engines import Ask, Engine, Hidden, MaskLogits, SequenceLogits, TokenLogits
from bertcli.records import Window

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer

ALLOWED = {"float32": 1e-4, "float16": 4e-3, "bfloat16": 3e-2}
"""What rounding may do over all layers. A model that loses more is allowed LOSSES times what it loses."""
LOSSES = 3
LENGTHS = (3, 5, 8, 8, 13, 21, 34, 64, 64, 128, 256, 512)
_TEXT = "The quick brown fox, who never slept, jumps over 42 lazy dogs in Zürich; don't you see it? "


@dataclass(frozen=True, slots=True)
class Proof:
    """One comparison: `what` was asked of `engine`, against `other`; it holds up to `allowed`."""

    engine: str
    what: str
    other: str
    windows: int
    difference: float
    allowed: float

    @property
    def holds(self) -> bool:
        return self.difference <= self.allowed

    @property
    def message(self) -> str:
        sign = "=" if self.holds else "≠"
        numbers = f"they differ by {self.difference:.1g}, allowed are {self.allowed:.1g}"
        return f"{self.engine}, {self.what}: {self.windows} windows together {sign} {self.other} ({numbers})"


def prove(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    engines: Sequence[Engine],
    reference: Callable[[str], Engine],
    on_step: Callable[[str, float], None] = lambda what, share: None,
) -> Iterator[Proof]:
    """Compare every engine with itself, one window at a time, and with the `reference` (by dtype), for every
    head. `on_step` is called before each step with what is computed and the share that is done."""
    windows = probes(checkpoint, tokenizer)
    dtypes = sorted({"float32", *(engine.dtype for engine in engines)})
    asks = possible_asks(checkpoint)
    steps = len(dtypes) + len(asks) * (len(dtypes) + 2 * len(engines))
    done = 0

    def step(what: str) -> None:
        nonlocal done
        on_step(what, done / steps)
        done += 1

    references = {}
    for dtype in dtypes:
        step(f"loading transformers {dtype}")
        references[dtype] = reference(dtype)
    for what, ask in asks.items():
        answers = {}
        for dtype, engine in references.items():
            step(f"transformers {dtype}, {what}")
            answers[dtype] = engine.forward(windows, ask)
        for engine in engines:
            name = f"{engine.name} {engine.device} {engine.dtype}"
            lost = LOSSES * difference(answers[engine.dtype], answers["float32"])
            step(f"{name}, {what}, together")
            together = engine.forward(windows, ask)
            step(f"{name}, {what}, one at a time")
            alone = [engine.forward([window], ask)[0] for window in windows]
            for other, theirs in (("one at a time", alone), ("transformers in float32", answers["float32"])):
                allowed = max(ALLOWED[engine.dtype], lost)
                yield Proof(name, what, other, len(windows), difference(together, theirs), allowed)


def probes(checkpoint: Checkpoint, tokenizer: Tokenizer) -> list[Window]:
    """Windows of as many lengths as the model takes, out of order, each with other text and two masks."""
    frame = tokenizer.frame(False)
    ids = tokenizer.encode(_TEXT).ids
    windows = []
    for number, length in enumerate(sorted(LENGTHS, key=lambda length: length * 7 % 11)):
        space = min(length, checkpoint.max_length) - len(frame)
        if space < 1:
            continue
        text = [ids[(3 * number + place) % len(ids)] for place in range(space)]
        if tokenizer.mask_id is not None:
            text[0] = text[-1] = tokenizer.mask_id
        built, types, start, _ = frame.build(text)
        masks = tuple(sorted({start, start + space - 1}))
        windows.append(Window(built, types, (0, len(built)), masks=masks))
    return windows


def difference(ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """The largest difference anywhere; infinite where a number is none, or shapes differ."""
    largest = 0.0
    for one, other in zip(ours, theirs, strict=True):
        if one.shape != other.shape or not np.isfinite(one).all():
            return float("inf")
        scale = max(1.0, float(np.abs(other).max(initial=0)))
        largest = max(largest, float(np.abs(one - other).max(initial=0)) / scale)
    return largest


def possible_asks(checkpoint: Checkpoint) -> dict[str, Ask]:
    """What can be asked of a checkpoint, by what it is called."""
    asks: dict[str, Ask] = {"hidden states": Hidden()}
    for head in checkpoint.heads.values():
        if not head.missing and head.kind == "label":
            asks[f"{head.name} scores"] = SequenceLogits(head)
        elif not head.missing and head.kind in ("tag", "answer"):
            asks[f"{head.name} scores"] = TokenLogits(head)
        elif not head.missing and head.kind == "fill":
            asks["masked words"] = MaskLogits(head)
    return asks
