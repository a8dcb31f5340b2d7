"""What a directory holds: configuration, limits, pooling, heads, weights. No torch, no transformers.

A checkpoint is read as it is; whether it can be trusted is the business of `check`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertcli.architectures import describe
from bertcli.architectures.architecture import Architecture, Embeddings
from bertcli.errors import ModelError
from bertcli.models.adapter import Adapter, apply_adapter, is_adapter, open_adapter
from bertcli.models.cross_encoder import as_declared, read_cross_encoder
from bertcli.models.heads import (
    WORD_SHAPES,
    Head,
    Kind,
    adapter_tensor,
    find_heads,
    first_architecture,
    token_types_tensor,
)
from bertcli.models.jsonfile import ANOTHER_COPY, read_object, read_optional, read_small
from bertcli.models.low_rank import LowRankUpdate
from bertcli.models.multi_vector import COLBERT_ARCHITECTURE, colbert_settings
from bertcli.models.pooling import Pooling, encoder_folder, read_pooling
from bertcli.models.prompts import Role
from bertcli.models.static import StaticTable, static_config
from bertcli.models.tokenizer_cache import holds_tokenizer
from bertcli.models.weights import Weights, open_weights

# Of the architectures that are not described: where positions start behind the padding index, so that a table
# of 514 takes 512 tokens.
_OFFSET_POSITIONS = ("xmod",)
# What model types call the width, the number of layers and that of attention heads.
_WIDTHS = ("hidden_size", "dim", "d_model", "n_embd", "emb_dim")
_DEPTHS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers", "encoder_layers")
_HEAD_COUNTS = ("num_attention_heads", "n_heads", "n_head", "num_heads", "encoder_attention_heads")
# How the class names of models that generate text end, and the most common of their types.
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "MTModel")
_CLASSIFIERS = (
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "WithLMHeadModel",
)
_WRITING_TYPES = frozenset(
    [
        "bart", "bloom", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_bigcode", "gpt_neo",
        "gpt_neox", "gpt_oss", "gptj", "llama", "mamba", "mbart", "mistral", "mixtral", "mt5", "olmo", "opt",
        "pegasus", "phi", "phi3", "qwen2", "qwen3", "stablelm", "t5", "xglm",
    ]
)  # fmt: skip
_CONVERT = "write a model of its own first: `bertcli models convert DIR -o NEW`"
NO_LIMIT = 1_000_000  # transformers writes 1e30 where a tokenizer has no limit
_HINTS: Mapping[Kind, str] = {
    "label": "name the classes yourself with --labels, train a head with `bertcli train label`, or take a"
    " model fine-tuned for classification (…ForSequenceClassification)",
    "tag": "take a model fine-tuned for token classification (…ForTokenClassification), as"
    " dslim/bert-base-NER is, or train one with `bertcli train tag`",
    "fill": "take a model saved with its masked-LM head (…ForMaskedLM), as bert-base-uncased is",
    "answer": "take a model fine-tuned for extractive question answering (…ForQuestionAnswering):"
    " `bertcli models pull deepset/roberta-base-squad2`, then -m deepset/roberta-base-squad2",
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model on disk. Sizes are as config.json has them, lengths in tokens, special tokens included.

    `position_limit` is what the positions take, `max_length` the least of that and the tokenizer's own limit,
    `embed_max_length` what embeddings were trained for. `encoder_prefix` is before the encoder's weights
    (`bert.`, or nothing). `description` says how the architecture computes, None of one that only transformers
    runs. `token_types` is how many there are, 0 or 1 where they say nothing. `directory` is what the
    user named (the adapter, where one is applied), `path` the directory of config.json and the weights,
    `tokenizer_path` that of the tokenizer, `adapter` that of the LoRA adapter, if there is one; `config` and `weights`
    are as it changes them. `tokenizer_config` is tokenizer_config.json, with the `tokenizer_class` of config.json where
    it names none.
    """

    directory: Path
    path: Path
    tokenizer_path: Path
    adapter: Path | None
    name: str
    config: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    model_type: str
    architecture: str | None
    description: Architecture | None
    hidden_size: int
    layers: int
    attention_heads: int
    vocab_size: int
    position_limit: int
    max_length: int
    embed_max_length: int
    token_types: int
    pooling: Pooling
    heads: Mapping[str, Head]
    weights: Weights
    encoder_prefix: str

    def head(self, kind: Kind, name: str | None = None) -> Head:
        """The head that answers `kind`: the one called `name`, or the first. Else raises ModelError."""
        for head in self.heads_of(kind):
            if name in (None, head.name):
                return head
        raise self._no_head(kind, name)

    def heads_of(self, kind: Kind) -> list[Head]:
        """The heads that answer `kind`; where there are several, the first is the one to take unasked."""
        return [head for head in self.heads.values() if head.kind == kind]

    def for_head(self, head: Head) -> Checkpoint:
        """The checkpoint with the encoder as `head` reads it: the weights of its adapter are updated by up·down (see
        `training.adapter`), and the table of token types is its own. Raises ModelError for what does not fit the
        encoder."""
        if not head.changes_encoder:
            return self
        if self.adapter is not None:
            raise ModelError(
                f"the head {head.name} has an adapter of its own and cannot be used with another",
                where=str(self.adapter),
                hint="leave out --adapter",
            )
        updates = {}
        for name in head.adapter:
            down, up = (self.weights.read(adapter_tensor(head.name, name, part)) for part in ("down", "up"))
            if down.ndim != 2 or up.ndim != 2 or up.shape[1] != len(down):
                raise ModelError(f"the adapter of the head {head.name} has factors that do not fit: {name}")
            updates[name] = LowRankUpdate(up, down, 1.0)
            if updates[name].shape != self.weights.shape(name):
                raise ModelError(f"the adapter of the head {head.name} does not fit the weight {name}")
        changed = replace(self, weights=replace(self.weights, updates=updates))
        return changed._with_token_types(token_types_tensor(head.name)) if head.shapes else changed

    def _with_token_types(self, table: str) -> Checkpoint:
        """The checkpoint with another tensor as its table of token types."""
        if self.description is None or self.description.embeddings.types is None:
            raise ModelError(f"{self.name} has no token types, which {table} would replace")
        rows = self.token_types + WORD_SHAPES
        if self.weights.shape(table) != (rows, self.hidden_size):
            raise ModelError(
                f"{table} is {self.weights.shape(table)}, where {(rows, self.hidden_size)} is needed",
                where=str(self.path),
                hint="train the model again",
            )
        name = f"{self.encoder_prefix}{self.description.embeddings.types}.weight"
        return replace(
            self,
            config=dict(self.config) | {"type_vocab_size": rows},
            token_types=rows,
            weights=replace(self.weights, replaced={name: table}),
        )

    def _no_head(self, kind: Kind, name: str | None) -> ModelError:
        others = [head.name for head in self.heads_of(kind)]
        if name is not None and others:
            return ModelError(f"{self.name} has no {kind} head {name!r}", hint=f"it has: {', '.join(others)}")
        heads = [f"{head.name} ({head.kind})" if head.skill else head.kind for head in self.heads.values()]
        if heads:
            holds = f"its heads: {', '.join(heads)}"
        elif self.translates:
            holds = "an encoder-decoder, which `bertcli translate` runs"
        else:
            holds = "a model that writes text, and no encoder" if self.writes else "an encoder without a head"
        what = f"{self.architecture or self.model_type}, {holds}"
        hint = _HINTS[kind]
        if not heads and self.weights.pickle:
            what = (
                f"{self.architecture or self.model_type}, and heads are not sought in its weights, a pickle"
            )
            hint += "; or `bertcli models convert DIR -o NEW --allow-pickle`, where heads are found by name"
        return ModelError(f"{self.name} has no {kind} head ({what})", hint=hint)

    @property
    def writes(self) -> bool:
        """Whether the model is made to write text and not to read it as a whole: it is no encoder."""
        name = self.architecture or ""
        classifies = name.endswith(_CLASSIFIERS)
        if self.config.get("is_decoder") is True or (name.endswith(_WRITERS) and not classifies):
            return True
        return self.model_type in _WRITING_TYPES and not classifies

    @property
    def translates(self) -> bool:
        """Whether the model is an encoder-decoder that writes text."""
        return self.writes and bool(self.config.get("is_encoder_decoder"))

    @property
    def generation(self) -> Mapping[str, Any]:
        """How the checkpoint wants text to be generated: generation_config.json, else what config.json says of it.
        Ids of special tokens that the former lacks are those of the latter, as in transformers."""
        settings = read_optional(self.path / "generation_config.json", dict)
        if settings is None:
            return self.config
        tokens = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
        missing = [key for key in tokens if settings.get(key) is None]
        return settings | {key: self.config.get(key) for key in missing}

    @property
    def static_table(self) -> StaticTable:
        """The table of token vectors of static embeddings."""
        return StaticTable.of(self.weights, self.path)

    @property
    def word_embeddings(self) -> str:
        """The name of the table of word embeddings."""
        return f"{self.encoder_prefix}{_embeddings(self.description).words}.weight"

    @property
    def decoder_weight(self) -> str | None:
        """The name of the masked-LM head's own projection onto the vocabulary; it need not be in the file."""
        return self.description.heads.projection.weight if self.description else None

    @property
    def projection(self) -> str:
        """The name of what projects onto the vocabulary: the masked-LM head's own weight, or the word
        embeddings where the file holds none and config.json ties the two. One that is there is used, tied or
        not, as in transformers: where the two were one in training, they hold the same numbers."""
        own = self.decoder_weight
        if own is None or self.description is None:
            return self.word_embeddings
        tied = self.description.heads.projection.tied and own not in self.weights
        return self.word_embeddings if tied else own

    def parameters(self) -> int:
        """The number of trained numbers in the file."""
        return sum(math.prod(self.weights.shape(name)) for name in self.weights.floats)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the model: from the small files, and from names, shapes and
        the first and last bytes of every tensor. Cheap, the same on every machine."""
        import hashlib  # brings OpenSSL, which a quick answer does without

        digest = hashlib.sha256()
        for folder in dict.fromkeys((self.path, self.tokenizer_path, self.directory)):
            for pattern in ("*.json", "vocab.txt", "merges.txt", "*.model", "*.spm", "[0-9]*_*/config.json"):
                for path in sorted(folder.glob(pattern)):
                    digest.update(os.fsencode(path.name) + b"\0" + _identity(path))
        for weights in (self.weights, *self.pooling.weights()):
            for name in sorted(weights.names):
                declared = f"{name}\0{weights.dtype(name)}\0{weights.shape(name)}"
                digest.update(declared.encode("utf-8", "surrogatepass"))  # JSON can name half a character
                digest.update(weights.bytes_of(name, most=1024))
        if self.weights.pickle:
            for path in self.weights.files:
                digest.update(f"{path.name}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}".encode())
        return digest.hexdigest()[:16]


def _identity(path: Path) -> bytes:
    """What a small file says; nothing, of what no run reads: a fifo, a device, a file beyond reason."""
    try:
        return read_small(path) or b""
    except ModelError:
        return b""


def open_checkpoint(
    path: Path, *, allow_pickle: bool = False, adapter: Path | None = None, role: Role | None = None
) -> Checkpoint:
    """Read a checkpoint directory. Raises ModelError when it is none, is beyond reading, or is a pickle.

    The LoRA adapter in the directory `adapter` is applied to it. `path` may be an adapter itself: it is applied to the
    base model that it names, if that is on this machine. `role` chooses the encoder where queries and documents have
    different ones.

    Damaged weight files do not raise here: they are among `weights.faults`, and `check` refuses them.
    """
    _require_directory(path)
    if adapter is not None:
        _require_directory(adapter)
    elif is_adapter(_model_folder(path, role)):
        path, adapter = _base_of(path), path
    _refuse_parent(path)
    folder, pooling = _model_folder(path, role), read_pooling(path, role)
    if adapter is not None and is_adapter(folder):
        raise ModelError(
            "is an adapter, and so no base model for another one", where=str(path), hint=_CONVERT
        )
    config = {} if pooling.static else read_object(folder / "config.json")
    weights = open_weights(folder)
    if weights.pickle and not allow_pickle:
        raise ModelError(
            f"the weights are a pickle ({weights.files[0].name}), which can hold any program",
            hint="use the model's safetensors version, or trust this file with --allow-pickle",
            where=str(folder),
        )
    if pooling.static:
        config = static_config(weights, folder, NO_LIMIT)
    if config.get("architectures") == [COLBERT_ARCHITECTURE] and "linear.weight" in weights:
        pooling = Pooling(**colbert_settings(folder, weights))
    if adapter is None:
        return _assemble(path, folder, config, pooling, weights)
    opened = open_adapter(_model_folder(adapter))
    if weights.pickle:
        raise ModelError("an adapter cannot be applied to a pickle", where=str(folder), hint=_CONVERT)
    prefix = _encoder_prefix(weights, _embeddings(describe(config)))
    config, weights = apply_adapter(opened, config, weights, prefix)
    own_pooling = read_pooling(adapter)
    pooling = own_pooling if own_pooling.declared else pooling
    return _assemble(adapter, folder, config, pooling, weights, opened)


def _require_directory(path: Path) -> None:
    if not path.is_dir():
        raise ModelError(
            "is not a directory" if path.exists() else "does not exist",
            where=str(path),
            hint="name a directory with config.json and weights; `bertcli models list` shows some",
        )


def _base_of(adapter: Path) -> Path:
    """The directory of the model that an adapter names as its base."""
    from bertcli.models.library import resolve

    name = open_adapter(_model_folder(adapter)).base
    if name is None:
        raise ModelError(
            "is an adapter that names no base model",
            where=str(adapter),
            hint="name it: -m BASE --adapter DIR",
        )
    try:
        return resolve(name)
    except ModelError as error:
        raise ModelError(
            f"is an adapter for {name}, which is not on this machine",
            where=str(adapter),
            hint=f"`bertcli models pull {name}` downloads it; or name its directory: -m BASE --adapter {adapter}",
        ) from error


def _model_folder(path: Path, role: Role | None = None) -> Path:
    """Where config.json and the weights are: the directory itself, or a folder that modules.json names."""
    return path if _describes_model(path) else encoder_folder(path, role)


def _describes_model(path: Path) -> bool:
    """Whether a directory's own config.json is that of a model; old sentence-transformers put one there that says
    nothing but their version."""
    config = read_optional(path / "config.json", dict)
    return config is not None and ("model_type" in config or not (path / "modules.json").exists())


def _refuse_parent(path: Path) -> None:
    """Raise ModelError for a directory that holds no model itself but has one in a directory below it."""
    if (path / "config.json").exists() or (path / "modules.json").exists():
        return
    inside = sorted(entry.name for entry in path.iterdir() if (entry / "config.json").is_file())
    if inside:
        raise ModelError(
            "holds no model itself, but a directory in it does",
            where=str(path),
            hint=f"name it: {path / inside[0]}" + (f" (there are {len(inside)})" if len(inside) > 1 else ""),
        )


def _tokenizer_config(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    declared = read_optional(folder / "tokenizer_config.json", dict) or {}
    return declared | {"tokenizer_class": declared.get("tokenizer_class") or config.get("tokenizer_class")}


def _declared_limit(tokenizer_config: Mapping[str, Any]) -> int | None:
    """How many tokens a text may have by its tokenizer's files, None where they do not say."""
    declared = tokenizer_config.get("model_max_length")
    if isinstance(declared, int | float) and not isinstance(declared, bool) and 0 < declared < NO_LIMIT:
        return int(declared)
    return None


