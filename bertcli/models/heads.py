"""Heads: what a checkpoint can answer beyond hidden states, and the names of its weights.

A head is believed when config.json declares it (`architectures`, or `bertcli.heads` for a checkpoint with
several skills) or when all of its weights have names no other head has; which of its weights are `missing`
from the file is said with it, because transformers would fill them with random numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from bertcli.architectures.architecture import Architecture
from bertcli.errors import ModelError
from bertcli.models.temperature import read_temperatures

if TYPE_CHECKING:
    from bertcli.models.weights import Weights

Kind = Literal["label", "tag", "fill", "answer"]
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]

KINDS: tuple[Kind, ...] = get_args(Kind)
PROBLEM_TYPES: tuple[ProblemType, ...] = get_args(ProblemType)


@dataclass(frozen=True, slots=True)
class Head:
    """A head of a checkpoint.

    `name` is the skill's name: the kind itself for an ordinary Hugging Face checkpoint with one head, a name
    such as `sentiment` where a checkpoint holds several. `labels` are the class names in output order (empty
    for fill). `problem` is set for label heads. `named` is False when the labels are only LABEL_0, LABEL_1 …
    `skill` is True for a head of a several-skill checkpoint, stored under `heads.<name>.` in the file, with
    `pooling` saying which vector a label head reads. `missing` are the names of weights the head needs and
    the file does not hold; `outputs` is the weight with a row a label, None where it is not known. A label
    head's logits are divided by its `temperature` (`bertcli.temperature` in config.json, see
    `models.temperature`). `declared` says that config.json has a `problem_type`. `activation` and `prompt`
    are what sentence-transformers' files say of a cross-encoder (see `models.cross_encoder`): the function
    that its output goes through, and what goes before the first text of a pair. `adapter` are the names of the
    encoder's weights that are other ones for this head (see `Checkpoint.for_head`). `shapes` says that a tag head
    reads the shapes of words as token types, from a table of its own (see `tasks.word_shapes`), `transitions` that it
    scores which tag follows which (see `tasks.tag_path`).
    """

    name: str
    kind: Kind
    labels: tuple[str, ...] = ()
    problem: ProblemType | None = None
    named: bool = True
    skill: bool = False
    pooling: Literal["cls", "mean"] = "cls"
    missing: tuple[str, ...] = ()
    outputs: str | None = None
    temperature: float = 1.0
    declared: bool = False
    activation: str | None = None
    prompt: str = ""
    adapter: tuple[str, ...] = ()
    shapes: bool = False
    transitions: bool = False

    @property
    def changes_encoder(self) -> bool:
        """Whether the encoder computes something else for this head than for the others."""
        return self.shapes or bool(self.adapter)


_KIND_OF_ARCHITECTURE: Mapping[str, Kind] = {
    "ForSequenceClassification": "label",
    "ForTokenClassification": "tag",
    "ForMaskedLM": "fill",
    "WithLMHeadModel": "fill",  # XLM's and Flaubert's name for it
    "ForPreTraining": "fill",
    "ForQuestionAnswering": "answer",
    "ForQuestionAnsweringSimple": "answer",  # of XLM and Flaubert
}

WORD_SHAPES = 48
"""How many shapes of words there are (see `tasks.word_shapes`)."""
_LABEL_COUNTS = range(1, 100_001)  # what may be believed of a number of labels


def find_heads(
    config: Mapping[str, Any], weights: Weights, encoder_prefix: str, architecture: Architecture | None
) -> dict[str, Head]:
    """The heads of a checkpoint by name: skills first, in the order of config.json, then the ordinary one.

    Raises ModelError when `bertcli.heads` or `bertcli.temperature` is not what it should be.
    """
    heads = {head.name: head for head in _skills(config, weights, encoder_prefix)}
    needs = {kind: list(_needs(kind, architecture, encoder_prefix)) for kind in KINDS}
    declared = _declared_kind(config) or _clear_kind(config, weights, needs)
    kinds: list[Kind] = [declared] if declared else []
    if "fill" not in kinds and _fill_is_there(weights, needs):
        kinds.append("fill")
    for kind in kinds:
        heads.setdefault(kind, _ordinary(kind, config, weights, needs[kind]))
    for name, temperature in read_temperatures(config).items():
        if name in heads:
            heads[name] = replace(heads[name], temperature=temperature)
    return heads


def needed(head: Head, architecture: Architecture | None, encoder_prefix: str) -> list[str]:
    """Names of the tensors a head is made of, `a|b` for either of two; none where the architecture is not
    known here. A named head's dense layer may be missing."""
    if not head.skill:
        return list(_needs(head.kind, architecture, encoder_prefix))
    layers = (f"heads.{head.name}.dense", f"heads.{head.name}.classifier")
    return [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def problem_type(declared: Any, outputs: int) -> ProblemType:
    """What a label head's numbers mean: as declared, else one output is a regression, several are classes."""
    if declared in PROBLEM_TYPES:
        return declared  # type: ignore[no-any-return]
    return "regression" if outputs == 1 else "single_label_classification"


def _declared_kind(config: Mapping[str, Any]) -> Kind | None:
    architecture = first_architecture(config) or ""
    kind = next((kind for end, kind in _KIND_OF_ARCHITECTURE.items() if architecture.endswith(end)), None)
    if kind == "fill" and architecture == "ElectraForPreTraining":  # detects replaced words
        return None
    return kind


def _clear_kind(config: Mapping[str, Any], weights: Weights, needs: Mapping[Kind, list[str]]) -> Kind | None:
    """The head that the weights hold where config.json names no architecture; None where that is not clear."""
    if first_architecture(config) is not None:
        return None
    if "qa_outputs.weight" in weights:
        return "answer"
    if needs["label"] == needs["tag"]:
        return None
    tasks: tuple[Kind, ...] = ("label", "tag")  # what a tag head needs, some label heads need too
    return next((kind for kind in tasks if needs[kind] and _all_held(needs[kind], weights)), None)


def first_architecture(config: Mapping[str, Any]) -> str | None:
    """The model class config.json names first, None where it names none."""
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures and isinstance(architectures[0], str):
        return architectures[0]
    return None


def _ordinary(kind: Kind, config: Mapping[str, Any], weights: Weights, needs: list[str]) -> Head:
    """The one head of a Hugging Face checkpoint."""
    missing = () if weights.pickle else tuple(need for need in needs if not _held(need, weights))
    outputs = needs[-2] if needs and kind in ("label", "tag", "answer") else None
    if kind == "fill":
        return Head(kind, kind, missing=missing)
    if kind == "answer":
        return Head(kind, kind, ("start", "end"), missing=missing, outputs=outputs)
    labels, named = _labels(config, weights.row_count(outputs))
    problem = problem_type(config.get("problem_type"), len(labels)) if kind == "label" else None
    declared = config.get("problem_type") is not None
    return Head(kind, kind, labels, problem, named, missing=missing, outputs=outputs, declared=declared)


def _needs(kind: Kind, architecture: Architecture | None, prefix: str) -> Iterator[str]:
    """Names of the tensors a head needs, `a|b` for either of two, the classifier's last; none where the
    architecture is not known here."""
    steps = architecture.heads.steps(kind, prefix) if architecture else ()
    for step in steps:
        yield f"{step.name}.weight"
        if step.bias:
            yield f"{step.name}.bias"
    if architecture is not None and kind == "fill":
        projection = architecture.heads.projection
        if projection.weight is not None and not projection.tied:
            yield projection.weight
        if projection.biases:
            yield "|".join(projection.biases)


def _held(need: str, weights: Weights) -> bool:
    return any(name in weights for name in need.split("|"))


def _all_held(needs: Iterable[str], weights: Weights) -> bool:
    return all(_held(need, weights) for need in needs)


def _fill_is_there(weights: Weights, needs: Mapping[Kind, list[str]]) -> bool:
    """Whether the file holds a whole masked-LM head that config.json does not mention. Without a bias and a
    projection of its own, ModernBERT's has no weight that its label head has not."""
    own = set(needs["fill"]) - set(needs["label"])
    return bool(own) and _all_held(needs["fill"], weights)


def _labels(config: Mapping[str, Any], rows: int | None) -> tuple[tuple[str, ...], bool]:
    """Class names by output, and whether they are names and not only numbers. Names that are not as many as
    num_labels says are none, as in transformers."""
    found, declared = config.get("id2label"), config.get("num_labels")
    names = found if isinstance(found, dict) and all(re.fullmatch(r"\d+", str(key)) for key in found) else {}
    if names and (type(declared) is not int or len(names) in (declared, rows)):
        labels = tuple(str(names[key]) for key in sorted(names, key=int))
    else:
        count: Any = rows if rows is not None else declared
        labels = tuple(f"LABEL_{number}" for number in range(count if count in _LABEL_COUNTS else 2))
    return labels, not all(re.fullmatch(r"LABEL_\d+", label) for label in labels)


def _skills(config: Mapping[str, Any], weights: Weights, encoder_prefix: str) -> Iterator[Head]:
    """The heads of `"bertcli": {"heads": {NAME: {"kind", "labels", "problem_type", "pooling", "adapter"}}}`."""
    own = config.get("bertcli", {})
    declared = own.get("heads", {}) if isinstance(own, dict) else None
    if not isinstance(declared, dict):
        raise ModelError(
            "bertcli.heads is not an object of heads by name",
            where="config.json",
            hint="correct config.json, or train the model again",
        )
    for name, skill in declared.items():
        yield _skill(name, skill, weights, encoder_prefix)


def _skill(name: str, skill: Any, weights: Weights, encoder_prefix: str) -> Head:
    def expect(good: bool, what: str) -> None:
        if not good:
            raise ModelError(
                f"bertcli.heads.{name}: {what}",
                where="config.json",
                hint="correct config.json, or train the model again",
            )

    expect(isinstance(skill, dict), "is not an object")
    kind = skill.get("kind")
    expect(kind in ("label", "tag", "answer"), "kind must be label, tag or answer")
    labels = ["start", "end"] if kind == "answer" else skill.get("labels")
    expect(isinstance(labels, list) and bool(labels), "labels must be a list of names")
    pooling = skill.get("pooling", "cls")
    expect(pooling in ("cls", "mean"), "pooling must be cls or mean")
    declared = skill.get("problem_type")
    expect(
        declared is None or declared in PROBLEM_TYPES,
        f"problem_type must be one of {', '.join(PROBLEM_TYPES)}",
    )
    outputs = f"heads.{name}.classifier.weight"
    needs = [outputs, f"heads.{name}.classifier.bias"]
    dense = [f"heads.{name}.dense.weight", f"heads.{name}.dense.bias"]
    if any(tensor in weights for tensor in dense):
        needs += dense
    rank = skill.get("adapter", 0)
    expect(type(rank) is int and rank >= 0, "adapter must be a rank, a whole number")
    expect(not rank or kind != "label", "adapter is for tag and answer heads")
    adapter = tuple(_block_weights(weights, encoder_prefix)) if rank else ()
    needs += [adapter_tensor(name, weight, part) for weight in adapter for part in ("down", "up")]
    shapes = skill.get("shapes", False)
    expect(type(shapes) is bool, "shapes must be true or false")
    expect(not shapes or kind == "tag", "shapes are for tag heads")
    needs += [token_types_tensor(name)] if shapes else []
    transitions = skill.get("transitions", False)
    expect(type(transitions) is bool, "transitions must be true or false")
    expect(not transitions or kind == "tag", "transitions are for tag heads")
    needs += [transitions_tensor(name)] if transitions else []
    problem = problem_type(declared, len(labels)) if kind == "label" else None
    missing = tuple(need for need in needs if need not in weights)
    names = tuple(str(label) for label in labels)
    return Head(
        name,
        kind,
        names,
        problem,
        True,
        True,
        pooling,
        missing,
        outputs,
        adapter=adapter,
        shapes=shapes,
        transitions=transitions,
    )


def token_types_tensor(head: str) -> str:
    """The name of a named head's table of token types, which has a row for each of the encoder's and behind them one
    for each shape of words (token types + shapes, hidden)."""
    return f"heads.{head}.token_types"


def transitions_tensor(head: str) -> str:
    """The name of a named head's scores of tags that follow each other (labels + 1, labels)."""
    return f"heads.{head}.transitions"


def adapter_tensor(head: str, weight: str, part: Literal["down", "up"]) -> str:
    """The name of a factor of what a named head adds to a weight of the encoder: `down` (rank, in) or `up` (out,
    rank)."""
    return f"heads.{head}.adapter.{weight}.{part}"


def _block_weights(weights: Weights, encoder_prefix: str) -> Iterator[str]:
    """The matrices of the blocks of a BERT."""
    return (
        name
        for name in weights
        if name.startswith(f"{encoder_prefix}encoder.layer.") and len(weights.shape(name)) == 2
    )
