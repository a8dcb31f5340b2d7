"""Blocks of bytes as they arrive -> blocks of whole lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bertcli.sources.encoding import mark_too_big


def whole_lines(chunks: Iterator[bytes], end: bytes = b"\n", *, most: int) -> Iterator[bytes]:
    """Regroup `chunks` into blocks that end with a line's `end` (the last block perhaps without).

    A line is handed on as soon as it is complete. However long a line is and in however many pieces it
    comes, each of its bytes is copied a fixed number of times. In place of a line of more than `most` bytes,
    which is never in memory as a whole, there is a mark that `undecodable` knows.
    """
    begun: list[bytes] = []
    size = 0
    for chunk in chunks:
        cut = chunk.rfind(end) + 1
        if not cut:
            size += len(chunk)
            if size > most:
                begun = [mark_too_big(most)]
            else:
                begun.append(chunk)
            continue
        if size > most:  # of the line that is too long, only its end is left
            start = chunk.find(end)
            chunk, cut = chunk[start:], cut - start
        block = b"".join([*begun, chunk[:cut]])
        begun = [chunk[cut:]]  # before the block goes out: a long line should not be in memory twice
        size = len(begun[0])
        yield _without_long_lines(block, end, most)
    if rest := b"".join(begun):
        yield _without_long_lines(rest, end, most)


def _without_long_lines(block: bytes, end: bytes, most: int) -> bytes:
    if len(block) <= most:
        return block
    return end.join(line if len(line) <= most else mark_too_big(most) for line in block.split(end))


class LineNumbers:
    """The numbers of lines from 1, of which a reader knows only those since it began.

    In a part of a file, `count_before` counts the lines before it: this reads the file up to the part, so it is
    called for the first line whose number is needed, and `known` gives 0 until then.
    """

    def __init__(self, count_before: Callable[[], int] | None = None) -> None:
        self._count_before = count_before
        self._before = 0

    def known(self, number: int) -> int:
        """The number of the line that is `number` for the reader, or 0."""
        return number + self._before if self._count_before is None else 0

    def exact(self, number: int) -> int:
        """The same, never 0."""
        if self._count_before is not None:
            self._before, self._count_before = self._count_before(), None
        return number + self._before


def split_lines(block: bytes, end: bytes = b"\n") -> list[bytes]:
    """The lines of such a block, without their ends."""
    lines = block.split(end)
    if not lines[-1]:  # what is behind the last end
        lines.pop()
    return lines
