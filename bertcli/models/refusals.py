"""Model types and heads of transformers that bertcli does not run, and why."""

from __future__ import annotations

from collections.abc import Mapping

_ENCODER_DECODER = "it is an encoder-decoder, which bertcli runs for `translate` alone"
_PAGE = "it reads where each word is on a page"
_PICTURE = "it reads pictures or sound beside text"

TYPES: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "bart",
            "bigbird_pegasus",
            "led",
            "mbart",
            "mt5",
            "mvp",
            "plbart",
            "t5",
            "t5gemma",
            "t5gemma2",
            "umt5",
        ),
        _ENCODER_DECODER,
    ),
    **dict.fromkeys(("bros", "layoutlmv2", "layoutlmv3", "lilt"), _PAGE),
    **dict.fromkeys(("lxmert", "modernvbert", "qwen3_asr", "ultravbert"), _PICTURE),
    "canine": "its tokens are single characters, for which there is no tokenizer.json",
    "perceiver": "its tokens are single bytes, for which there is no tokenizer.json",
    "xmod": "it has to know the language of each text",
}
"""Types that run for no task, by `model_type` of config.json."""

HEADS: Mapping[tuple[str, str], str] = {
    ("big_bird", "answer"): "its answer head hides the question from the encoder",
    ("funnel", "label"): "its label head reads another layer than the last one",
    ("longformer", "label"): "its label head changes what the encoder attends to",
    ("longformer", "answer"): "its answer head changes what the encoder attends to",
    ("splinter", "answer"): "its answer head looks for a question token among the tokens",
}
"""Heads that do not run, by type and kind; the encoder's embeddings are available."""


def refusal(model_type: str, kind: str) -> str | None:
    """Why a model type does not run for a kind of head, or for `embed`; None where nothing is known against it."""
    return TYPES.get(model_type) or HEADS.get((model_type, kind))
