"""How often each label was given, as a small table for the terminal after a run with `-o FILE`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bertcli.console.drawing import grouped, meter
from bertcli.records import DECISION_FIELD

if TYPE_CHECKING:
    from bertcli.records import Result
    from bertcli.tasks.choice import Choice

MOST_ROWS = 20  # of one table
MOST_CELLS = 40  # of a label
BAR_CELLS = 20
NOTHING = "(none)"  # no label over the threshold


def given(result: Result, choice: Choice | None) -> Iterator[tuple[str, str]]:
    """The labels that a result gives to its record, each with the result field it is in. `choice` is that of
    the task, where it has one: where several labels may hold, all over its threshold are given."""
    if result.problem is not None or result.record.blank:
        return
    for field, value in result.values.items():
        if field == "spans":
            yield from (("spans", span["label"]) for span in value or ())
        elif field == "word_tags":
            yield from (("words", entry["tag"]) for entry in value or ())
        elif field == "label" and choice is not None and choice.several:
            over = [e["label"] for e in result.values["labels"] if e["score"] >= choice.threshold]
            yield from ((field, label) for label in over or [NOTHING])
        elif field == DECISION_FIELD:
            yield field, value
        elif field == "label" or field.endswith("_label"):
            yield field, NOTHING if value is None else value


def table(tally: Mapping[tuple[str, str], int], width: int) -> Iterator[str]:
    """The lines of the tables, one for each result field, for counts by (field, label): the most frequent
    labels first."""
    from bertcli.sinks.table.cells import measured, padded, shown, truncated_to

    for field in dict.fromkeys(field for field, _ in tally):
        counts = Counter({label: count for (of, label), count in tally.items() if of == field})
        rows = counts.most_common(MOST_ROWS)
        title, unit = (
            ("label", field) if field in ("spans", "words") else (shown(field, MOST_CELLS), "records")
        )
        digits = max(len(grouped(rows[0][1])), len(unit))
        most = min(MOST_CELLS, max(8, width - 1 - digits - BAR_CELLS - 4))
        names = [truncated_to(shown(label, MOST_CELLS), most) for label, _ in rows]
        cells = max(map(measured, [*names, title]))
        yield f"{padded(title, cells)}  {unit:>{digits}}"
        for name, (_, count) in zip(names, rows, strict=True):
            bar = meter(count / rows[0][1], BAR_CELLS)
            yield f"{padded(name, cells)}  {grouped(count):>{digits}}  {bar}".rstrip()
        if len(counts) > len(rows):
            yield f"and {grouped(len(counts) - len(rows))} more labels"
