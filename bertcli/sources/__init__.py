"""Sources turn files, pipes and literal texts into Records. They never see tokens.

`open_source(options)` builds one Source over all inputs; a format is one small file beside this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from bertcli.records import Record


class Source(Protocol):
    """An iterable of Records in input order, read once.

    `live` says that the input may pause (a pipe, a fifo, a terminal): the pipeline then answers what it has
    instead of waiting for more. `size` is the number of bytes on disk, None when it cannot be known;
    `position` the number of those bytes read so far (compressed bytes for compressed files): both for the
    progress bar and for choosing an engine. `field_names` are the field names of the first record (the
    header of a CSV file), known before the first record is taken: a name clash stops the run before it starts.
    """

    live: bool
    size: int | None

    @property
    def position(self) -> int: ...

    @property
    def field_names(self) -> tuple[str, ...]: ...

    def __iter__(self) -> Iterator[Record]: ...

    def close(self) -> None: ...
