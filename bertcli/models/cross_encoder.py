"""What sentence-transformers' files say of a cross-encoder: the function its score goes through, its prompt.

A cross-encoder is a sequence classifier of pairs. `CrossEncoder.predict` puts the logits through the function
that config_sentence_transformers.json declares as `activation_fn`, else config.json as
`sentence_transformers.activation_fn` or (before version 4) `sbert_ce_default_activation_function`, else
through Sigmoid where there is one output and Identity where there are several. bertcli follows it where the
output is one number. Of several classes it gives probabilities, which a declared Identity (the default of
every such checkpoint) does not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertcli.models.heads import Head
from bertcli.models.jsonfile import read_optional

DECLARED = ("sentence_transformers", "sbert_ce_default_activation_function")  # keys of config.json
SIGMOID = "torch.nn.modules.activation.Sigmoid"
FUNCTIONS: Mapping[str, str] = {
    SIGMOID: "sigmoid",
    "torch.nn.modules.activation.Softmax": "softmax",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.linear.Identity": "identity",
}

# What can be computed of each kind of head.
_POSSIBLE: Mapping[str, tuple[str | None, ...]] = {
    "regression": (None, "identity", "sigmoid", "tanh"),
    "single_label_classification": (None, "identity", "softmax"),
    "multi_label_classification": (None, "sigmoid"),
}


@dataclass(frozen=True, slots=True)
class CrossEncoder:
    """`activation` is what the files declare, as they spell it, None where they leave it to the default;
    `prompt` goes before the first text of each pair."""

    activation: str | None
    prompt: str


def read_cross_encoder(directory: Path, config: Mapping[str, Any]) -> CrossEncoder | None:
    """None for a checkpoint that sentence-transformers has not saved as a cross-encoder."""
    own = read_optional(directory / "config_sentence_transformers.json", dict) or {}
    if own.get("model_type") != "CrossEncoder":
        own = {}
    inside = config.get("sentence_transformers")
    older = config.get("sbert_ce_default_activation_function")
    if not own and not isinstance(inside, dict) and older is None:
        return None
    newer = inside.get("activation_fn") if isinstance(inside, dict) else None
    declared = next((each for each in (own.get("activation_fn"), newer, older) if each is not None), None)
    prompts, default = own.get("prompts"), own.get("default_prompt_name")
    prompt = prompts.get(default) if isinstance(prompts, dict) and isinstance(default, str) else None
    return CrossEncoder(
        None if declared is None else str(declared), prompt if isinstance(prompt, str) else ""
    )


def as_declared(head: Head, cross_encoder: CrossEncoder | None) -> Head:
    """A label head with the activation and the prompt that its files declare."""
    if cross_encoder is None or head.kind != "label" or head.skill:
        return head
    activation = cross_encoder.activation
    name = None if activation is None else FUNCTIONS.get(_full(activation), activation)
    head = replace(head, prompt=cross_encoder.prompt)
    if len(head.labels) == 1 and head.problem == "regression":
        return replace(head, activation=name or "sigmoid")
    if name == "sigmoid" and not head.declared and len(head.labels) > 1:
        return replace(head, problem="multi_label_classification")
    return replace(head, activation=name)


def as_ranking(head: Head) -> Head:
    """The head of pairs that no file says more of than that it has one output: a score from 0 to 1, as
    `CrossEncoder.predict` gives it."""
    if (
        head.activation is None
        and not head.declared
        and head.problem == "regression"
        and len(head.labels) == 1
    ):
        return replace(head, activation="sigmoid")
    return head


def as_reranker(head: Head) -> Head:
    """The head with one output as `CrossEncoder.rank` reads it: a score from 0 to 1, unless the files declare another
    function, whatever config.json says of the problem."""
    return replace(head, problem="regression", activation=head.activation or "sigmoid")


def contradiction(head: Head) -> str | None:
    """Why the declared activation cannot be followed, in words; None where it can."""
    if head.activation in _POSSIBLE[head.problem or "regression"]:
        return None
    return f"activation_fn is {head.activation}, which does not go with {head.problem}"


def _full(path: str) -> str:
    """The path of a class of torch.nn where torch defines it: `torch.nn.Sigmoid` is short for it."""
    name = path.removeprefix("torch.nn.")
    if "." in name:
        return path
    return next((full for full in FUNCTIONS if full.endswith(f".{name}") and path != name), path)
