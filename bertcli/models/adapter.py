"""LoRA adapters as PEFT saves them: `adapter_config.json` and `adapter_model.safetensors`.

An adapter changes weights of a base model and may bring some of its own (`modules_to_save`: a head, a bias, word
embeddings). Its tensors are called `base_model.model.NAME`, where NAME is a module's name in the model of
transformers that was trained. The result equals PEFT's `merge_and_unload`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

from bertcli.errors import ModelError
from bertcli.models.heads import first_architecture
from bertcli.models.jsonfile import ANOTHER_COPY, read_object
from bertcli.models.low_rank import LowRankUpdate
from bertcli.models.weights import Weights, has_weights, open_files

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PICKLE = "adapter_model.bin"
_MERGE = "merge it with PEFT's merge_and_unload, and save the result with save_pretrained"
_PREFIX = "base_model.model."
# Settings that are followed, or that say how the adapter was trained and not what it computes. Any other setting that
# is given changes what it computes.
_FOLLOWED = frozenset(
    [
        "peft_type", "r", "lora_alpha", "alpha_pattern", "rank_pattern", "use_rslora", "use_dora", "bias", "task_type",
        "modules_to_save", "auto_mapping", "base_model_name_or_path", "init_lora_weights",
    ]
)  # fmt: skip
_ONLY_OF_TRAINING = frozenset(
    [
        "inference_mode", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
        "revision", "peft_version", "fan_in_fan_out", "megatron_config", "megatron_core", "eva_config", "loftq_config",
        "corda_config", "lora_ga_config", "runtime_config", "qalora_group_size",
    ]
)  # fmt: skip
# Initialisations that leave the base as it is; the others (PiSSA, OLoRA, LoftQ …) change it, too.
_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
_HEAD_CLASSES = {
    "SEQ_CLS": "ForSequenceClassification",
    "TOKEN_CLS": "ForTokenClassification",
    "QUESTION_ANS": "ForQuestionAnswering",
}
# Names of modules as rank_pattern and alpha_pattern have them. Any regular expression would do for PEFT, and some take
# for ever.
_PATTERN = re.compile(r"\^?\w(?:[\w.-]|(?<=\.)\*|\\\.)*\$?", re.ASCII)
MOST_STARS = 3
LONGEST_NAME = 500  # of a module: matching takes longer with each character
_CLASS_ENDING = re.compile(r"(For[A-Z]\w+|(LMHead)?Model)$")
_HEAD_OUTPUTS = re.compile(r"(classifier(\.out_proj)?|score|qa_outputs)\.weight")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter directory. `base` is the base model's name or directory, None where it names none."""

    path: Path
    settings: Mapping[str, Any]
    weights: Weights

    @property
    def base(self) -> str | None:
        name = self.settings.get("base_model_name_or_path")
        return name if isinstance(name, str) and name.strip() else None


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds an adapter and no model of its own."""
    return (directory / CONFIG).exists() and not has_weights(directory)


def open_adapter(directory: Path) -> Adapter:
    """Raises ModelError for a directory without an adapter, and for one that is not a plain LoRA adapter."""
    settings = read_object(directory / CONFIG)
    if unsupported := next(_unsupported(settings), None):
        raise ModelError(f"is not applied: {unsupported}", where=str(directory / CONFIG), hint=_MERGE)
    if not (directory / WEIGHTS).exists():
        if (directory / _PICKLE).exists():
            raise ModelError(
                f"the adapter's weights are a pickle ({_PICKLE}), which can hold any program",
                where=str(directory),
                hint=f"save the adapter again with a newer PEFT, which writes {WEIGHTS}",
            )
        raise ModelError(f"{WEIGHTS} is missing", where=str(directory), hint=ANOTHER_COPY)
    return Adapter(directory, settings, open_files([directory / WEIGHTS]))


def _unsupported(settings: Mapping[str, Any]) -> Iterator[str]:
    """What bertcli does not compute of an adapter, in words."""
    kind = settings.get("peft_type")
    if kind != "LORA":
        yield f"bertcli applies LoRA adapters, and this is {kind}"
    start = settings.get("init_lora_weights")
    if start not in _PLAIN_STARTS:
        yield f"init_lora_weights is {start!r}, which changes the base model, too"
    for name, value in settings.items():
        if name not in _FOLLOWED | _ONLY_OF_TRAINING and value not in (None, False, [], {}):
            yield f"{name} is set, which bertcli does not follow"
    for name in ("r", "lora_alpha"):
        value = settings.get(name, 8)
        if type(value) not in (int, float) or not value > 0:
            yield f"{name} is {value!r}, not a number above 0"
    for name in ("rank_pattern", "alpha_pattern"):
        pattern = settings.get(name) or {}
        if not isinstance(pattern, dict) or not all(
            type(v) in (int, float) and v > 0 for v in pattern.values()
        ):
            yield f"{name} does not give numbers above 0 by name"
            continue
        for key in pattern:
            if not _PATTERN.fullmatch(key) or key.count("*") > MOST_STARS:
                yield f"{name} has the pattern {key[:80]!r}, which is not a name with up to {MOST_STARS} of .*"


def apply_adapter(
    adapter: Adapter, config: Mapping[str, Any], weights: Weights, encoder_prefix: str
) -> tuple[dict[str, Any], Weights]:
    """config.json and the weights of the base model as the adapter changes them. Nothing is computed before a weight
    is read.

    Raises ModelError for an adapter that does not fit the base model.
    """
    own: dict[str, str] = {}  # a tensor's name in the merged model -> in the adapter's file
    parts: dict[
        str, dict[str, str]
    ] = {}  # a weight's name in the base model -> part of its update -> name in the file
    for stored in adapter.weights:
        if len(stored) > LONGEST_NAME:
            raise _misfit(adapter, f"the name {stored[:80]} … is no module's")
        name = stored.removeprefix(_PREFIX).replace(".base_layer.", ".")
        module, part = _split(name)
        if part is None:
            own[_find(name, weights, encoder_prefix) or name] = stored
            continue
        found = _find(f"{module}.weight", weights, encoder_prefix)
        if found is None:
            raise _misfit(adapter, f"it changes {module}, which the base model does not have")
        parts.setdefault(found, {})[part] = stored
    updates = {name: _update(adapter, name, stored) for name, stored in parts.items()}
    for name, update in updates.items():
        shape = weights.shape(name) if name not in own else adapter.weights.shape(own[name])
        if update.shape != shape:
            sizes = f"its update has the shape {update.shape}, the base model's weight {shape}"
            raise _misfit(adapter, f"{name}: {sizes}")
    tensors = {**weights.tensors, **{name: adapter.weights.tensors[stored] for name, stored in own.items()}}
    merged = replace(
        weights,
        tensors=tensors,
        files=weights.files + adapter.weights.files,
        faults=weights.faults + adapter.weights.faults,
        updates=updates,
    )
    return _changed(adapter, config, merged, own), merged


def _split(name: str) -> tuple[str, str | None]:
    """(module, part) of the name of a part of an update; (name, None) for a tensor that the adapter brings itself."""
    found = re.fullmatch(r"(.+)\.(lora_(?:embedding_)?[AB]|lora_magnitude_vector)(?:\.weight)?", name)
    return (found[1], found[2]) if found else (name, None)


def _find(name: str, weights: Weights, encoder_prefix: str) -> str | None:
    """The base model's name for a tensor: the encoder's prefix (`bert.`) may be in one of the two and not in the
    other."""
    candidates = (name, encoder_prefix + name, *([] if encoder_prefix else [name.partition(".")[2]]))
    return next((candidate for candidate in candidates if candidate in weights), None)


def _update(adapter: Adapter, name: str, stored: Mapping[str, str]) -> LowRankUpdate:
    """The update of the weight called `name`, from its parts in the adapter's file."""
    parts = {part: adapter.weights.read(stored_name) for part, stored_name in stored.items()}
    match sorted(parts):
        case ["lora_A", "lora_B"]:
            a, b, lengths = parts["lora_A"], parts["lora_B"], None
        case ["lora_A", "lora_B", "lora_magnitude_vector"]:
            a, b, lengths = parts["lora_A"], parts["lora_B"], parts["lora_magnitude_vector"]
        case ["lora_embedding_A", "lora_embedding_B"]:  # of the transposed table
            a, b, lengths = parts["lora_embedding_B"].T, parts["lora_embedding_A"].T, None
        case found:
            raise _misfit(adapter, f"{name} has the parts {', '.join(found)}")
    if not (a.ndim == b.ndim == 2 and a.shape[0] == b.shape[1]):
        raise _misfit(adapter, f"the parts of {name} have the shapes {a.shape} and {b.shape}")
    if lengths is not None and lengths.shape != b.shape[:1]:
        raise _misfit(adapter, f"the magnitudes of {name} have the shape {lengths.shape}")
    module = _split(next(iter(stored.values())).removeprefix(_PREFIX))[0]
    return LowRankUpdate(b, a, _scale(adapter, module, a.shape[0]), lengths)


