"""The result of all trials: the fastest settings, and an estimate for a run over the whole input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bertcli.benchmark.sample import Sample
    from bertcli.benchmark.search import SettingsSearch
    from bertcli.benchmark.trial import Trial
    from bertcli.benchmark.whole_run import WholeRun


@dataclass(frozen=True, slots=True)
class Verdict:
    """`start` is the time a process takes before it computes at this rate, `records` how many the input has,
    `seconds` and `memory` (bytes) what a run over all of them takes; None where that cannot be known.
    `settings` are the options in which the best differs from what a run does by itself."""

    best: Trial
    default: Trial
    settings: dict[str, str]
    start: float | None
    memory: int | None
    records: int | None
    seconds: float | None

    @property
    def gain(self) -> float:
        """How many times as fast as without settings."""
        return self.best.tokens_per_second / self.default.tokens_per_second


def verdict(search: SettingsSearch, sample: Sample, whole: WholeRun | None, texts: int) -> Verdict:
    """`whole` is a run of the best choice over the first `texts` of the sample."""
    best, start, seconds = search.best, None, None
    if whole is not None:
        tokens = sum(timed.tokens for timed in sample.timed[:texts])
        start = max(0.0, whole.seconds - tokens / best.tokens_per_second)
        if sample.records is not None:
            seconds = start + sample.records * sample.distinct_share / best.texts_per_second
    return Verdict(
        best=best,
        default=search.default,
        settings=_settings(search),
        start=start,
        memory=None if whole is None else whole.memory,
        records=sample.records,
        seconds=seconds,
    )


def _settings(search: SettingsSearch) -> dict[str, str]:
    """Only what differs: a dtype that `auto` finds by itself would, once it is written down, keep the instant
    engine from answering short questions."""
    best, plain, default = search.best.choice, search.plain.choice, search.default.choice
    found = {}
    if best.engine != default.engine:
        found["engine"] = best.engine
    elif best.dtype != default.dtype:
        found["dtype"] = best.dtype
    if best.threads != plain.threads:
        found["threads"] = str(best.threads)
    if best.batch_tokens != plain.batch_tokens:
        found["batch-tokens"] = str(best.batch_tokens)
    return found
