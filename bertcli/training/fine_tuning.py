"""What `train translate --base` starts from: an encoder-decoder on disk, with its own tokenizer.

Texts become tokens as `bertcli translate` makes them: language codes, prefix and end token where the checkpoint has
them, and the decoder starts from the token that it starts from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from bertcli.engines.loading import load_generator
from bertcli.engines.seq2seq import Generation
from bertcli.engines.seq2seq.rules import make_rules
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.library import resolve
from bertcli.models.seq2seq_tokenizer import Seq2SeqTokenizer
from bertcli.tasks.translate import check_model, position_limit
from bertcli.training.objectives.translate import MAX_LENGTH

if TYPE_CHECKING:
    from bertcli import requests
    from bertcli.training.objectives.translate import Ids, Pair

TOKENIZER_FILES = (
    "tokenizer*",
    "*.spm",
    "*.model",
    "*vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)


class BaseModel:
    """A checkpoint that is trained further. Raises ModelError for one that is no encoder-decoder, UsageError for
    languages that it does not have."""

    learning_rate, warm_up = 1e-4, 200

    def __init__(self, request: requests.TrainTranslate) -> None:
        assert request.base is not None
        checkpoint = open_checkpoint(resolve(request.base))
        check_model(checkpoint)
        self._tokenizer = Seq2SeqTokenizer.of(checkpoint)
        known = checkpoint.generation.get("forced_bos_token_id") is not None
        languages = self._tokenizer.speak(request.source_lang, request.target_lang, is_target_known=known)
        how = Generation(first_token=languages.first_token, start_token=languages.start_token)
        limit = position_limit(checkpoint)
        rules = make_rules(checkpoint.generation, how, name=checkpoint.name, position_limit=limit)
        prefix = self._tokenizer.encode(request.prefix_text) if request.prefix_text else ()
        self._before, self._after = (*languages.before, *prefix), languages.after
        self._first, self._end = () if rules.first is None else (rules.first,), rules.ends[0]
        self.start, self.pad = rules.start, rules.pad
        self.limit = MAX_LENGTH if limit is None else min(MAX_LENGTH, limit)
        self.kind = f"A translation model, trained from `{checkpoint.name}`"
        self._folder = checkpoint.tokenizer_path
        self.model = load_generator(checkpoint, torch.float32, None)

    def encode(self, pairs: Sequence[Pair]) -> list[Ids]:
        source, target = self._tokenizer.encode, self._tokenizer.encode_target
        return [
            ([*self._before, *source(text), *self._after], [*self._first, *target(translation), self._end])
            for text, translation in pairs
        ]

    def loss(
        self, model: Any, inputs: Mapping[str, Tensor], target: Tensor, real: Tensor, smoothing: float
    ) -> Tensor:
        logits = model(**inputs).logits[real].float()
        return functional.cross_entropy(logits, target[real], reduction="sum", label_smoothing=smoothing)

    def write_tokenizer(self, folder: Path) -> None:
        for pattern in TOKENIZER_FILES:
            for file in self._folder.glob(pattern):
                shutil.copyfile(file, folder / file.name)
