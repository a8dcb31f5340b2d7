"""Arrow types for the values of records, and which value fits which type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any

from bertcli.records import ExactNumber
from bertcli.storage import open_file

if TYPE_CHECKING:
    import pyarrow as pa

MISFITS = (ValueError, TypeError, NotImplementedError, OverflowError)  # how pyarrow refuses a value


def inferred(values: Sequence[Any]) -> pa.DataType:
    """The type of a column that holds `values` (none of them None); string when there are none.

    Vectors of one length become fixed_size_list, arrays of more dimensions lists of lists. Raises one of
    MISFITS for values that share no type.
    """
    import numpy as np
    import pyarrow as pa

    if not values:
        return pa.string()
    if all(hasattr(value, "dtype") for value in values):
        item = pa.from_numpy_dtype(np.result_type(*{value.dtype for value in values}))
        if (dimensions := max(value.ndim for value in values)) > 1:
            return reduce(lambda kind, _: pa.list_(kind), range(dimensions), item)
        lengths = {len(value) for value in values}
        return pa.list_(item, lengths.pop()) if len(lengths) == 1 else pa.list_(item)
    if all(isinstance(value, dict) for value in values):
        names = dict.fromkeys(name for value in values for name in value)
        if not names:
            raise ValueError("an object without fields")
        return pa.struct([(name, inferred(_present(value.get(name) for value in values))) for name in names])
    if all(isinstance(value, list | tuple) for value in values):
        return pa.list_(inferred(_present(item for value in values for item in value)))
    values = [as_arrow(value) for value in values]
    if any(isinstance(value, Decimal) for value in values):
        return _decimal(pa.infer_type([_as_decimal(value) for value in values]))
    return pa.infer_type(values)


def _decimal(kind: pa.DataType) -> pa.DataType:
    """A decimal type with as many digits after the point as `kind`, and as many before it as there can be."""
    import pyarrow as pa

    if not pa.types.is_decimal(kind):
        return kind
    narrow = pa.types.is_decimal128(kind)
    return pa.decimal128(38, kind.scale) if narrow else pa.decimal256(76, kind.scale)


def as_arrow(value: Any, kind: Any = None) -> Any:
    """The value as pyarrow takes it for a column of type `kind`: an array of several dimensions as lists of
    vectors, a number that no double holds as a Decimal, lone surrogates as `\\ud800`, as in CSV."""
    import pyarrow as pa

    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if kind is not None and pa.types.is_decimal(kind):
        return _as_decimal(value)
    if isinstance(value, ExactNumber):
        return float(value) if _is_double(value) else _as_decimal(value)
    if isinstance(value, list | tuple):
        item = kind.value_type if kind is not None and pa.types.is_list(kind) else None
        return [as_arrow(each, item) for each in value]
    if isinstance(value, dict):
        is_struct = kind is not None and pa.types.is_struct(kind)
        kinds = {field.name: field.type for field in kind} if is_struct else {}
        return {name: as_arrow(each, kinds.get(name)) for name, each in value.items()}
    return [as_arrow(row) for row in value] if getattr(value, "ndim", 1) > 1 else value


def _as_decimal(value: Any) -> Any:
    """A number as the Decimal of its digits; anything else as it is."""
    try:
        return Decimal(repr(value)) if isinstance(value, float) else value
    except ArithmeticError:  # an exponent of too many digits
        return value


def _is_double(number: ExactNumber) -> bool:
    """Whether a number is a double with the 17 digits that identify it, as C's %.17g has it."""
    return bool(Decimal(f"{float(number):.17g}") == _as_decimal(number))


def fits(value: Any, kind: pa.DataType) -> bool:
    """Whether a column of this type holds the value without losing any of it."""
    import pyarrow as pa

    try:
        pa.array([value], type=kind)
    except MISFITS:
        return False
    return is_lossless(value, kind)


def is_lossless(value: Any, kind: pa.DataType) -> bool:
    """Whether nothing of the value is lost in the type. Arrow refuses most misfits, but drops the fields a
    struct does not know, and the fractions of numbers in an integer column, without a word."""
    import pyarrow as pa

    if isinstance(value, float) and pa.types.is_integer(kind):
        return value.is_integer()
    if isinstance(value, dict) and pa.types.is_struct(kind):
        known = {field.name: field.type for field in kind}
        return all(name in known and is_lossless(item, known[name]) for name, item in value.items())
    if isinstance(value, list | tuple) and pa.types.is_list(kind):
        return all(is_lossless(item, kind.value_type) for item in value)
    return True


def may_lose(kind: pa.DataType) -> bool:
    """Whether there are values of which this type would lose something: see `keeps`."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return may_lose(kind.value_type)
    return bool(pa.types.is_struct(kind) or pa.types.is_integer(kind))


def written_rows(path: str) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file that bertcli wrote, as it was given them: vectors are arrays again."""
    from pyarrow import parquet

    with open_file(path) as source, parquet.ParquetFile(source) as file:
        for batch in file.iter_batches(batch_size=1024):
            names = batch.schema.names
            for values in zip(*map(_values, batch.columns), strict=True):
                yield dict(zip(names, values, strict=True))


def _values(array: pa.Array) -> list[Any]:
    """The values of a column. Arrays of the types that Python's numbers do not have become NumPy's."""
    import pyarrow as pa
    from pyarrow import compute

    kind = array.type
    if pa.types.is_struct(kind):
        parts = [_values(array.field(number)) for number in range(kind.num_fields)]
        names = [field.name for field in kind]
        rows = zip(*parts, strict=True) if parts else ((),) * len(array)
        objects = [dict(zip(names, row, strict=True)) for row in rows]
        return [
            value if valid else None
            for value, valid in zip(objects, array.is_valid().to_pylist(), strict=True)
        ]
    if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)):
        return list(array.to_pylist())
    item = kind.value_type
    is_vector = pa.types.is_primitive(item) and item not in (pa.int64(), pa.float64(), pa.bool_())
    items = array.flatten()  # of the lists that are not null
    inner = items.to_numpy() if is_vector and not items.null_count else _values(items)
    values: list[Any] = []
    at = 0
    for length in compute.list_value_length(array).to_pylist():
        values.append(None if length is None else inner[at : at + length])
        at += length or 0
    return values


def _present(values: Any) -> list[Any]:
    return [value for value in values if value is not None]
