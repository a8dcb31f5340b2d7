"""Requests: what a run is asked to do, as frozen dataclasses without click and without torch.

A request is made of parts that several commands share (`InputOptions`, `OutputOptions`, …) and of its own
fields. It inherits from its parts, so it can be passed wherever the options of one of them are needed. Names of
fields are the long names of the options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

InputFormat = Literal["txt", "jsonl", "json", "csv", "tsv", "parquet", "conll", "conllu", "srt", "vtt"]
OutputFormat = Literal[
    "table", "jsonl", "json", "csv", "tsv", "parquet", "npy", "conll", "html", "plain", "srt", "vtt"
]
When = Literal["auto", "always", "never"]
EngineName = Literal["auto", "instant", "packed"]
ComputeDtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]
TrainDtype = Literal["auto", "float32", "bfloat16", "float16"]
Quoting = Literal["auto", "csv", "none"]
LongMode = Literal["window", "truncate", "error"]
Emitted = Literal["label", "entropy", "margin", "embedding"]
Role = Literal["query", "document"]


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """`split_words`: words stand between blanks, and a text may also be a list of them. `bare_texts`: whether
    the command knows --text."""

    files: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    input_format: InputFormat | None = None
    text_field: str | None = None
    pair_field: str | None = None
    id_field: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    quoting: Quoting = "auto"
    no_header: bool = False
    whole_files: bool = False
    null: bool = False
    skip: int = 0
    limit: int | None = None
    max_record_bytes: int = 1 << 26
    split_words: bool = False
    bare_texts: bool = True


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """`resume` goes on with what an interrupted run left."""

    output: str | None = None
    format: OutputFormat | None = None
    overwrite: bool = False
    resume: bool = False
    digits: int | None = None
    prefix: str = ""
    csv_safe: bool = False
    color: When = "auto"


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """`unsafe_model` uses a model that the check refuses."""

    model: str | None = None
    engine: EngineName = "auto"
    device: str = "auto"
    dtype: ComputeDtype = "auto"
    threads: int | None = None
    batch_tokens: int | None = None
    allow_pickle: bool = False
    unsafe_model: bool = False


@dataclass(frozen=True, kw_only=True)
class LongOptions:
    """`max_length` is in tokens, special tokens included; None means the model's own limit. `overlap` is the
    number of tokens two neighbouring windows share; None means an eighth of the window."""

    long: LongMode = "window"
    max_length: int | None = None
    overlap: int | None = None


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """What goes before each text: the model's prompt called `prompt_name`, else `prompt` itself,
    else the prompt of `role`, else the model's default."""

    prompt_name: str | None = None
    prompt: str | None = None
    role: Role | None = None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """`max_errors` is the number of failed records after which a run stops (1 for --strict)."""

    max_errors: int | None = None
    quiet: bool = False
    verbose: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What all ways of training share; None where the defaults depend on the data."""

    output: str = ""
    model: str | None = None
    dev: str | None = None
    dev_fraction: float | None = None
    seed: int = 7
    epochs: int | None = None
    learning_rate: float | None = None
    batch_tokens: int | None = None
    max_length: int = 256
    device: str = "auto"
    dtype: TrainDtype = "auto"
    threads: int | None = None
    overwrite: bool = False
    resume: bool = False
    quiet: bool = False
    verbose: bool = False
