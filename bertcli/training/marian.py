"""A new encoder-decoder in Marian's layout: the Transformer of "Attention Is All You Need" (Vaswani et al. 2017).

Post-norm layers, sinusoidal positions and one table of word pieces for source, target and output, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor

from bertcli.engines.seq2seq.positions import marian_positions
from bertcli.training.linear_cross_entropy import linear_cross_entropy
from bertcli.training.objectives.translate import MAX_LENGTH, Ids, Pair
from bertcli.training.subwords import SPECIAL, train_subwords, write_subwords

if TYPE_CHECKING:
    from bertcli import requests


@dataclass(frozen=True, slots=True)
class Size:
    """A model: layers of encoder and decoder each, width, heads, inner width; and how it is trained best."""

    layers: int
    width: int
    heads: int
    inner: int
    dropout: float
    learning_rate: float
    warm_up: int


SIZES: Mapping[str, Size] = {
    # for some ten thousand pairs (Wu et al. 2021, "Good for Misconceived Reasons")
    "tiny": Size(layers=4, width=128, heads=4, inner=256, dropout=0.3, learning_rate=5e-3, warm_up=2000),
    "small": Size(layers=6, width=256, heads=4, inner=1024, dropout=0.2, learning_rate=1.5e-3, warm_up=4000),
    # the paper's
    "base": Size(layers=6, width=512, heads=8, inner=2048, dropout=0.1, learning_rate=7e-4, warm_up=4000),
}


class NewModel:
    """A Transformer with random weights, and a vocabulary made of its training pairs."""

    limit = MAX_LENGTH

    def __init__(self, request: requests.TrainTranslate, pairs: Sequence[Pair]) -> None:
        size = SIZES[request.size]
        self.learning_rate, self.warm_up = size.learning_rate, size.warm_up
        self.kind = (
            f"A Transformer of {size.layers}+{size.layers} layers, width {size.width}, trained from nothing"
        )
        self._tokenizer = train_subwords((text for pair in pairs for text in pair), request.vocab_size)
        self.model = build_model(size, self._tokenizer.get_vocab_size())
        self.pad, self.start = self.model.config.pad_token_id, self.model.config.decoder_start_token_id

    def encode(self, pairs: Sequence[Pair]) -> list[Ids]:
        sources, targets = (self._tokenizer.encode_batch(list(texts)) for texts in zip(*pairs, strict=True))
        return [(source.ids, target.ids) for source, target in zip(sources, targets, strict=True)]

    def loss(
        self, model: Any, inputs: Mapping[str, Tensor], target: Tensor, real: Tensor, smoothing: float
    ) -> Tensor:
        hidden = model.model(**inputs).last_hidden_state[real]
        return linear_cross_entropy(hidden, model.lm_head.weight, target[real], smoothing)

    def write_tokenizer(self, folder: Path) -> None:
        write_subwords(self._tokenizer, folder, self.limit)


def build_model(size: Size, vocabulary: int) -> Any:
    """A Marian model with random weights, as the paper draws them. The decoder starts from a padding token, whose
    embedding is zero in Marian and stays so: CTranslate2 relies on it."""
    end, unknown = range(len(SPECIAL))
    pad = vocabulary - 1
    config = transformers.MarianConfig(
        vocab_size=vocabulary,
        decoder_vocab_size=vocabulary,
        d_model=size.width,
        encoder_layers=size.layers,
        decoder_layers=size.layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=size.inner,
        decoder_ffn_dim=size.inner,
        activation_function="relu",
        dropout=size.dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        max_position_embeddings=2 * MAX_LENGTH,
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=end,
        decoder_start_token_id=pad,
        forced_eos_token_id=end,
    )
    model = transformers.MarianMTModel(config)
    for name, weight in model.named_parameters():
        if name.endswith("shared.weight"):
            torch.nn.init.normal_(weight, 0.0, size.width**-0.5)
            weight.data[pad] = 0
            weight.register_hook(partial(without_row, pad))
        elif "embed_positions" in name:
            weight.data = torch.from_numpy(marian_positions(*weight.shape))
        elif weight.dim() > 1:
            torch.nn.init.xavier_uniform_(weight, initial_gain(name, size.layers))
    settings = model.generation_config
    settings.max_length, settings.bad_words_ids = MAX_LENGTH, [[pad], [unknown]]
    settings.decoder_start_token_id, settings.forced_eos_token_id = pad, end
    settings.pad_token_id, settings.eos_token_id = pad, end
    return model


def initial_gain(name: str, layers: int) -> float:
    """The factor of a matrix's initial weights. What a sublayer adds to its input begins small (Zhang et al. 2019,
    "Improving Deep Transformer with Depth-Scaled Initialization", and Radford et al. 2019, section 2.3): else the
    states of all positions become equal in the first hundred steps, and the decoder learns without the source."""
    if name.endswith(("out_proj.weight", "fc2.weight")):
        return float((2 * layers) ** -0.5)
    return 0.5**0.5 if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")) else 1.0


def without_row(row: int, gradient: Tensor) -> Tensor:
    """A gradient that leaves a row of its weight as it is."""
    gradient = gradient.clone()
    gradient[row] = 0
    return gradient
