"""How sure a model should sound: a temperature a label head, kept in config.json.

    "bertcli": {"temperature": {"sentiment": 1.43}}

The head's logits are divided by it before they become scores. It is fitted by `bertcli evaluate label` (see
`evaluation.calibration`); other programs that open the model pass it over.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli.errors import ModelError
from bertcli.models.jsonfile import read_object

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint


def read_temperatures(config: Mapping[str, Any]) -> dict[str, float]:
    """The temperatures in a config.json, by head. Raises ModelError for what is none."""
    own = config.get("bertcli")
    declared = own.get("temperature", {}) if isinstance(own, dict) else {}
    if not isinstance(declared, dict):
        raise ModelError(
            "bertcli.temperature is not an object of numbers by head",
            where="config.json",
            hint="correct config.json, or leave bertcli.temperature out of it",
        )
    for name, value in declared.items():
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise ModelError(
                f"bertcli.temperature.{name} is not a number above 0",
                where="config.json",
                hint="correct config.json, or leave bertcli.temperature out of it",
            )
    return {name: float(value) for name, value in declared.items()}


def refuse_shared(checkpoint: Checkpoint) -> None:
    """Raise ModelError for a model that others use too: the bundled one, and those of the cache."""
    from bertcli.models.library import BUNDLED, cache_folder

    path = checkpoint.path.resolve()
    for folder, owner in ((BUNDLED, "bertcli itself"), (cache_folder(), "the Hugging Face cache")):
        if path.is_relative_to(folder.resolve()):
            raise ModelError(
                f"the model belongs to {owner}, so nothing is written into it",
                where=str(checkpoint.path),
                hint=f"copy it and calibrate the copy: cp -rL {checkpoint.path} ./my-model",
            )


def store_temperature(checkpoint: Checkpoint, head: str, temperature: float) -> Path:
    """Write the temperature of a head into the model's config.json, whole or not at all, and return its path.

    Raises ModelError when it cannot be written.
    """
    path = checkpoint.path / "config.json"
    config = read_object(path)
    own = config.setdefault("bertcli", {})
    own.setdefault("temperature", {})[head] = temperature
    part = path.with_name("config.json.part")
    try:
        part.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise ModelError(
            f"cannot be written: {error.strerror}",
            where=str(path),
            hint="check who may write to the model's directory",
        ) from error
    return path
