"""A report as a person reads it: at most 80 columns wide, on a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bertcli.console.drawing import BOLD, CYAN, DIM, YELLOW, grouped
from bertcli.reports.lines import GAP, Line

if TYPE_CHECKING:
    from bertcli.evaluation.bootstrap import Estimate
    from bertcli.evaluation.calibration import Calibration
    from bertcli.evaluation.guarantee import Guarantee
    from bertcli.evaluation.report import Confusion, Report
    from bertcli.evaluation.suspects import Suspect

WIDTH = 80
NAME_CELLS = 32  # of a label in a table
COLUMN_CELLS = 12  # of a label over a column
SUSPECT_CELLS = 27  # of a label beside the one it is likelier to be
MOST_SUSPECTS = 100  # that are shown
CONFUSIONS = 10  # that are listed where the whole table is too wide


def evaluation_page(report: Report) -> Iterator[Line]:
    """The lines of a report."""
    yield from _heading(report)
    yield from _metrics(report)
    if report.labels:
        yield from _labels(report)
    if report.confusion is not None:
        yield from _confusion(report.confusion)
    if report.calibration is not None:
        yield from _calibration(report.calibration)
    if report.suspects is not None:
        yield from _suspects(report.suspects)
    if report.guarantee is not None:
        yield from _guarantee(report.guarantee)
    for note in report.notes:
        yield [("note: ", YELLOW), (note, "")]


def _heading(report: Report) -> Iterator[Line]:
    facts = report.facts
    records = facts["records"]
    counts = [f"{grouped(records['done'])} {'record' if records['done'] == 1 else 'records'}"]
    counts += [f"{grouped(records[name])} {name}" for name in ("blank", "failed") if records[name]]
    counts += [f"{grouped(facts[name])} {name}" for name in ("words", "pieces", "queries") if name in facts]
    about = [str(facts[name]) for name in ("head", "masking", "pooling") if name in facts]
    yield [(facts["model"], f"{BOLD};{CYAN}"), ("".join(f" · {word}" for word in about), "")]
    yield [(", ".join(facts["files"]), "")]
    yield [(" · ".join(counts), DIM)]


def _metrics(report: Report) -> Iterator[Line]:
    shown = {name: figure for name, figure in report.metrics.items() if not _is_repeated(name, report)}
    if not shown:
        return
    cells = max(map(len, shown))
    yield []
    yield [(" " * cells + GAP + "   value   95 % interval", DIM)]
    for name, figure in shown.items():
        words = _words(name).ljust(cells)
        yield [(words + GAP, ""), (f"{_figure(figure.value):>8}", BOLD), (f"   {_interval(figure)}", DIM)]


def _is_repeated(name: str, report: Report) -> bool:
    """Of one label a record, everything micro is the accuracy."""
    accuracy = report.metrics.get("accuracy")
    return name.startswith("micro_") and accuracy is not None and report.confusion is not None


def _labels(report: Report) -> Iterator[Line]:
    cells = min(NAME_CELLS, max(len(figures.label) for figures in report.labels))
    yield []
    header = f"{'':{cells}}{GAP}{'precision':>9}  {'recall':>6}  {'F1':>6}  {'support':>7}"
    yield [(header, DIM)]
    for figures in report.labels:
        shares = f"{figures.precision:9.4f}  {figures.recall:6.4f}  "
        yield [
            (_name(figures.label, cells).ljust(cells) + GAP, ""),
            (shares, ""),
            (f"{figures.f1:6.4f}", BOLD),
            (f"  {grouped(figures.support):>7}", DIM),
        ]


def _confusion(table: Confusion) -> Iterator[Line]:
    cells = min(NAME_CELLS, max(map(len, table.labels)))
    columns = [
        max(min(COLUMN_CELLS, len(label)), max(len(str(row[place])) for row in table.counts))
        for place, label in enumerate(table.labels)
    ]
    yield []
    if cells + sum(len(GAP) + width for width in columns) > WIDTH:
        yield from _largest_confusions(table)
        return
    names = "".join(
        GAP + _name(label, width).rjust(width) for label, width in zip(table.labels, columns, strict=True)
    )
    yield [("confusion: rows are the file's labels, columns the answers", DIM)]
    yield [(" " * cells + names, DIM)]
    for place, (label, row) in enumerate(zip(table.labels, table.counts, strict=True)):
        line: Line = [(_name(label, cells).ljust(cells), "")]
        for column, (count, width) in enumerate(zip(row, columns, strict=True)):
            style = BOLD if column == place else "" if count else DIM
            line.append((GAP + str(count).rjust(width), style))
        yield line


def _largest_confusions(table: Confusion) -> Iterator[Line]:
    """The most frequent mistakes, for a table that is too wide."""
    mistakes = [
        (count, label, table.labels[column])
        for row, label in enumerate(table.labels)
        for column, count in enumerate(table.counts[row])
        if column != row and count
    ]
    mistakes.sort(key=lambda mistake: -mistake[0])
    if mistakes:
        yield [("most frequent confusions", DIM)]
    for count, label, answer in mistakes[:CONFUSIONS]:
        yield [
            (f"{grouped(count):>7}", BOLD),
            (f"  {_name(label, SUSPECT_CELLS)}", ""),
            (" answered as ", DIM),
            (_name(answer, SUSPECT_CELLS), ""),
        ]


def _calibration(calibration: Calibration) -> Iterator[Line]:
    then = f"; {_figure(calibration.ece_then)} here with the temperature {calibration.temperature:.2f}"
    yield []
    yield [
        ("calibration error (ECE) ", DIM),
        (_figure(calibration.ece), BOLD),
        ("; no temperature fits" if calibration.is_at_limit else then, DIM),
    ]


def _guarantee(guarantee: Guarantee) -> Iterator[Line]:
    above = f"labels with a score over {guarantee.above:.4f}" if guarantee.above else "all labels"
    yield []
    yield [("guarantee: ", DIM), (guarantee.statement, BOLD)]
    yield [(f"  {above} may be taken unseen, about {100 * guarantee.accepted:.0f} % of the file", "")]
    yield [(f"  found from {grouped(guarantee.checked)} checked records of it; correct the others", DIM)]


def _suspects(suspects: Sequence[Suspect]) -> Iterator[Line]:
    yield []
    if not suspects:
        yield [("no label of the file is suspected", DIM)]
        return
    yield [("labels of the file that are likely wrong, likeliest first", DIM)]
    for suspect in suspects[:MOST_SUSPECTS]:
        own = "" if suspect.id is None else f"  {suspect.id}"
        yield [(suspect.where, CYAN), (own, "")]
        yield [
            (f"  {_name(suspect.given, SUSPECT_CELLS)} {_figure(suspect.given_score)}", ""),
            (", rather ", DIM),
            (f"{_name(suspect.likelier, SUSPECT_CELLS)} {_figure(suspect.score)}", BOLD),
        ]
        yield [("  " + _name(" ".join(suspect.text.split()), WIDTH - 2), "")]


def _words(name: str) -> str:
    """`macro_f1` as `macro F1`."""
    return name.replace("top_5", "top-5").replace("_", " ").replace("f1", "F1").replace("r2", "R²")


def _figure(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"


def _interval(figure: Estimate) -> str:
    if figure.low != figure.low:  # not a number
        return ""
    return f"{_figure(figure.low)} … {_figure(figure.high)}"


def _name(text: str, cells: int) -> str:
    return text if len(text) <= cells else text[: max(0, cells - 1)] + "…"
