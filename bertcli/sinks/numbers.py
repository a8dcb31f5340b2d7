"""Numbers as they are written.

Scores (Python floats) have 6 significant digits. Arrays keep the shortest decimals that give back the same
float32. `--digits N` rounds both to N significant digits. A number that is not finite has no spelling in
JSON: it is written as null, with a warning once a run. Input fields are never rounded, but NaN and Infinity,
which some programs write into JSON, become null too.
"""

from __future__ import annotations

import math
from typing import Any

from bertcli import console
from bertcli.records import ExactNumber, Result

SCORE_DIGITS = 6
EXACT_POWERS = 22  # 10**22 is the largest power of ten that a double holds exactly


class Numbers:
    """Rounds the numbers of results to `digits` significant digits (None: as the module says). Where they are
    not written as text (`binary`) they are whole without `digits`, arrays keep their dtype, and what is not
    finite is what it is."""

    def __init__(self, digits: int | None, *, binary: bool = False) -> None:
        self._digits = digits
        self._binary = binary
        self._score_digits = digits or SCORE_DIGITS
        self._warned = False
        self._watching = True

    def row(self, result: Result, prefix: str) -> dict[str, Any]:
        """The output record of a result with its numbers as they are to be written."""
        row = result.row(prefix)
        for name, value in result.values.items():
            row[prefix + name] = self._rounded(value, result)
        return row

    def watch(self, result: Result) -> None:
        """Say, once a run, that a number of the input becomes null; nothing changes without a word."""
        if not self._watching:
            return
        for name, value in result.record.fields.items():
            if not _is_finite(value):
                self._watching = False
                where = result.record.where or f"record {result.record.index + 1}"
                console.warn(
                    f"{where}: '{name}' holds a number that JSON cannot (NaN or infinite): such become null"
                )
                return

    def _rounded(self, value: Any, result: Result) -> Any:
        kind = type(value)
        if kind is float:
            if self._binary and (self._digits is None or not math.isfinite(value)):
                return value
            if math.isfinite(value):
                return float(f"{value:.{self._score_digits}g}")
            self._warn(result)
            return None
        if kind is list or kind is tuple:
            return [self._rounded(item, result) for item in value]
        if kind is dict:
            return {name: self._rounded(item, result) for name, item in value.items()}
        if hasattr(value, "dtype") and value.dtype.kind == "f":
            return self._rounded_array(value, result)
        return value

    def _rounded_array(self, array: Any, result: Result) -> Any:
        import numpy as np

        if not self._binary and not np.isfinite(array).all():
            self._warn(result)
        if self._digits is None:
            return array
        rounded = significant(array, self._digits)
        if not self._binary:
            return rounded
        with np.errstate(over="ignore"):
            narrow = rounded.astype(array.dtype)
        return np.where(np.isfinite(narrow), narrow, array)  # float16 has no 66000, to which 65504 is rounded

    def _warn(self, result: Result) -> None:
        if not self._warned:
            self._warned = True
            where = result.record.where or f"record {result.record.index + 1}"
            console.warn(f"{where}: the model gave a number that is not finite; such numbers become null")


def _is_finite(value: Any) -> bool:
    """Whether all numbers in a value of an input file are finite."""
    if isinstance(value, float):
        return math.isfinite(value) or isinstance(value, ExactNumber)
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return all(map(_is_finite, value.values())) if isinstance(value, dict) else True


def significant(array: Any, digits: int) -> Any:
    """The float64 numbers nearest to the decimals of `digits` significant digits of `array` (same shape)."""
    import numpy as np

    numbers = np.asarray(array, np.float64)
    usable = np.isfinite(numbers) & (numbers != 0)
    magnitude = np.floor(np.log10(np.abs(numbers, where=usable, out=np.ones_like(numbers))))
    places = digits - 1 - magnitude
    if np.abs(places).max(initial=0) > EXACT_POWERS:
        rounded = [float(f"{number:.{digits}g}") for number in numbers.ravel().tolist()]
        return np.array(rounded, np.float64).reshape(numbers.shape)
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    return np.rint(numbers * up / down) / up * down
