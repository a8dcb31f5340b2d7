"""Positions from which an interrupted run can be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Mark:
    """What a sink needs to resume behind everything written so far.

    `state` replaces the state of earlier marks; `added` is appended to that of earlier marks. Both are JSON.
    """

    state: Mapping[str, Any]
    added: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """The end of a block: the first `records` are answered and written, and nothing else.

    `digest` is theirs, `counts` those of the receipt, `blocks` the number of full blocks they made (see
    `planning.Plan`), `mark` the sink's.
    """

    records: int
    digest: str
    blocks: int
    counts: Mapping[str, int]
    mark: Mark = field(default_factory=lambda: Mark({}))
