"""Encoder-decoder models: a window of source tokens goes in, hypotheses of target tokens come out.

`architecture` describes what a checkpoint's model is made of, `model` computes it, `search` decodes, `rules` holds
what generation_config.json demands, `translator` is the engine that puts them together. `transformers_backend`
runs whatever has no description on transformers' own `generate`; `eager` adds the attention weights of every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bertcli.engines import Array
    from bertcli.records import Window

Part = Literal["encoder", "decoder", "cross"]
"""Where attention is: the encoder's among source tokens, the decoder's among target tokens, and the decoder's to the
encoder."""
PARTS: tuple[Part, ...] = ("encoder", "decoder", "cross")


class PartAttention(NamedTuple):
    """Attention in one part of a model: `weights` (layers, heads, rows, columns), a row for each token that attends and
    a column for each it attends to. `vectors` are the queries (layers, heads, rows, d), keys and values (layers,
    heads, columns, d) where they are asked for."""

    weights: Array
    vectors: tuple[Array, Array, Array] | None = None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A generated sequence: its token ids without the decoder's start token, the sum of their log-probabilities, and
    whether it ends because the model ended it (else at the length limit).

    `score` is the log-probability per token. A token that a rule forces counts with log-probability 0.
    """

    ids: tuple[int, ...]
    log_prob: float
    is_finished: bool

    @property
    def score(self) -> float:
        return self.log_prob / max(1, len(self.ids))


@dataclass(frozen=True, slots=True)
class Phrase:
    """Tokens that a target must contain, one behind the other. `ends_word`: the word that ends with them must not go
    on."""

    ids: tuple[int, ...]
    ends_word: bool = True


@dataclass(frozen=True, slots=True)
class Generation:
    """How to decode; None takes what the checkpoint's generation_config.json says.

    `beam` is the number of hypotheses that are followed, 1 for greedy search. `first_token` is generated first
    whatever the model says (a language code), `start_token` the one the decoder starts from. `extra_suppressed` are
    never generated, beside those that the checkpoint suppresses. `word_insides` are the tokens that continue the word
    before them, which phrases must know.
    """

    beam: int = 4
    count: int = 1
    max_new_tokens: int | None = None
    length_penalty: float | None = None
    first_token: int | None = None
    start_token: int | None = None
    extra_suppressed: tuple[int, ...] = field(default=())
    word_insides: tuple[int, ...] = field(default=(), repr=False)


class Seq2SeqEngine(Protocol):
    """An engine that generates. The attributes are those of `engines.Engine`."""

    name: str
    device: str
    dtype: str
    workers: int
    batch_tokens: int
    batch_invariant: bool

    def generate(self, windows: Sequence[Window], how: Generation) -> list[list[Hypothesis]]:
        """The `how.count` best hypotheses of each window, best first. May be called from several threads."""
        ...


@runtime_checkable
class DecoderEngine(Seq2SeqEngine, Protocol):
    """An engine with a decoder of ours, which also aligns and takes phrases."""

    def constrain(self, window: Window, phrases: Sequence[Phrase], how: Generation) -> list[Hypothesis]:
        """At most `how.count` hypotheses of a window that contain all phrases, best first; where the length limit
        leaves none, those with the most of them."""
        ...

    def align(
        self, windows: Sequence[Window], targets: Sequence[Sequence[int]], how: Generation
    ) -> list[NDArray[np.float32]]:
        """Cross-attention of each window's target, the mean over heads: (layers, target tokens, source tokens)."""
        ...