def _assemble(
    directory: Path,
    folder: Path,
    config: dict[str, Any],
    pooling: Pooling,
    weights: Weights,
    adapter: Adapter | None = None,
) -> Checkpoint:
    tokenizer_folder = folder if adapter is None or not holds_tokenizer(adapter.path) else adapter.path
    tokenizer_config = _tokenizer_config(tokenizer_folder, config)
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise ModelError(
            "config.json names no model_type",
            where=str(folder / "config.json"),
            hint="save the model again with transformers' save_pretrained, or add its model_type",
        )
    description = describe(config)
    names = _embeddings(description)
    prefix = _encoder_prefix(weights, names)
    words = _word_table(weights, prefix, names)
    position_limit = _position_limit(config, weights, prefix, names)
    cross = read_cross_encoder(directory, config)
    limits = [
        position_limit,
        _declared_limit(tokenizer_config),
        None if cross is None else pooling.max_length,
    ]
    max_length = min(limit for limit in limits if limit is not None)
    return Checkpoint(
        directory=directory,
        path=folder,
        tokenizer_path=tokenizer_folder,
        adapter=None if adapter is None else adapter.path,
        name=name_of(directory),
        config=config,
        tokenizer_config=tokenizer_config,
        model_type=model_type,
        architecture=first_architecture(config),
        description=description,
        hidden_size=_number(config, *_WIDTHS, default=words[1]),
        layers=0 if pooling.static else _number(config, *_DEPTHS, default=12),
        attention_heads=_number(config, *_HEAD_COUNTS, default=12),
        vocab_size=_number(config, "vocab_size", default=words[0]),
        position_limit=position_limit,
        max_length=max_length,
        embed_max_length=min(position_limit, pooling.max_length or max_length),
        token_types=_token_types(config, weights, prefix, names),
        pooling=pooling,
        heads={
            name: as_declared(head, cross)
            for name, head in find_heads(config, weights, prefix, description).items()
        },
        weights=weights,
        encoder_prefix=prefix,
    )


