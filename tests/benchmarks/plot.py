"""The contests as one picture: how many times as fast as the peers' defaults."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.report import Measured

BAR = 0.22  # inches


def draw(contests: Sequence[Measured], path: Path) -> None:
    """Write an SVG (or what the suffix says). Needs matplotlib, which `bertcli[plot]` brings."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bertcli"  # the same numbers give the same file
    from matplotlib import pyplot

    shown = [[outcome for outcome in each.outcomes if outcome.seconds] for each in contests]
    heights = [len(outcomes) + 1.5 for outcomes in shown]
    figure, axes = pyplot.subplots(
        len(contests), 1, squeeze=False, sharex=True,
        figsize=(8, BAR * sum(heights) + 0.6), height_ratios=heights, layout="constrained",
    )  # fmt: skip
    for axis, each, outcomes in zip(axes[:, 0], contests, shown, strict=True):
        names = [outcome.contestant.name for outcome in outcomes]
        ratios = [each.ratio(outcome) for outcome in outcomes]
        colors = ["#1f5fa8" if outcome.contestant.ours else "#b5b5b5" for outcome in outcomes]
        bars = axis.barh(names, ratios, color=colors, height=0.75)
        axis.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        axis.set_title(each.title, fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.08)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("times as fast as the first", fontsize=8)
    figure.savefig(path, metadata={"Date": None})
