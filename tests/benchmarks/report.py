"""What was measured, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks.contest import Outcome
from tests.benchmarks.processes import Process


@dataclass(frozen=True, slots=True)
class Measured:
    """One contest: `tokens` and `operations` are those of the distinct texts, `limits` the operations a
    second of the machine's matrix product by dtype."""

    task: str
    model: str
    shape: str
    texts: int
    tokens: int
    operations: int
    limits: dict[str, float]
    outcomes: list[Outcome]

    @property
    def title(self) -> str:
        return f"{self.task}, {self.model}, {self.shape}"

    def ratio(self, outcome: Outcome) -> float:
        """How many times as fast as the first contestant."""
        return self.outcomes[0].median / outcome.median

    def cpu_ratio(self, outcome: Outcome) -> float:
        """How many times less time of all cores than the first contestant: for machines that are shared."""
        return statistics.median(self.outcomes[0].cpu) / statistics.median(outcome.cpu)

    def share(self, outcome: Outcome) -> float | None:
        """The part of the machine's matrix rate; of ours only, whose dtype is known."""
        dtype = outcome.contestant.options.get("dtype")
        if not outcome.contestant.ours or dtype not in self.limits:
            return None
        return self.operations / outcome.median / self.limits[dtype]

    @property
    def ours(self) -> Outcome:
        """bertcli with its own settings."""
        return next(each for each in self.outcomes if each.contestant.options.get("own"))

    @property
    def broken(self) -> str | None:
        """Why there is nothing to compare: what all is compared with, or bertcli, did not work."""
        failed = [each for each in (self.outcomes[0], self.ours) if not each.seconds]
        return f"{failed[0].contestant.name}: {failed[0].failed}" if failed else None

    @property
    def equal(self) -> Outcome | None:
        """The fastest run of what people run that computes in the same dtype."""
        dtype = self.ours.contestant.options["dtype"]
        return min(
            (
                each
                for each in self.outcomes
                if each.seconds
                and each.contestant.options.get("how") == self.outcomes[0].contestant.options["how"]
                and each.contestant.options.get("dtype", "float32") == dtype
            ),
            key=lambda each: each.median,
            default=None,
        )


def summary(found: Sequence[Measured]) -> Iterator[str]:
    """A table of all contests, a line each."""
    yield "| | texts/s | to defaults | to the same dtype | answers | of the matrix limit |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for each in found:
        ours, equal = each.ours, each.equal
        cells = [
            each.title,
            _rate(each.texts / ours.median),
            f"{each.ratio(ours):.1f}",
            "" if equal is None else f"{equal.median / ours.median:.1f}",
            _alike(ours),
            f"{each.share(ours):.0%}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def contest(measured: Measured) -> Iterator[str]:
    """A table of one contest."""
    first = measured.outcomes[0].contestant.name
    yield f"### {measured.title}"
    yield ""
    yield f"{measured.texts} texts, {measured.tokens} tokens in distinct ones. Ratios to {first}."
    yield ""
    like = "cosine: least · 1 in 100 · median" if measured.task == "embed" else "equal answers"
    yield f"| | texts/s | ratio | spread | CPU ratio | {like} | of the matrix limit |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for outcome in measured.outcomes:
        yield _row(measured, outcome)
    yield ""


def _row(measured: Measured, outcome: Outcome) -> str:
    name = outcome.contestant.name
    if outcome.failed is not None or not outcome.seconds:
        return f"| {name} | did not work: {outcome.failed} | | | | | |"
    spread = (max(outcome.seconds) - min(outcome.seconds)) / outcome.median
    share = measured.share(outcome)
    cells = [
        name,
        _rate(measured.texts / outcome.median),
        f"{measured.ratio(outcome):.1f}",
        f"{spread:.0%}",
        f"{measured.cpu_ratio(outcome):.1f}",
        _alike(outcome),
        "" if share is None else f"{share:.0%}",
    ]
    return f"| {' | '.join(cells)} |"


def _alike(outcome: Outcome) -> str:
    return " · ".join(f"{figure:.4f}" for figure in outcome.likeness or ())


def _rate(texts: float) -> str:
    return f"{texts:.1f}" if texts < 100 else f"{texts:.0f}"


def processes(found: Sequence[Process]) -> Iterator[str]:
    """A table of whole processes; ratios are to the first of each group."""
    yield "### Whole processes"
    yield ""
    yield "| | seconds | ratio | CPU seconds |"
    yield "| --- | ---: | ---: | ---: |"
    for process in found:
        yield f"| {process.name} | {process.median:.2f} | {process.ratio:.1f} | {process.cpu:.2f} |"
    yield ""
