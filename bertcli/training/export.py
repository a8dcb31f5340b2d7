"""From trained weights to a directory that opens in transformers and in bertcli.

`config.json`, `model.safetensors`, tokenizer files and sentence-transformers' modules. The tensors
are those of `BertForMaskedLM` (`bert.…`, `cls.predictions.…`; the decoder is tied and left out) and
`heads.<name>.…`, where `heads.<name>.adapter.<weight>.down` and `.up` are the factors of what a head adds to a weight
of the encoder, and `heads.<name>.token_types` is the table of token types of a head that reads the shapes of words.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer

from bertcli.models.checkpoint import Checkpoint
from bertcli.models.cross_encoder import DECLARED
from bertcli.training.network import HeadSpec, Network

MODEL = "model."
OWN_PREFIX = "bert."  # before the weights of the encoder
TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
FILL = "cls.predictions."
HEADS = "heads."
DENSE = ".dense.weight"
OF_THE_BASE = (  # keys of config.json
    "bertcli", "id2label", "label2id", "problem_type", "torch_dtype", *DECLARED,
)  # fmt: skip
MAX_LENGTH = 256  # tokens, of an embedding
MODULE_FILES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json")


def export(
    network: Network, specs: Mapping[str, HeadSpec], base: Checkpoint, target: Path, *, fill: bool
) -> None:
    """Write the weights of a Network as the directory `target`; config and tokenizer come from `base`.

    `fill` says whether its masked-LM head has learnt anything, or else is left out.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    tensors = encoder_weights(network.weights(), fill=fill) | head_tensors(network, OWN_PREFIX)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config = {name: value for name, value in base.config.items() if name not in OF_THE_BASE}
    config |= {"architectures": ["BertForMaskedLM" if fill else "BertModel"], "dtype": "float16"}
    config["bertcli"] = {"heads": {name: spec.as_config() for name, spec in specs.items()}}
    _write_json(target / "config.json", config)
    write_tokenizer(base.tokenizer_path, target)
    write_pooling(target, base.hidden_size, min(MAX_LENGTH, base.max_length))


def export_beside(network: Network, specs: Mapping[str, HeadSpec], base: Checkpoint, target: Path) -> None:
    """Write the base as it is with the heads of a Network beside its own, as the directory `target`."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    tensors: dict[str, Tensor] = {}
    for file in base.weights.files:
        tensors |= load_file(file)
    replaced = tuple(f"{HEADS}{name}." for name in specs)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(replaced)}
    tensors |= head_tensors(network, base.encoder_prefix)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    own = dict(base.config.get("bertcli", {}))
    own["heads"] = own.get("heads", {}) | {name: spec.as_config() for name, spec in specs.items()}
    _write_json(target / "config.json", dict(base.config) | {"bertcli": own})
    write_tokenizer(base.path, target)
    for name in MODULE_FILES:
        if (base.path / name).is_file():
            shutil.copyfile(base.path / name, target / name)
    for folder in base.path.glob("[0-9]*_*"):
        shutil.copytree(folder, target / folder.name)


def head_tensors(network: Network, encoder_prefix: str) -> dict[str, Tensor]:
    """The heads of a Network under their names on disk: in float32, as they compute (the bias of a regression may be
    1950.4), and their adapters and the matrices of their dense layers in float16, as the encoder."""
    heads = {
        f"{HEADS}{name}": _half(value) if name.endswith(DENSE) else value
        for name, value in network.heads.state_dict().items()
    }
    adapters = {
        tensor: _half(value)
        for name in network.adapters
        if (adapter := network.adapter(name)) is not None
        for tensor, value in adapter.tensors(name, encoder_prefix).items()
    }
    return {name: value.detach().cpu().contiguous() for name, value in (heads | adapters).items()}


def export_one_head(model: Any, base: Path, target: Path) -> None:
    """Write a model of transformers with its one head, and the tokenizer of its base."""
    model.save_pretrained(target)
    write_tokenizer(base, target)


def write_tokenizer(base: Path, target: Path) -> None:
    """The tokenizer of a base, without the padding and the limit some have in tokenizer.json: whoever opens
    the file should choose these."""
    AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False).save_pretrained(
        target
    )
    file = target / "tokenizer.json"
    definition = json.loads(file.read_text(encoding="utf-8"))
    _write_json(file, definition | {"truncation": None, "padding": None})


def encoder_weights(parameters: Mapping[str, Tensor], *, fill: bool) -> dict[str, Tensor]:
    """The encoder and, with `fill`, the masked-LM head among the parameters of a Network, under their names on disk
    and tied tensors once: in float16, unless a number is beyond it."""
    tensors = {}
    for name, value in parameters.items():
        on_disk = name.removeprefix(MODEL)
        if on_disk == name or on_disk in TIED or (on_disk.startswith(FILL) and not fill):
            continue
        if value.is_floating_point():
            tensors[on_disk] = _half(value).contiguous()
    return tensors


def _half(value: Tensor) -> Tensor:
    """In float16, or in float32 where a number is beyond it."""
    half = value.to(torch.float16)
    return half if half.isfinite().all() else value.float()


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
