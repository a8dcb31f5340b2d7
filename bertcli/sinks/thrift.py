"""Thrift's compact protocol, in which Parquet writes its footers: as much as is needed to change one.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md

A struct becomes a dict from field number to (type, value), a list (element type, values), every other value
what Python has for it. What is read and written again is the same bytes. Maps and sets, which Parquet does
not use, raise ValueError.
"""

from __future__ import annotations

from typing import Any, TypeAlias

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 12

Struct: TypeAlias = dict[int, tuple[int, Any]]


def read_struct(data: bytes) -> Struct:
    """The struct that `data` begins with."""
    struct, _ = _read(data, 0, STRUCT)
    fields: Struct = struct
    return fields


def write_struct(struct: Struct) -> bytes:
    """The bytes of a struct."""
    out = bytearray()
    _write(out, STRUCT, struct)
    return bytes(out)


def _read(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    """The value at a place, and the place behind it."""
    if kind in (I16, I32, I64):
        number, at = _read_varint(data, at)
        return number >> 1 ^ -(number & 1), at  # zigzag: 0, -1, 1, -2 …
    if kind in (TRUE, FALSE):  # among the elements of a list; in a struct the type is the value
        return data[at], at + 1
    if kind == BYTE:
        return data[at], at + 1
    if kind == DOUBLE:
        return data[at : at + 8], at + 8
    if kind == BINARY:
        length, at = _read_varint(data, at)
        return data[at : at + length], at + length
    if kind == LIST:
        return _read_list(data, at)
    if kind == STRUCT:
        return _read_fields(data, at)
    raise ValueError(f"Thrift type {kind}")


def _read_fields(data: bytes, at: int) -> tuple[Struct, int]:
    fields: Struct = {}
    number = 0
    while data[at]:
        step, kind = data[at] >> 4, data[at] & 15
        at += 1
        if step:
            number += step
        else:
            number, at = _read(data, at, I16)
        value: Any = None
        if kind not in (TRUE, FALSE):
            value, at = _read(data, at, kind)
        fields[number] = (kind, value)
    return fields, at + 1


def _read_list(data: bytes, at: int) -> tuple[tuple[int, list[Any]], int]:
    length, kind = data[at] >> 4, data[at] & 15
    at += 1
    if length == 15:
        length, at = _read_varint(data, at)
    values = []
    for _ in range(length):
        value, at = _read(data, at, kind)
        values.append(value)
    return (kind, values), at


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while data[at] & 0x80:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return number | data[at] << shift, at + 1


def _write(out: bytearray, kind: int, value: Any) -> None:
    if kind in (I16, I32, I64):
        _write_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)
    elif kind in (TRUE, FALSE, BYTE):
        out.append(value)
    elif kind == DOUBLE:
        out += value
    elif kind == BINARY:
        _write_varint(out, len(value))
        out += value
    elif kind == LIST:
        _write_list(out, *value)
    else:
        _write_fields(out, value)


def _write_fields(out: bytearray, fields: Struct) -> None:
    last = 0
    for number, (kind, value) in fields.items():
        if 0 < number - last < 16:
            out.append(number - last << 4 | kind)
        else:
            out.append(kind)
            _write(out, I16, number)
        if kind not in (TRUE, FALSE):
            _write(out, kind, value)
        last = number
    out.append(0)


def _write_list(out: bytearray, kind: int, values: list[Any]) -> None:
    if len(values) < 15:
        out.append(len(values) << 4 | kind)
    else:
        out.append(0xF0 | kind)
        _write_varint(out, len(values))
    for value in values:
        _write(out, kind, value)


def _write_varint(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
