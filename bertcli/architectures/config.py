"""The settings of a config.json, with transformers' defaults for those it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Config:
    """Values of config.json by key. A missing one and null are the default; so is one of another type than
    the default's, which is noted as the `fault`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self.fault: str | None = None

    def text(self, key: str, default: str) -> str:
        value = self._config.get(key)
        return value if isinstance(value, str) else self._default(key, default)

    def number(self, key: str, default: float) -> float:
        value: Any = self._config.get(key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number else self._default(key, default)

    def count(self, key: str, default: int) -> int:
        """A whole number, which may be 0 or, as a mark, negative."""
        value = self._config.get(key)
        return value if type(value) is int else self._default(key, default)

    def flag(self, key: str, default: bool) -> bool:
        value = self._config.get(key)
        return value if isinstance(value, bool) else self._default(key, default)

    def names(self, key: str) -> tuple[str, ...] | None:
        """A list of strings, or one string with `|` between them; None without one."""
        value = self._config.get(key)
        if isinstance(value, str):
            value = value.lower().split("|")
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return tuple(name.strip() for name in value)
        return self._default(key, None)

    def section(self, key: str) -> Config:
        """An object inside config.json, empty without one."""
        value = self._config.get(key)
        return Config(value if isinstance(value, dict) else self._default(key, {}))

    def has(self, key: str) -> bool:
        return self._config.get(key) is not None

    def _default(self, key: str, default: T) -> T:
        if self._config.get(key) is not None and self.fault is None:
            self.fault = f"{key} is {self._config[key]!r}"
        return default
