"""A vocabulary of word pieces for source and target together: byte-pair encoding (Sennrich et al. 2016)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
SPECIAL = (
    END,
    UNKNOWN,
)  # their ids are 0 and 1; that of PAD is the last, as converters of Marian models expect


def train_subwords(texts: Iterable[str], size: int) -> tokenizers.Tokenizer:
    """A tokenizer of at most `size` pieces, whose `decode` gives back what it read: blanks are part of pieces."""
    native = tokenizers.Tokenizer(models.BPE(unk_token=UNKNOWN))
    native.normalizer = normalizers.NFC()
    native.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    native.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1, min_frequency=2, special_tokens=list(SPECIAL), show_progress=False
    )
    native.train_from_iterator(texts, trainer)
    native.add_special_tokens([PAD])
    native.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, SPECIAL.index(END))]
    )
    return native


def write_subwords(native: tokenizers.Tokenizer, folder: Path, max_length: int) -> None:
    """The files from which transformers' AutoTokenizer makes the same tokenizer."""
    native.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # Marian's own class reads SentencePiece models
        "pad_token": PAD,
        "eos_token": END,
        "unk_token": UNKNOWN,
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
