"""Every encoder that transformers has: its answers, or a refusal before the run that says truly why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from bertcli.engines import MaskLogits, SequenceLogits, TokenLogits
from bertcli.engines.packed import Packed
from bertcli.errors import ModelError
from bertcli.models.check import quick_check
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.refusals import refusal
from bertcli.records import Window

pytestmark = pytest.mark.slow

VOCABULARY = 80
# Sizes under all the names that configurations have for them.
SIZES = {
    **dict.fromkeys(
        ("hidden_size", "dim", "d_model", "n_embd", "emb_dim", "embedding_size", "embedding_dim"), 32
    ),
    **dict.fromkeys(("true_hidden_size", "intra_bottleneck_size", "input_embedding_size"), 32),
    "output_embedding_size": 32,
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer", "num_layers", "encoder_layers"), 2),
    **dict.fromkeys(("decoder_layers", "num_attention_heads", "n_heads", "n_head", "num_heads"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "num_key_value_heads"), 2),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "d_ff", "d_inner", "ffn_dim", "encoder_ffn_dim"), 64),
    **dict.fromkeys(("decoder_ffn_dim", "n_inner", "inner_dim"), 64),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 128),
    **dict.fromkeys(("head_dim", "d_kv", "d_head", "entity_emb_size"), 16),
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "num_labels": 3,
    "entity_vocab_size": 10,
    "num_feedforward_networks": 1,
    "conv_kernel_size": 3,
    "attention_window": [8, 8],
    "block_repeats": [1, 1],
    "block_sizes": [1, 1],
    "max_2d_position_embeddings": 64,
    "local_attention": 8,
    "axial_pos_embds": False,
    "vocab_size": VOCABULARY,
}
KINDS: dict[str, Any] = {
    "label": (modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, SequenceLogits),
    "tag": (modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES, TokenLogits),
    "fill": (modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, MaskLogits),
    "answer": (modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES, TokenLogits),
}
WITH_CAUSAL_ATTENTION = ("gpt2", "llama", "qwen2", "modernbert-decoder", "openai-gpt")
OTHERS = ("bros", "lilt", "layoutlmv3", "canine", "lxmert", "splinter", "t5", "umt5")
TYPES = sorted({*modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, *WITH_CAUSAL_ATTENTION, *OTHERS})
WITH_OWN_ANSWER_HEADS = ("big_bird", "bert", "flaubert", "longformer", "reformer", "splinter", "xlm")
CASES = [
    (kind, one)
    for kind, (names, _) in KINDS.items()
    for one in (WITH_OWN_ANSWER_HEADS if kind == "answer" else TYPES)
    if one in names
]


def configured(model_type: str) -> Any:
    """A configuration of small sizes."""
    plain = CONFIG_MAPPING[model_type]()
    known = {*vars(plain), *type(plain).attribute_map}
    return type(plain)(**{name: size for name, size in SIZES.items() if name in known})


def saved(kind: str, model_type: str, folder: Path) -> Any:
    """A random model of that type with a head of that kind, saved in `folder`. Skips what is too large even so."""
    names, _ = KINDS[kind]
    name = names[model_type] if isinstance(names[model_type], str) else names[model_type][0]
    config = configured(model_type)
    family = getattr(transformers, name)
    try:
        with torch.device("meta"):
            size = sum(weight.numel() for weight in family(config).parameters())
    except ImportError as error:
        pytest.skip(f"transformers needs a library for it: {error}")
    if size > 3_000_000:
        pytest.skip(f"its configuration has no small sizes: {size} parameters")
    torch.manual_seed(1)
    model = family(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.2)
    model.save_pretrained(folder)
    return family.from_pretrained(
        folder, dtype=torch.float32
    ).eval()  # as it is read: a row of padding may be zero


def answered(kind: str, folder: Path, windows: list[Window]) -> list[Any] | str:
    """The answers of bertcli, or why it refuses before the run."""
    try:
        checkpoint = open_checkpoint(folder)
        head = checkpoint.head(kind)  # type: ignore[arg-type]
    except ModelError as error:
        return error.message
    if refused := [found.message for found in quick_check(checkpoint, head.kind, head) if found.refuses]:
        return refused[0]
    return Packed(checkpoint, dtype="float32", threads=1).forward(windows, KINDS[kind][1](head))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "model_type"), CASES, ids=lambda value: value)
def test_answers_are_transformers_or_refused_with_the_reason(
    kind: str, model_type: str, tmp_path: Path
) -> None:
    model = saved(kind, model_type, tmp_path)
    windows = [
        Window(
            [2, *(7 + (3 * number + place) % 60 for place in range(length)), 3], None, (0, length + 2), (1,)
        )
        for number, length in enumerate((3, 9, 5, 3))
    ]
    answers = answered(kind, tmp_path, windows)
    reason = refusal(model_type, kind)
    if isinstance(answers, str):
        assert reason is not None, answers
        reasons = reason, "a model that writes text", "an encoder-decoder, which `bertcli translate` runs"
        assert any(each in answers for each in reasons)
        return
    assert reason is None
    for window, answer in zip(windows, answers, strict=True):
        ids = torch.tensor([list(window.ids)])
        with torch.inference_mode():
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
        ends = [output.start_logits, output.end_logits] if kind == "answer" else None
        logits = (torch.stack(ends, -1) if ends else output.logits)[0].numpy()
        expected = logits[[1]] if kind == "fill" else logits
        assert abs(answer - expected).max() <= 1e-4 * max(1.0, abs(expected).max())
