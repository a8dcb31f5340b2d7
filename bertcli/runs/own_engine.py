"""The engine of a task that no other task has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bertcli.engines import Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.requests import ClusterOptions, EngineName, ModelOptions


@dataclass(frozen=True, slots=True)
class OwnEngine:
    """How such an engine is opened. `choose` names it for a task and about so many tokens
    (None: unknown or many), as `ModelOptions.engine`; `open` opens the one of that name, on the workers of a cluster
    where one is asked for."""

    choose: Callable[[Checkpoint, ModelOptions, Any, int | None], EngineName]
    open: Callable[[Checkpoint, ModelOptions, ClusterOptions | None], Engine]