def _scale(adapter: Adapter, module: str, rank: int) -> float:
    """alpha/r, or alpha/√r of rsLoRA (Kalajdzievski 2023, arXiv:2312.03732); both numbers may be set by module."""
    settings = adapter.settings
    declared = _by_module(settings.get("rank_pattern"), module, settings.get("r", 8))
    if declared != rank:
        raise _misfit(adapter, f"{module} has rank {rank}, {CONFIG} gives it {declared}")
    alpha = _by_module(settings.get("alpha_pattern"), module, settings.get("lora_alpha", 8))
    return alpha / sqrt(rank) if settings.get("use_rslora") is True else alpha / rank


def _by_module(pattern: Mapping[str, float] | None, module: str, default: float) -> float:
    """The number of the first pattern that matches the module's name or its end, as PEFT finds it."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return default


def _changed(
    adapter: Adapter, config: Mapping[str, Any], weights: Weights, own: Mapping[str, str]
) -> dict[str, Any]:
    """config.json with the class that was trained, and with the sizes of what the adapter brings."""
    changed = dict(config)
    settings = adapter.settings
    mapping = settings.get("auto_mapping")
    trained = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    ending = _HEAD_CLASSES.get(str(settings.get("task_type")))
    if ending is not None:
        trained = _CLASS_ENDING.sub("", first_architecture(config) or "") + ending
    if isinstance(trained, str):
        changed["architectures"] = [trained]
    outputs = [name for name in own if _HEAD_OUTPUTS.fullmatch(name)]
    labels = config.get("id2label")
    rows = weights.row_count(outputs[0]) if outputs else None
    if rows is not None and (not isinstance(labels, dict) or len(labels) != rows):
        changed = {key: value for key, value in changed.items() if key not in ("id2label", "label2id")}
        changed["num_labels"] = rows
    words = [name for name in own if name.endswith("embeddings.word_embeddings.weight")]
    if words:
        changed["vocab_size"] = weights.row_count(words[0])
    return changed


def _misfit(adapter: Adapter, problem: str) -> ModelError:
    return ModelError(
        f"the adapter does not fit: {problem}",
        where=str(adapter.path),
        hint="name the model it was trained on: -m BASE --adapter DIR",
    )
