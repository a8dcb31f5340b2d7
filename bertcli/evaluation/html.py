"""A report as a page of HTML that needs nothing else: tables, and two diagrams as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bertcli.evaluation.calibration import Calibration
    from bertcli.evaluation.report import Confusion, Report

CELL = 34  # pixels; less where there are many labels
SMALL_CELL = 16
MOST_COUNTED = 30  # labels of a table that has its counts written into it
LETTER = 7  # pixels a letter takes, about
LONGEST_NAME = 28  # letters
SIDE = 300  # of the reliability diagram
MARGIN = 44

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222 }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .15rem .8rem .15rem 0; text-align: right; font-variant-numeric: tabular-nums }
td:first-child, th:first-child { text-align: left }
th { font-weight: 600; border-bottom: 1px solid #ccc }
svg { font: 12px system-ui, sans-serif; max-width: 100% }
p { color: #555 }
"""


def document(report: Report) -> str:
    """The whole page."""
    facts = report.facts
    title = f"{facts['model']} · {', '.join(facts['files'])}"
    counts = " · ".join(f"{count} {name}" for name, count in facts["records"].items())
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(str(facts.get('head', report.task)))} · {counts} · {escape(facts['engine'])}</p>",
        _table(("", "value", "95 % interval"), _metric_rows(report)),
        _table(("label", "precision", "recall", "F1", "support"), _label_rows(report)),
    ]
    if report.confusion is not None:
        parts += ["<h2>Confusion</h2>", _confusion(report.confusion)]
    if report.calibration is not None:
        parts += ["<h2>Calibration</h2>", _reliability(report.calibration)]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _metric_rows(report: Report) -> Iterable[Sequence[str]]:
    for name, figure in report.metrics.items():
        yield name.replace("_", " "), f"{figure.value:.4f}", f"{figure.low:.4f} … {figure.high:.4f}"


def _label_rows(report: Report) -> Iterable[Sequence[str]]:
    for figures in report.labels:
        shares = (figures.precision, figures.recall, figures.f1)
        yield figures.label, *(f"{share:.4f}" for share in shares), str(figures.support)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in header)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _confusion(table: Confusion) -> str:
    """Rows are the file's labels, columns the answers; the darker, the larger the share of the row."""
    counted = len(table.labels) <= MOST_COUNTED
    cell = CELL if counted else SMALL_CELL
    names = [_short(label) for label in table.labels]
    edge = 12 + LETTER * max(map(len, names))
    size = edge + cell * len(names) + 4
    parts = [f'<svg viewBox="0 0 {size} {size}" width="{size}" role="img">']
    for place, name in enumerate(names):
        middle = edge + (place + 0.5) * cell
        parts.append(f'<text x="{edge - 6}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(
            f'<text transform="translate({middle + 4} {edge - 6}) rotate(-90)">{escape(name)}</text>'
        )
    for row, counts in enumerate(table.counts):
        total = max(sum(counts), 1)
        for column, count in enumerate(counts):
            share = count / total
            x, y = edge + column * cell, edge + row * cell
            title = f"{table.labels[row]} answered as {table.labels[column]}: {count} ({share:.1%})"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="#1f5fa8"'
                f' fill-opacity="{0.04 + 0.96 * share:.3f}"><title>{escape(title)}</title></rect>'
            )
            if counted and count:
                color = "#fff" if share > 0.5 else "#222"
                parts.append(
                    f'<text x="{x + cell / 2}" y="{y + cell / 2 + 4}" text-anchor="middle" fill="{color}"'
                    f' pointer-events="none">{count}</text>'
                )
    parts.append("</svg>")
    return "\n".join(parts)


def _reliability(calibration: Calibration) -> str:
    """Bars: the share of events that came true, by score. On the line, scores are what they say."""
    size = SIDE + 2 * MARGIN

    def x(value: float) -> float:
        return MARGIN + SIDE * value

    def y(value: float) -> float:
        return MARGIN + SIDE * (1 - value)

    parts = [f'<svg viewBox="0 0 {size} {size}" width="{size}" role="img">']
    for part in calibration.bins:
        if part.count:
            title = f"score {part.score:.3f}, true {part.true:.3f}, {part.count} answers"
            parts.append(
                f'<rect x="{x(part.low):.1f}" y="{y(part.true):.1f}"'
                f' width="{SIDE * (part.high - part.low) - 1:.1f}" height="{SIDE * part.true:.1f}"'
                f' fill="#1f5fa8"><title>{title}</title></rect>'
            )
            parts.append(f'<circle cx="{x(part.score):.1f}" cy="{y(part.true):.1f}" r="3" fill="#222"/>')
    parts += [
        f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}" stroke="#888" stroke-dasharray="4"/>',
        f'<path d="M{x(0)} {y(1)}V{y(0)}H{x(1)}" fill="none" stroke="#444"/>',
        f'<text x="{x(0.5)}" y="{y(0) + 32}" text-anchor="middle">score</text>',
        f'<text transform="translate({x(0) - 26} {y(0.5)}) rotate(-90)" text-anchor="middle">'
        "share that is right</text>",
    ]
    for tick in (0, 0.5, 1):
        parts.append(f'<text x="{x(tick)}" y="{y(0) + 16}" text-anchor="middle">{tick}</text>')
        parts.append(f'<text x="{x(0) - 6}" y="{y(tick) + 4}" text-anchor="end">{tick}</text>')
    temperature = f"with the temperature {calibration.temperature:.3g}: {calibration.ece_then:.4f}"
    parts.append(
        f"</svg>\n<p>Expected calibration error {calibration.ece:.4f}; {temperature}, on these records.</p>"
    )
    return "\n".join(parts)


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_NAME else label[: LONGEST_NAME - 1] + "…"
