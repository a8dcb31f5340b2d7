"""How a checkpoint makes one vector of a text, as its sentence-transformers files say.

`modules.json` lists the modules in order; the first is the encoder, `1_Pooling/config.json` says how token
vectors are pooled, a Normalize module that vectors have length 1, `sentence_bert_config.json` how many tokens
the model was trained to read, `config_sentence_transformers.json` which prompts go in front of a text and how
many numbers of a vector are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bertcli.errors import ModelError
from bertcli.models.jsonfile import read_object, read_optional

Mode = Literal["mean", "cls", "max"]
LONGEST_NAME = 250  # of a file, in letters
MODES: tuple[Mode, ...] = ("mean", "cls", "max")

_OLD_SPELLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True)
class Pooling:
    """`mode` pools token vectors, then `normalize` scales to length 1. `prompts` go in front of a text by
    name, `default_prompt` names the one used unasked. `max_length` is in tokens, special tokens included.

    `declared` is False when the checkpoint says nothing and mean is assumed. `include_prompt` False keeps the
    prompt's tokens out of the pooled vector. `lower_case` asks for lower-cased text. `width` is
    the length of the vectors, where the files tell it, `dim` how many of their numbers are kept, None all.
    `unsupported` lists, in words, what the files ask for and bertcli does not do: embeddings would be others
    than the model's own.
    """

    mode: Mode = "mean"
    normalize: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    max_length: int | None = None
    declared: bool = False
    include_prompt: bool = True
    lower_case: bool = False
    width: int | None = None
    dim: int | None = None
    unsupported: tuple[str, ...] = ()


def encoder_folder(directory: Path) -> Path:
    """Where the encoder lies: the directory itself, unless modules.json names a folder in it."""
    for module in _modules(directory):
        if _kind(module) == "Transformer":
            return directory / str(module.get("path", ""))
    return directory


def read_pooling(directory: Path) -> Pooling:
    """Raises ModelError when a file is there and cannot be read as what it should be."""
    modules = _modules(directory)
    if not modules:
        return Pooling()
    unsupported: list[str] = []
    settings: dict[str, Any] = {"declared": True}
    for module in modules:
        folder, kind = directory / module.get("path", ""), _kind(module)
        if kind == "Transformer":
            settings |= _encoder_settings(folder)
        elif kind == "Pooling":
            settings |= _pooling_settings(folder, unsupported)
        elif kind == "Normalize" and "mode" not in settings:
            unsupported.append("a Normalize module before the pooling")
        elif kind == "Normalize":
            settings["normalize"] = True
        elif kind != "Dropout":  # does nothing outside training
            unsupported.append(f"a {kind} module after the encoder")
    if "mode" not in settings:
        unsupported.append("no pooling module")
    return Pooling(**settings, **_own_settings(directory), unsupported=tuple(unsupported))


def _modules(directory: Path) -> list[dict[str, Any]]:
    """The modules of modules.json, none without it; their folders lie inside the checkpoint."""
    path = directory / "modules.json"
    modules = read_optional(path, list) or []
    for module in modules:
        if not isinstance(module, dict) or not isinstance(module.get("type"), str):
            raise ModelError(
                "is not a list of modules with a type",
                where=str(path),
                hint="mend the file, or download the model again",
            )
        folder = module.get("path", "")
        if not isinstance(folder, str) or Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise ModelError(
                f"names a folder outside the checkpoint: {folder}",
                where=str(path),
                hint="mend the file, or download the model again",
            )
        if len(folder) > LONGEST_NAME or not folder.isprintable():
            raise ModelError(
                f"names a folder that cannot be: {folder[:40]!r}",
                where=str(path),
                hint="mend the file, or download the model again",
            )
    return modules


def _kind(module: Mapping[str, Any]) -> str:
    """The class of a module without its package, which moved between versions."""
    return str(module["type"]).rpartition(".")[2]


def _encoder_settings(folder: Path) -> dict[str, Any]:
    for path in sorted(folder.glob("sentence_*_config.json")):
        found = read_object(path)
        length = found.get("max_seq_length")
        if length is not None and type(length) is not int:
            raise ModelError(
                f"max_seq_length is {length!r}, not a whole number",
                where=str(path),
                hint="mend the file, or download the model again",
            )
        return {"max_length": length, "lower_case": found.get("do_lower_case") is True}
    return {}


def _pooling_settings(folder: Path, unsupported: list[str]) -> dict[str, Any]:
    config = read_object(folder / "config.json")
    asked = (
        config.get("pooling_mode")
        or [mode for key, mode in _OLD_SPELLINGS.items() if config.get(key)]
        or "mean"
    )
    modes = [asked] if isinstance(asked, str) else list(asked)
    if len(modes) > 1:
        unsupported.append(f"several poolings side by side ({', '.join(map(str, modes))})")
    elif modes[0] not in MODES:
        unsupported.append(f"{modes[0]} pooling")
    mode = modes[0] if len(modes) == 1 and modes[0] in MODES else "mean"
    width = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    return {
        "mode": mode,
        "include_prompt": config.get("include_prompt") is not False,
        "width": width if type(width) is int else None,
    }


def _own_settings(directory: Path) -> dict[str, Any]:
    path = directory / "config_sentence_transformers.json"
    config = read_optional(path, dict) or {}
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ModelError(
            "prompts is not an object of texts by name",
            where=str(path),
            hint="mend the file, or download the model again",
        )
    dim = config.get("truncate_dim")
    if dim is not None and (type(dim) is not int or dim < 1):
        raise ModelError(
            f"truncate_dim is {dim!r}, not a whole number above 0",
            where=str(path),
            hint="mend the file, or download the model again",
        )
    default = config.get("default_prompt_name")
    return {
        "prompts": prompts,
        "default_prompt": default if isinstance(default, str) else None,
        "dim": dim,
    }
