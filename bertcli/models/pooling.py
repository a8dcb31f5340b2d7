"""How a checkpoint makes one vector of a text, as its sentence-transformers files say.

`modules.json` lists the modules in order; the first is the encoder, `1_Pooling/config.json` says how token
vectors are pooled, Dense, LayerNorm and Normalize modules (see `modules`) what is done to the pooled vector,
`sentence_bert_config.json` how many tokens the model was trained to read, `config_sentence_transformers.json` which
prompts go in front of a text and how many numbers of a vector are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bertcli.errors import ModelError
from bertcli.models.jsonfile import CORRECT_FILE, read_object, read_optional
from bertcli.models.module_list import ListedModule, is_routed, read_modules
from bertcli.models.modules import Module, Normalize, UnsupportedError, read_module
from bertcli.models.multi_vector import (
    MultiVector,
    is_multi_vector,
    prefixed_prompts,
    read_multi_vector,
)
from bertcli.models.weights import Weights

if TYPE_CHECKING:
    from bertcli.models.prompts import Role

Mode = Literal["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
MODES: tuple[Mode, ...] = get_args(Mode)

# The order of several poolings in the vector.
_OLD_SPELLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

ENCODERS = ("Transformer", "MLMTransformer", "StaticEmbedding")
"""Modules that the others compute on."""

_TASKS = ("feature-extraction", "sequence-classification")  # the second belongs to cross-encoders
_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}
# Arguments for transformers in sentence_bert_config.json, under their older and their newer names.
_ARGUMENTS = (
    "model_args", "tokenizer_args", "config_args", "model_kwargs", "processor_kwargs", "config_kwargs",
)  # fmt: skip
_HARMLESS_ARGUMENTS = frozenset(  # they change where and how fast something is computed, or run foreign code
    [
        "add_pooling_layer", "attn_implementation", "cache_dir", "code_revision", "device_map", "dtype",
        "revision", "torch_dtype", "trust_remote_code", "unpad_inputs", "use_memory_efficient_attention",
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SpladePooling:
    """How logits over the vocabulary become term weights: x = log(1 + ReLU(logit)), or log(1 + x) of that (`twice`); of
    the positions of a text the largest (`max`) or their sum. Only the `most` largest weights are kept, None for all
    (Formal et al. 2021, https://arxiv.org/abs/2109.10086)."""

    strategy: Literal["max", "sum"] = "max"
    twice: bool = False
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Pooling:
    """`modes` pool token vectors, several side by side in one vector; `modules` compute on, and at last
    `normalize` scales to length 1. `prompts` go in front of a text by name, `default_prompt` names the one
    used unasked. `max_length` is in tokens, special tokens included.

    `declared` is False when the checkpoint says nothing and mean is assumed. `include_prompt` False keeps the
    prompt's tokens out of the pooled vector. `lower_case` asks for lower-cased text. `width` is
    the length of the token vectors, where the files give it, `dim` how many numbers of a text's vector are
    kept, None all. `similarity` is the function that compares two vectors in a search, `role_lengths` the lengths
    of texts in tokens that hold for a role ("query", "document") in place of `max_length`.
    `static` says that the encoder is a table of token vectors (see `models.static`).
    `sparse` makes term weights of a text, `multi` a vector for each token, in place of one vector of hidden states.
    `routed` says that the encoder is that of a role, and another role has another.
    `unsupported` lists, in words, what the files ask for and bertcli does not do: embeddings would be others
    than the model's own.
    """

    modes: tuple[Mode, ...] = ("mean",)
    modules: tuple[Module, ...] = ()
    normalize: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    max_length: int | None = None
    declared: bool = False
    include_prompt: bool = True
    lower_case: bool = False
    width: int | None = None
    dim: int | None = None
    similarity: str = "cosine"
    role_lengths: Mapping[str, int] = field(default_factory=dict)
    static: bool = False
    sparse: SpladePooling | None = None
    multi: MultiVector | None = None
    routed: bool = False
    unsupported: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """The name of the pooling: `mean`, or `cls+mean` for two side by side."""
        return "+".join(self.modes)

    def weights(self) -> list[Weights]:
        """Those of the modules."""
        modules = self.modules if self.multi is None else self.multi.modules
        return [module.weights for module in modules if not isinstance(module, Normalize)]


def encoder_folder(directory: Path, role: Role | None = None) -> Path:
    """Where the encoder is: the directory itself, unless modules.json names a folder in it. `role` chooses among
    several encoders."""
    folders = (module.folder for module in read_modules(directory, role) if module.kind in ENCODERS)
    return next(folders, directory)


def read_pooling(directory: Path, role: Role | None = None) -> Pooling:
    """How vectors are made of texts of a role. Raises ModelError when a file is there and cannot be read as what it
    should be, and for a Router without a route for the role."""
    modules = read_modules(directory, role)
    if not modules:
        return Pooling()
    if is_multi_vector(directory, [module.kind for module in modules]):
        return _read_multi_pooling(directory, modules)
    unsupported: list[str] = []
    settings: dict[str, Any] = {"declared": True, "routed": is_routed(directory)}
    after: list[Module] = []
    is_sparse = any(module.kind == "SpladePooling" for module in modules)
    for kind, folder in modules:
        if kind in ("Transformer", "MLMTransformer"):
            settings |= _encoder_settings(folder, unsupported, predicts=is_sparse)
        elif kind == "SpladePooling" and "modes" not in settings:
            settings |= {"sparse": _splade_pooling(directory, folder, unsupported), "modes": ("mean",)}
        elif kind == "StaticEmbedding":
            settings |= {"static": True, "modes": ("mean",)}
        elif kind == "Pooling":
            settings |= _pooling_settings(folder, unsupported)
        elif "modes" not in settings and kind not in ("Dropout", "Identity"):
            unsupported.append(f"a {kind} module before the pooling")
        else:
            try:
                found = read_module(kind, folder)
            except UnsupportedError as error:
                unsupported.append(str(error))
            else:
                after += [found] if found is not None else []
    if "modes" not in settings:
        unsupported.append("no pooling module")
    while after and after[-1] == Normalize():
        settings["normalize"] = True
        after.pop()
    return Pooling(
        **settings,
        **_own_settings(directory, "dot" if is_sparse else "cosine"),
        modules=tuple(after),
        unsupported=tuple(unsupported),
    )


def _read_multi_pooling(directory: Path, modules: list[ListedModule]) -> Pooling:
    unsupported: list[str] = []
    (kind, folder), *others = modules
    if kind != "Transformer":
        unsupported.append(f"a {kind} module in the place of the encoder")
    encoder = _encoder_settings(folder, unsupported, predicts=False, expands=True)
    files = sorted(folder.glob("sentence_*_config.json"))
    multi = read_multi_vector(directory, others, read_object(files[0]) if files else {}, unsupported)
    own = _own_settings(directory, "maxsim")
    own["prompts"] = prefixed_prompts(directory, own["prompts"])
    return Pooling(**({"declared": True} | encoder | multi | own), unsupported=tuple(unsupported))


def _encoder_settings(
    folder: Path, unsupported: list[str], *, predicts: bool, expands: bool = False
) -> dict[str, Any]:
    """`predicts` says that the modules behind the encoder read its masked-LM logits, `expands` that queries may be
    expanded."""
    for path in sorted(folder.glob("sentence_*_config.json")):
        found = read_object(path)
        length = found.get("max_seq_length")
        if length is not None and type(length) is not int:
            raise ModelError(
                f"max_seq_length is {length!r}, not a whole number",
                where=str(path),
                hint=CORRECT_FILE,
            )
        unsupported += _unsupported_settings(found, predicts=predicts, expands=expands)
        lengths = {role: found.get(f"{role}_length") for role in ("query", "document")}
        return {
            "max_length": length,
            "lower_case": found.get("do_lower_case") is True,
            "role_lengths": {role: length for role, length in lengths.items() if type(length) is int},
        }
    return {}


def _unsupported_settings(config: Mapping[str, Any], *, predicts: bool, expands: bool) -> Iterator[str]:
    """What sentence_bert_config.json asks for and bertcli does not do."""
    task = config.get("transformer_task", "fill-mask" if predicts else "feature-extraction")
    if task not in _TASKS and not (predicts and task == "fill-mask"):
        yield f"transformer_task {task!r}"
    output = config.get("module_output_name", "token_embeddings")
    if task == "feature-extraction" and output != "token_embeddings":
        yield f"module_output_name {output!r}"
    text = _object(config, "modality_config").get("text", _TEXT)
    if task == "feature-extraction" and text != _TEXT:
        yield f"modality_config {text!r}"
    if config.get("query_expansion") and not expands:
        yield "query_expansion"
    processing = _object(config, "processing_kwargs")
    if any(processing.get(part) for part in ("text", "common", "chat_template")):
        yield "processing_kwargs"
    for key in _ARGUMENTS:
        yield from (f"{key} {name!r}" for name in _object(config, key) if name not in _HARMLESS_ARGUMENTS)


def _object(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object of sentence_bert_config.json, empty without it."""
    found = config.get(key) or {}
    if not isinstance(found, dict):
        raise ModelError(f"{key} is not an object", where="sentence_bert_config.json")
    return found


def _pooling_settings(folder: Path, unsupported: list[str]) -> dict[str, Any]:
    config = read_object(folder / "config.json")
    asked = (
        config.get("pooling_mode")
        or [mode for key, mode in _OLD_SPELLINGS.items() if config.get(key)]
        or "mean"
    )
    modes = tuple(asked) if isinstance(asked, list) else (asked,)
    if others := [mode for mode in modes if mode not in MODES]:
        unsupported.append(f"{', '.join(map(str, others))} pooling")
    width = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    return {
        "modes": ("mean",) if others else modes,
        "include_prompt": bool(config.get("include_prompt", True)),
        "width": width if type(width) is int else None,
    }


def _splade_pooling(directory: Path, folder: Path, unsupported: list[str]) -> SpladePooling:
    config = read_object(folder / "config.json")
    strategy, activation = (
        config.get("pooling_strategy", "max"),
        config.get("activation_function", "relu"),
    )
    if strategy not in ("max", "sum") or activation not in ("relu", "log1p_relu"):
        unsupported.append(f"{strategy} pooling of {activation} logits")
        return SpladePooling()
    own = read_optional(directory / "config_sentence_transformers.json", dict) or {}
    most = own.get("max_active_dims")
    return SpladePooling(
        strategy, activation == "log1p_relu", most if type(most) is int and most > 0 else None
    )


def _own_settings(directory: Path, default_similarity: str) -> dict[str, Any]:
    path = directory / "config_sentence_transformers.json"
    config = read_optional(path, dict) or {}
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ModelError(
            "prompts is not an object of texts by name",
            where=str(path),
            hint=CORRECT_FILE,
        )
    dim = config.get("truncate_dim")
    if dim is not None and (type(dim) is not int or dim < 1):
        raise ModelError(
            f"truncate_dim is {dim!r}, not a whole number above 0",
            where=str(path),
            hint=CORRECT_FILE,
        )
    default = config.get("default_prompt_name")
    return {
        "prompts": prompts,
        "default_prompt": default if isinstance(default, str) else None,
        "dim": dim,
        "similarity": str(config.get("similarity_fn_name") or default_similarity),
    }
