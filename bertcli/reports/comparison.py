"""The page of `compare`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bertcli.console.drawing import BOLD, CYAN, DIM, RED, grouped
from bertcli.reports.lines import Line

if TYPE_CHECKING:
    from bertcli.evaluation.comparison import Change, Comparison

TEXT_CELLS = 76
NAME_CELLS = 24


def comparison_page(comparison: Comparison, names: tuple[str, str], kept: bool) -> Iterator[Line]:
    """The report as a person reads it."""
    figures = comparison.figures()
    yield [("a  ", DIM), (names[0], CYAN)]
    yield [("b  ", DIM), (names[1], CYAN)]
    counts = f"{grouped(comparison.records)} records"
    yield [(counts + (f" · {grouped(comparison.failed)} failed on both" if comparison.failed else ""), DIM)]
    yield []
    share = comparison.flipped / comparison.records
    yield [("flipped   ", ""), (f"{grouped(comparison.flipped):>8}", BOLD), (f"   {share:.2%}", DIM)]
    if comparison.flips.keys() - {"label"}:
        for name, count in comparison.flips.most_common():
            yield [(f"  {_cut(name, NAME_CELLS)} {grouped(count)}", DIM)]
    if figures["drift"]:
        drifts = {drift_name(name): spread for name, spread in figures["drift"].items()}
        cells = max(map(len, drifts))
        yield []
        yield [(f"{'':{cells}}  {'mean':>8}  {'p99':>8}  {'max':>8}", DIM)]
        for name, spread in drifts.items():
            numbers = "".join(f"  {spread[one]:8.4f}" for one in ("mean", "p99", "max"))
            yield [(f"{name:{cells}}", ""), (numbers, "")]
    if comparison.worst:
        yield []
        yield [("what changed most", DIM)]
        for change in comparison.worst:
            yield from _change(change)
    if not kept:
        yield []
        yield [("more than is allowed", RED)]


def _change(change: Change) -> Iterator[Line]:
    line: Line = [(change.row.where, CYAN)]
    for name, (a, b) in change.flips.items():
        line += [(f"  {name} ", DIM), (_spelled(a), ""), (" → ", DIM), (_spelled(b), BOLD)]
    for name, drift in change.drifts.items():
        line += [(f"  {drift_name(name)} ", DIM), (f"{drift:.4f}", "")]
    yield line
    text = next((value for value in change.row.inputs().values() if isinstance(value, str)), "")
    yield [("  " + _cut(" ".join(text.split()), TEXT_CELLS), "")]


def drift_name(field: str) -> str:
    """What the drift of a field is: of a vector by its angle, of a number by its size."""
    from bertcli.evaluation.comparison import VECTORS

    return f"{field} 1 - cos" if field.rpartition("_")[2] in VECTORS else f"{field} ±"


def _spelled(answer: Any) -> str:
    if answer is None:
        return "-"
    if isinstance(answer, list):
        parts = [" ".join(map(str, part)) if isinstance(part, list) else str(part) for part in answer]
        return _cut(", ".join(parts) or "-", TEXT_CELLS // 2)
    return _cut(str(answer), NAME_CELLS)


def _cut(text: str, cells: int) -> str:
    return text if len(text) <= cells else text[: cells - 1] + "…"
