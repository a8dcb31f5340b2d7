"""A bertcli task for Ray Data: `bertcli.ray.Model` is a class for `map_batches`.

    ds = ray.data.read_parquet("reviews.parquet")
    ds = ds.map_batches(
        bertcli.ray.Model,
        fn_constructor_args=("label",),
        fn_constructor_kwargs={"text_field": "body"},
        batch_format="pyarrow",
        batch_size=1024,
        compute=ray.data.ActorPoolStrategy(size=4),
        num_cpus=1,
    )
    ds.write_parquet("labelled")

It can be used without Ray, too: it takes and returns batches, and knows of Ray only how many cores an actor has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli import model as library
from bertcli import requests
from bertcli.errors import FieldClashError, quoted
from bertcli.sinks import REMARKS
from bertcli.sinks.arrow import MISFITS, as_arrow, inferred, is_lossless
from bertcli.sources.fields import choose_text_field

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


class Model:
    """A task of a model, called with batches of records: a row of results for each row, in order, after the columns of
    the batch.

    `task` is `label`, `fill`, `embed`, `tag`, `score`, `attention`, `answer` or `translate`, `model` a directory or a
    name as in `bertcli.load`, which must be on every machine. `options` are those of both: of the model (`dtype`,
    `device` …), and of the task by the names in `bertcli.requests` (`labels`, `text_field`, `pair_field` …). `prefix`
    is put before the name of each result column.

    A batch is a `pyarrow.Table` or a mapping of names to NumPy arrays (`batch_format="pyarrow"` or `"numpy"`), and the
    result is of the same kind. It has the result fields of the task and `windows`, `truncated` and `error`, which are
    null where there is nothing to say: a record that fails has null results and an `error` (a `type` and a `message`).
    The columns of Arrow have types of their own for each result, whatever is in the batch.

    The engine is `packed`, and has as many threads as the actor has cores, unless the options say otherwise.

    Raises ModelError for a model that cannot do the task and UsageError for options that make no sense, when it is
    made. A batch that has no column for the text, or one with the name of a result, raises UsageError.
    """

    def __init__(self, task: str, model: str | None = None, *, prefix: str = "", **options: Any) -> None:
        names = requests.options_of(requests.ModelOptions()).keys() - {"model"}
        of_model = {name: options.pop(name) for name in names.intersection(options)}
        if of_model.get("threads") is None and (cores := _cores_of_actor()):
            of_model["threads"] = cores
        asked = requests.ModelOptions(model=model, **of_model)
        self._model = library.Model(asked)
        if asked.engine == "auto" and "packed" in self._model.engines:
            self._model = library.Model(replace(asked, engine="packed"))  # whatever the size of a batch
        self._task, self._prefix, self._options = task, prefix, options
        self._fields = (*self._model.result_fields(task, **options), *REMARKS)
        self._chooses = requests.InputOptions(
            text_field=self._options.pop("text_field", None), pair_field=options.get("pair_field")
        )

    def __call__(self, batch: Any) -> Any:
        """The batch, a `pyarrow.Table` or a mapping of names to NumPy arrays, with the columns of the results."""
        if isinstance(batch, Mapping):
            rows = self._compute(batch)
            return {**batch, **{self._prefix + field: _array(field, rows) for field in self._fields}}
        if not hasattr(batch, "column_names"):
            raise TypeError(
                f"a batch of type {type(batch).__name__}: use batch_format='pyarrow' or batch_format='numpy'"
            )
        rows = self._compute({name: batch[name] for name in batch.column_names})
        for field in self._fields:
            batch = batch.append_column(self._prefix + field, _arrow_array(field, rows))
        return batch

    def _compute(self, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The results of each row."""
        self._refuse_clash(columns)
        if not len(next(iter(columns.values()), ())):
            return []
        names = tuple(columns)
        strings = tuple(name for name in names if _holds_strings(columns[name]))
        text_field = choose_text_field(names, strings, self._chooses, "the batch")
        fields = [name for name in columns if name in (text_field, self._chooses.pair_field, "words")]
        values = (_list(columns[name]) for name in fields)
        texts = (dict(zip(fields, row, strict=True)) for row in zip(*values, strict=True))
        return list(getattr(self._model, self._task)(texts, text_field=text_field, **self._options))

    def _refuse_clash(self, names: Iterable[str]) -> None:
        if clash := {self._prefix + field for field in self._fields}.intersection(names):
            raise FieldClashError(
                f"the batch already has {quoted(sorted(clash))}, as the results do",
                hint="give the results other names with prefix=",
            )


def _cores_of_actor() -> int | None:
    """The cores that Ray has given to this actor or task, None outside of one."""
    ray: Any = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    if context.worker.mode != ray.WORKER_MODE:
        return None
    return max(1, int(context.get_assigned_resources().get("CPU", 0)))


def _holds_strings(column: Any) -> bool:
    """Whether a column of a batch can hold texts: strings and nulls."""
    if isinstance(column, np.ndarray):
        is_text = column.dtype.kind == "O" and all(
            value is None or isinstance(value, str) for value in column
        )
        return column.dtype.kind == "U" or is_text
    import pyarrow as pa

    types = pa.types
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind))


def _list(column: Any) -> list[Any]:
    values: list[Any] = column.tolist() if isinstance(column, np.ndarray) else column.to_pylist()
    return values


def _arrow_array(field: str, rows: list[dict[str, Any]]) -> pa.Array:
    """A result field of Arrow's type for it, else of an inferred one. Where no row says what that is, it is null, which
    fits every other."""
    import pyarrow as pa

    values = [as_arrow(row.get(field)) for row in rows]
    present = [value for value in values if value is not None]
    kind = _types().get(field)
    if kind is not None and all(is_lossless(value, kind) for value in present):
        with suppress(*MISFITS):
            return pa.array(values, kind)
    return pa.array(values, inferred(present) if present else pa.null())


def _types() -> dict[str, pa.DataType]:
    """The types of result fields that have one, so that all batches have the same: of a batch of records without an
    answer they could not be inferred."""
    import pyarrow as pa

    text, number, count = pa.string(), pa.float64(), pa.int64()

    def objects(**fields: pa.DataType) -> pa.DataType:
        return pa.list_(pa.struct(list(fields.items())))

    return {
        "label": text,
        "score": number,
        "labels": objects(label=text, score=number),
        "fills": objects(words=pa.list_(text), score=number, text=text),
        "spans": objects(label=text, start=count, end=count, text=text, score=number),
        "tokens": count,
        "perplexity": number,
        "words": objects(word=text, start=count, end=count, log_prob=number),
        "answer": text,
        "start": count,
        "end": count,
        "translation": text,
        "translations": objects(text=text, score=number),
        "windows": count,
        "truncated": pa.bool_(),
        "error": pa.struct([("type", text), ("message", text)]),
    }


def _array(field: str, rows: list[dict[str, Any]]) -> NDArray[Any]:
    """A result field as a NumPy array: of numbers or vectors where every row has one, else of objects."""
    values: list[Any] = [row.get(field) for row in rows]
    kinds = int | float | np.number | np.ndarray
    if (
        values
        and all(isinstance(value, kinds) for value in values)
        and len({np.shape(value) for value in values}) == 1
    ):
        return np.array(values)
    array = np.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array
