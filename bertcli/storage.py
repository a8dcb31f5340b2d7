"""Files by their path."""

from __future__ import annotations

from typing import BinaryIO, cast


def open_file(path: str) -> BinaryIO:
    """A file to be read from any offset. Raises OSError."""
    return cast(BinaryIO, open(path, "rb", buffering=0))
