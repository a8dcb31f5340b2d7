"""From a run's state to a directory that opens in transformers and in bertcli.

`config.json`, `model.safetensors` (float16), tokenizer files and sentence-transformers' modules. The tensors
are those of `BertForMaskedLM` (`bert.…`, `cls.predictions.…`; the decoder is tied and left out) and
`heads.<name>.…`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from bertcli.training.heads import HeadSpec

ENCODER = "masked_lm."
TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def export_state(state_file: Path, base: Path, target: Path, max_length: int = 256) -> None:
    """Write the checkpoint `target` from a run's `state.pt`; config and tokenizer come from `base`.

    Written beside its name first, so that it appears whole. Raises FileExistsError when `target` is there.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists")
    state = torch.load(state_file, weights_only=True, map_location="cpu")
    specs = {
        name: HeadSpec(**(spec | {"labels": tuple(spec["labels"])})) for name, spec in state["specs"].items()
    }
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    weights = part / "model.safetensors"
    save_file(checkpoint_tensors(state["model"]), weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors makes files that only their owner may read
    config = json.loads((base / "config.json").read_text())
    config |= {"architectures": ["BertForMaskedLM"], "dtype": "float16"}
    config["bertcli"] = {"heads": {name: spec.as_config() for name, spec in specs.items()}}
    _write_json(part / "config.json", config)
    for name in TOKENIZER_FILES:
        if (base / name).exists():
            shutil.copyfile(base / name, part / name)
    # The base's tokenizer.json pads to 128 and cuts there; whoever opens the file should choose that.
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    _write_json(part / "tokenizer.json", tokenizer | {"truncation": None, "padding": None})
    write_pooling(part, config["hidden_size"], max_length)
    part.rename(target)


def checkpoint_tensors(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """A SkillModel's state under its names on disk, float16, tied tensors once."""
    tensors = {}
    for name, value in parameters.items():
        on_disk = name.removeprefix(ENCODER)
        if on_disk not in TIED and value.is_floating_point():
            tensors[on_disk] = value.to(torch.float16).contiguous()
    return tensors


def write_pooling(directory: Path, hidden: int, max_length: int) -> None:
    """sentence-transformers' files for: encoder, mean pooling, unit length."""
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize")]
    _write_json(
        directory / "modules.json",
        [
            {"idx": index, "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (name, path, kind) in enumerate(modules)
        ],
    )
    (directory / "1_Pooling").mkdir()
    modes = {"cls_token": False, "mean_tokens": True, "max_tokens": False, "mean_sqrt_len_tokens": False}
    pooling: dict[str, Any] = {"word_embedding_dimension": hidden}
    pooling |= {f"pooling_mode_{mode}": on for mode, on in modes.items()}
    _write_json(directory / "1_Pooling" / "config.json", pooling)
    _write_json(
        directory / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False}
    )


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
