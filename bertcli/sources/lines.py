"""Blocks of bytes as they arrive -> blocks of whole lines."""

from __future__ import annotations

from collections.abc import Iterator


def whole_lines(chunks: Iterator[bytes], end: bytes = b"\n") -> Iterator[bytes]:
    """Regroup `chunks` into blocks that end with a line's `end` (the last block perhaps without).

    A line is handed on as soon as it is complete. However long a line is and in however many pieces it
    comes, each of its bytes is copied a fixed number of times.
    """
    begun: list[bytes] = []
    for chunk in chunks:
        cut = chunk.rfind(end) + 1
        if not cut:
            begun.append(chunk)
            continue
        block = b"".join([*begun, chunk[:cut]])
        begun = [chunk[cut:]]  # before the block goes out: a long line should not be in memory twice
        yield block
    if rest := b"".join(begun):
        yield rest


def split_lines(block: bytes, end: bytes = b"\n") -> list[bytes]:
    """The lines of such a block, without their ends."""
    lines = block.split(end)
    if not lines[-1]:  # what is behind the last end
        lines.pop()
    return lines
