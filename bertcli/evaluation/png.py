"""The confusion of a report beside its reliability diagram, by matplotlib."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.errors import UsageError

if TYPE_CHECKING:
    from bertcli.evaluation.calibration import Calibration
    from bertcli.evaluation.report import Confusion, Report

INCHES_A_LABEL = 0.28
LEAST_INCHES, MOST_INCHES = 4.5, 24.0
MOST_COUNTED = 30  # labels of a table that has its counts written into it
DOTS = 150  # an inch
COLOR = "#1f5fa8"


def require_matplotlib(path: str) -> None:
    """Raise UsageError where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError(
            "drawing a PNG needs the package matplotlib",
            where=path,
            hint="pip install 'bertcli[plot]', or write .html",
        ) from None


def image(report: Report) -> bytes:
    """The picture as a PNG file."""
    from matplotlib.figure import Figure

    parts = [part for part in (report.confusion, report.calibration) if part is not None]
    labels = len(report.confusion.labels) if report.confusion else 0
    inches = min(max(LEAST_INCHES, INCHES_A_LABEL * labels + 2), MOST_INCHES)
    figure = Figure(figsize=(inches + (LEAST_INCHES if len(parts) > 1 else 0), inches), layout="constrained")
    widths = [inches, LEAST_INCHES][-len(parts) :]
    axes = figure.subplots(1, len(parts), width_ratios=widths, squeeze=False)[0]
    if report.confusion is not None:
        _draw_confusion(axes[0], report.confusion)
    if report.calibration is not None:
        _draw_reliability(axes[-1], report.calibration)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DOTS)
    return file.getvalue()


def _draw_confusion(axes: Any, table: Confusion) -> None:
    counts = np.array(table.counts, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(table.labels))
    axes.set_xticks(places, table.labels, rotation=90, parse_math=False)
    axes.set_yticks(places, table.labels, parse_math=False)
    axes.set_xlabel("answered")
    axes.set_ylabel("in the file")
    if len(table.labels) > MOST_COUNTED:
        return
    for row in places:
        for column in places:
            color = "white" if shares[row, column] > 0.6 else "black"
            axes.text(
                column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=color, size=7
            )


def _draw_reliability(axes: Any, calibration: Calibration) -> None:
    full = [part for part in calibration.bins if part.count]
    middles = [(part.low + part.high) / 2 for part in full]
    width = calibration.bins[0].high - calibration.bins[0].low
    axes.bar(middles, [part.true for part in full], width, color=COLOR, edgecolor="white", label="true")
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle="--")
    axes.plot([part.score for part in full], [part.true for part in full], "o", color="black", markersize=3)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_xlabel("score")
    axes.set_ylabel("share that is right")
    axes.set_title(f"ECE {calibration.ece:.4f}", size=10)
