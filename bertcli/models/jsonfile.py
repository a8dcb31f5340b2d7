"""JSON files of a checkpoint, with errors that name the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from bertcli.errors import ModelError

ANOTHER_COPY = "take another copy of the model: `bertcli models pull NAME` downloads one again"
CORRECT_FILE = "correct the file, or download the model again"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
A_POINTER = "a Git LFS pointer, in the place of a file that was not downloaded"
FETCH_POINTERS = "`git lfs pull` in its directory brings the file"
MOST_BYTES = 1 << 28  # the largest tokenizer.json there are have 40 MB
WHOLE = "a model is a directory with config.json, tokenizer.json and model.safetensors"

Form = TypeVar("Form", dict[str, Any], list[Any])


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file that must exist."""
    found = read_optional(path, dict)
    if found is None:
        raise ModelError(f"{path.name} is missing", where=str(path.parent), hint=WHOLE)
    return found


def read_small(path: Path) -> bytes | None:
    """The bytes of a file beside the weights, None without it. Raises ModelError for what cannot be read, is
    no file (reading a fifo would wait for ever), or is larger than any such file is."""
    try:
        if not os.path.exists(path):
            return None
        if not os.path.isfile(path):
            raise ModelError("is not a file", where=str(path), hint=ANOTHER_COPY)
        size = os.path.getsize(path)
        if size > MOST_BYTES:
            raise ModelError(f"is too large: {size} bytes", where=str(path), hint=ANOTHER_COPY)
        data = path.read_bytes()
    except OSError as error:
        hint = f"chmod +r, or {ANOTHER_COPY}"
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    if data.startswith(LFS_POINTER):
        raise ModelError(f"is {A_POINTER}", where=str(path), hint=FETCH_POINTERS)
    return data


def read_optional(path: Path, form: type[Form]) -> Form | None:
    """The JSON object or list in a file, None without the file. Raises ModelError for anything else in it."""
    data = read_small(path)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"is not JSON: {error}", where=str(path), hint=ANOTHER_COPY) from error
    if not isinstance(found, form):
        raise ModelError(
            f"is not a JSON {'object' if form is dict else 'list'}", where=str(path), hint=ANOTHER_COPY
        )
    return found
