"""JSON files of a checkpoint, with errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from bertcli.errors import ModelError

ANOTHER_COPY = "take another copy of the model: `bertcli models pull NAME` downloads one anew"
WHOLE = "a model is a directory with config.json, tokenizer.json and model.safetensors"

Form = TypeVar("Form", dict[str, Any], list[Any])


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file that must exist."""
    found = read_optional(path, dict)
    if found is None:
        raise ModelError(f"{path.name} is missing", where=str(path.parent), hint=WHOLE)
    return found


def read_optional(path: Path, form: type[Form]) -> Form | None:
    """The JSON object or list in a file, None without the file. Raises ModelError for anything else in it."""
    if path.exists() and not path.is_file():  # reading a fifo would wait for ever
        raise ModelError("is not a file", where=str(path))
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"is not JSON: {error}", where=str(path), hint=ANOTHER_COPY) from error
    if not isinstance(found, form):
        raise ModelError(
            f"is not a JSON {'object' if form is dict else 'list'}", where=str(path), hint=ANOTHER_COPY
        )
    return found