def name_of(path: Path) -> str:
    """What a user calls the model: `owner/name` for a snapshot of the cache, else the directory."""
    whole = path.absolute()
    if whole.parent.name == "snapshots" and whole.parent.parent.name.startswith("models--"):
        return whole.parent.parent.name.removeprefix("models--").replace("--", "/")
    return whole.name


def _embeddings(description: Architecture | None) -> Embeddings:
    """The names of an encoder's embeddings: BERT's, for an architecture that is not described."""
    return description.embeddings if description is not None else Embeddings()


def _encoder_prefix(weights: Weights, names: Embeddings) -> str:
    """The prefix of the encoder's weight names: before the table of word embeddings, to be exact."""
    table = f"{names.words}.weight"
    prefixes = [name.removesuffix(table) for name in weights.names if name.endswith(table)]
    return min(prefixes, key=len, default="")


def _word_table(weights: Weights, prefix: str, names: Embeddings) -> tuple[int, int]:
    """(vocabulary, width) of the word embeddings, BERT's own sizes without one."""
    table = f"{prefix}{names.words}.weight"
    if table in weights and len(weights.shape(table)) == 2:
        rows, width = weights.shape(table)
        return rows, width
    return 30522, 768


def _position_limit(config: Mapping[str, Any], weights: Weights, prefix: str, names: Embeddings) -> int:
    rows = None if names.positions is None else weights.row_count(f"{prefix}{names.positions}.weight")
    positions = _number(config, "max_position_embeddings", "n_positions", default=rows or 512)
    if rows is not None:
        positions = min(positions, rows)
    padding = names.padding
    if config["model_type"] in _OFFSET_POSITIONS:
        padding = _number(config, "pad_token_id", default=1, least=0)
    return positions if padding is None else positions - padding - 1


def _token_types(config: Mapping[str, Any], weights: Weights, prefix: str, names: Embeddings) -> int:
    """Rows of the table of token types, 0 without one."""
    if weights.pickle:
        return _number(config, "type_vocab_size", default=0, least=0)
    return weights.row_count(f"{prefix}{names.types}.weight") or 0


def _number(config: Mapping[str, Any], *keys: str, default: int, least: int = 1) -> int:
    """A whole number of config.json under the first of its spellings."""
    for key in keys:
        if config.get(key) is not None:
            number = config[key]
            if type(number) is not int or number < least:
                raise ModelError(
                    f"{key} is {number!r}, not a whole number of at least {least}",
                    where="config.json",
                    hint=f"correct it, or {ANOTHER_COPY}",
                )
            return number
    return default
