"""Places from which an interrupted run can go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Mark:
    """What a sink must know to go on behind everything written so far.

    `state` is what holds now, and replaces that of earlier marks; `added` is what has come since the last
    mark, and is put behind that of earlier ones. Both are JSON.
    """

    state: Mapping[str, Any]
    added: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """The end of a block: `records` are answered and written, and nothing behind them.

    `digest` is theirs, `counts` those of the receipt, `blocks` the number of full blocks they made (see
    `planning.Plan`), `mark` the sink's.
    """

    records: int
    digest: str
    blocks: int
    counts: Mapping[str, int]
    mark: Mark = field(default_factory=lambda: Mark({}))
