"""A tree of mappings and lists, as YAML has them, into frozen dataclasses by their annotations.

What does not fit is an error that names its place; an unknown key names the nearest known one.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from bertcli.errors import UsageError

T = TypeVar("T")


class RecipeError(UsageError):
    """What is wrong in a recipe, and where.

    For example `recipe.yaml: skills[2].wieght: unknown key, did you mean weight?`
    """


class ModelName(str):
    """A model: a directory, maybe relative to the recipe, or a name in the local Hugging Face cache."""


class Converter:
    """Converts the tree of a file in `folder`.

    A mapping for one of several `kinds` of a dataclass says which by its key `kind`; `bare` are
    dataclasses that a lone string may give, with the field it fills.
    """

    def __init__(
        self, folder: Path, kinds: Mapping[type, Mapping[str, type]], bare: Mapping[type, str]
    ) -> None:
        self._folder = folder
        self._kinds = kinds
        self._bare = bare

    def mapping(self, value: Any, wanted: type[T], where: str = "", known: tuple[str, ...] = ()) -> T:
        """A dataclass from a mapping; `known` are keys that messages list beside its fields."""
        if not isinstance(value, dict):
            raise RecipeError(f"{where or 'the recipe'}: a mapping is needed, not {value!r}")
        hints = get_type_hints(wanted)
        prefix = f"{where}." if where else ""
        for key in value:
            if key not in hints:
                near = difflib.get_close_matches(str(key), [*hints, *known], n=1, cutoff=0.0)
                raise RecipeError(f"{prefix}{key}: unknown key, did you mean {near[0]}?")
        for field in fields(typing.cast(Any, wanted)):
            if field.name not in value and field.default is MISSING:
                raise RecipeError(f"{prefix}{field.name}: missing")
        return wanted(**{key: self._value(item, hints[key], f"{prefix}{key}") for key, item in value.items()})

    def _value(self, value: Any, wanted: Any, where: str) -> Any:
        origin = get_origin(wanted)
        if origin is tuple:
            return self._row(value, get_args(wanted), where)
        if origin is Literal:
            if value not in get_args(wanted):
                raise RecipeError(f"{where}: {value!r} is not one of {', '.join(map(str, get_args(wanted)))}")
            return value
        if origin in (types.UnionType, typing.Union):
            inner = next(a for a in get_args(wanted) if a is not type(None))
            return None if value is None else self._value(value, inner, where)
        if wanted in self._kinds:
            return self._one_of(value, self._kinds[wanted], where)
        if is_dataclass(wanted):
            if isinstance(value, str) and wanted in self._bare:
                value = {self._bare[typing.cast(type, wanted)]: value}
            return self.mapping(value, typing.cast(type, wanted), where)
        return self._scalar(value, wanted, where)

    def _one_of(self, value: Any, kinds: Mapping[str, type], where: str) -> Any:
        if not isinstance(value, dict) or value.get("kind") not in kinds:
            raise RecipeError(f"{where}: `kind` is needed, one of {', '.join(kinds)}")
        rest = {key: item for key, item in value.items() if key != "kind"}
        return self.mapping(rest, kinds[value["kind"]], where, ("kind",))

    def _row(self, value: Any, wanted: tuple[Any, ...], where: str) -> tuple[Any, ...]:
        """One value is a list of one, or for as many of the same as are needed."""
        variable = len(wanted) == 2 and wanted[1] is Ellipsis
        if not isinstance(value, list):
            value = [value] if variable else [value] * len(wanted)
        if not variable and len(value) != len(wanted):
            raise RecipeError(f"{where}: {len(wanted)} values are needed, {len(value)} are given")
        inner = [wanted[0]] * len(value) if variable else wanted
        return tuple(
            self._value(item, kind, f"{where}[{place}]")
            for place, (item, kind) in enumerate(zip(value, inner, strict=True))
        )

    def _scalar(self, value: Any, wanted: type, where: str) -> Any:
        if wanted is Path and isinstance(value, str):
            if not (self._folder / value).exists():
                raise RecipeError(f"{where}: {self._folder / value} does not exist")
            return self._folder / value
        if wanted is ModelName and isinstance(value, str):
            return ModelName(self._folder / value if (self._folder / value).is_dir() else value)
        if wanted is float and isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                return float(value)  # YAML 1.1 reads 4e-4 as a string
            except ValueError:
                pass
        elif isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool):
            return value
        raise RecipeError(f"{where}: {value!r} is not {_article(wanted)}")


def _article(wanted: type) -> str:
    names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
    return names.get(wanted, "a path" if wanted is Path else "the name of a model")
