"""What `sample` does: read the file once, draw records, write them with their weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO

from bertcli import console
from bertcli.errors import InputError, UsageError, quoted
from bertcli.records import Result
from bertcli.runs.hits import open_hits

if TYPE_CHECKING:
    from bertcli.evaluation.sampling import Drawn, Vectors
    from bertcli.records import Record
    from bertcli.requests import DrawSample
    from bertcli.sources import Source

CLUSTERED = 10_000
"""The first records of the file, whose embeddings are clustered for `--by diversity`."""

EMBEDDING_FIELD = "embedding"
DRAWS_PER_CLUSTER = 4


def sample(request: DrawSample, stdout: BinaryIO) -> int:
    """Draw, write what was drawn, and return the exit code. Raises BertcliError for what cannot be drawn from."""
    from bertcli.evaluation.gold import DRAWS_FIELD, WEIGHT_FIELD
    from bertcli.sinks import Layout
    from bertcli.sources import open_source

    with closing(open_source(request)) as source:
        if source.prompt:
            raise UsageError("there is nothing to draw from", hint="name a file, or pipe one in")
        layout = Layout(
            task="sample",
            formats=request.formats,
            inputs=source.field_names,
            results=(WEIGHT_FIELD, DRAWS_FIELD),
            extras=(),
            text_field=source.text_field,
            id_field=request.id_field,
            prefix=request.prefix,
        )
        with open_hits(request, layout, stdout, request.files or ("-",)) as sink:
            eligible = _Eligible(source)
            drawn = _draw(request, eligible)
            if not drawn:
                raise InputError("there is no record to draw", hint="the input is empty, blank or failed")
            for entry in drawn:
                sink.write(Result(entry.item, {WEIGHT_FIELD: entry.weight, DRAWS_FIELD: entry.draws}))
    skipped = f", without {eligible.skipped} blank or failed" if eligible.skipped else ""
    times = sum(entry.draws for entry in drawn)
    again = f" in {times} draws" if times > len(drawn) else ""
    console.say(f"{len(drawn)} of {eligible.count} records drawn by {request.by}{again}{skipped}")
    return 0


class _Eligible:
    """The records that have an answer to check; counts them and the others."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.count = self.skipped = 0

    def __iter__(self) -> Iterator[Record]:
        for record in self._source:
            if record.blank or record.problem is not None or record.fields.get("error"):
                self.skipped += 1
            else:
                self.count += 1
                yield record


def _draw(request: DrawSample, records: _Eligible) -> list[Drawn[Record]]:
    from bertcli.evaluation.sampling import Draws, draw_uniform, uncertainty

    if request.by == "random":
        return draw_uniform(records, request.n, request.seed)
    if request.by == "diversity":
        return _draw_diverse(request, iter(records))
    draws: Draws[Record] = Draws(request.n, request.seed)
    for record in records:
        draws.add(record, uncertainty(_score(record, request.score_field)))
    return draws.result()


def _draw_diverse(request: DrawSample, records: Iterator[Record]) -> list[Drawn[Record]]:
    """Draws that prefer small clusters of embeddings."""
    from bertcli.evaluation.sampling import Draws, cluster_centres, nearest_centre

    first = list(itertools.islice(records, CLUSTERED))
    if not first:
        return []
    vectors = _vectors(first)
    centres = cluster_centres(vectors, max(2, request.n // DRAWS_PER_CLUSTER), request.seed)
    draws: Draws[Record] = Draws(request.n, request.seed, groups=len(centres))
    for record, vector in zip(first, vectors, strict=True):
        draws.add(record, group=nearest_centre(vector, centres))
    for record in records:
        draws.add(record, group=nearest_centre(_vectors([record])[0], centres))
    return draws.result()


def _score(record: Record, field: str) -> float:
    from bertcli.errors import RecordError
    from bertcli.evaluation.gold import number

    try:
        return number(record, field)
    except RecordError as error:
        raise InputError(
            f"--by uncertainty: {error.message}",
            where=record.where,
            hint="draw from a file that `bertcli label` wrote; --score-field names the field of its score",
        ) from None


def _vectors(records: list[Record]) -> Vectors:
    from bertcli.evaluation.gold import listed
    from bertcli.evaluation.sampling import unit_vectors

    try:
        rows = [listed(record.fields[EMBEDDING_FIELD]) for record in records]
        return unit_vectors([row for row in rows if row is not None] if all(rows) else [])
    except (KeyError, ValueError, TypeError):
        raise InputError(
            f"--by diversity needs the field {quoted([EMBEDDING_FIELD])} in every record",
            where=records[0].where,
            hint="`bertcli label --emit label,embedding` writes it",
        ) from None
