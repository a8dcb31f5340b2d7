"""Options that commands share, as decorators that hand each command a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class InputOptions:
    files: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    form: Literal["txt", "jsonl", "csv", "tsv", "parquet"] | None = None
    text_field: str | None = None
    pair_field: str | None = None
    id_field: str | None = None
    encoding: str = "utf-8"
    whole_files: bool = False
    null: bool = False
    skip: int = 0
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class OutputOptions:
    path: str | None = None
    form: Literal["table", "jsonl", "json", "csv", "tsv", "parquet", "npy"] | None = None
    force: bool = False
    digits: int | None = None
    prefix: str = ""
    color: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """`force` uses a model that the check refuses."""

    model: str | None = None
    engine: Literal["auto", "instant", "packed"] = "auto"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    threads: int | None = None
    batch_tokens: int | None = None
    allow_pickle: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class LongOptions:
    """`max_length` is in tokens, special tokens included; None means the model's own limit. `overlap` is the
    number of tokens two neighbouring windows share; None means an eighth of the window."""

    mode: Literal["window", "truncate", "error"] = "window"
    max_length: int | None = None
    overlap: int | None = None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """`max_errors` is the number of failed records after which the run stops (0 for --strict: at the first)."""

    max_errors: int | None = None
    quiet: bool = False
    verbose: bool = False
