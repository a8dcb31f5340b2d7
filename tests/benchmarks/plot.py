"""The contests as one picture: how many times as fast as the peers' defaults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.contest import Outcome
from tests.benchmarks.report import Measured

COLUMNS = 2
BAR, MARGIN = 0.19, 0.45  # inches: of a bar, and of what stands above and below them all


def draw(contests: Sequence[Measured], path: Path) -> None:
    """Write an SVG (or what the suffix says). Needs matplotlib, which the tests bring."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bertcli"  # the same numbers give the same file
    from matplotlib import pyplot

    rows = list(_batched(contests, COLUMNS))
    heights = [BAR * max(len(_shown(each)) for each in row) + MARGIN for row in rows]
    figure, axes = pyplot.subplots(
        len(rows), COLUMNS, squeeze=False, figsize=(10, sum(heights)), height_ratios=heights,
        layout="constrained",
    )  # fmt: skip
    for axis in axes.flat[len(contests) :]:
        axis.set_axis_off()
    for axis, each in zip(axes.flat, contests, strict=False):
        shown = _shown(each)
        names = [outcome.contestant.name for outcome in shown]
        colors = ["#1f5fa8" if outcome.contestant.ours else "#b5b5b5" for outcome in shown]
        bars = axis.barh(names, [each.ratio(outcome) for outcome in shown], color=colors, height=0.75)
        axis.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        axis.set_title(each.title, fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        axis.set_xticks([])
        axis.invert_yaxis()
        axis.margins(x=0.1)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    figure.suptitle("texts a second, times those of the first", fontsize=9)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _shown(contest: Measured) -> list[Outcome]:
    return [outcome for outcome in contest.outcomes if outcome.seconds]


def _batched(contests: Sequence[Measured], count: int) -> Iterator[Sequence[Measured]]:
    """`count` at a time."""
    for start in range(0, len(contests), count):
        yield contests[start : start + count]
