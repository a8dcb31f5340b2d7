"""What beam search knows of one source sequence, in either engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bertcli.engines.seq2seq import Hypothesis
    from bertcli.engines.seq2seq.rules import Rules


@dataclass(slots=True)
class Finished:
    """A finished hypothesis; `rank` is its log-probability over length**length_penalty."""

    rank: float
    hypothesis: Hypothesis


class SequenceState:
    """What is known of one source sequence: its finished hypotheses, at most `beam`, and whether it is done."""

    def __init__(self, beam: int) -> None:
        self.is_done = False
        self._beam = beam
        self.finished: list[Finished] = []

    def add(self, found: Finished) -> None:
        self.finished.append(found)
        self.finished.sort(key=lambda each: each.rank, reverse=True)
        del self.finished[self._beam :]

    def close(self, best_running: float, length: int, rules: Rules) -> None:
        """Mark the sequence done where the best hypothesis that continues cannot beat the worst finished one."""
        if len(self.finished) < self._beam:
            return
        if rules.early_stopping is True:
            self.is_done = True
            return
        if rules.early_stopping == "never" and rules.length_penalty > 0:
            length = rules.longest
        self.is_done = not best_running / length**rules.length_penalty > self.finished[-1].rank


def forced_tokens(rules: Rules, length: int) -> tuple[int, ...]:
    """The tokens one of which must be the `length`-th; none where any may."""
    if length == rules.longest and rules.last:
        return rules.last
    return (rules.first,) if length == 1 and rules.first is not None else ()


def forbidden_tokens(rules: Rules, length: int) -> list[int]:
    """The tokens that must not be the `length`-th of any hypothesis."""
    found = list(rules.suppressed)
    if length == (1 if rules.first is None else 2):
        found += rules.begin_suppressed
    if length <= rules.minimum:
        found += rules.ends
    return found


def repeating_tokens(rules: Rules, ids: Sequence[int]) -> list[int]:
    """The tokens that would make an n-gram of the size `rules.no_repeat` which is in `ids` already; the start token
    counts."""
    size, ids = rules.no_repeat, (rules.start, *ids)
    if not size:
        return []
    last = ids[len(ids) - size + 1 :]
    return [
        ids[place + size - 1] for place in range(len(ids) - size + 1) if ids[place : place + size - 1] == last
    ]
