"""What inputs can be known by, so that a run is not resumed over another one.

A file is known by its size and by its bytes: by all of them up to 16 MiB, beyond that by samples taken from
beginning to end. Its name and its date say nothing: a copy that was put back is the same input.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from bertcli.errors import InputError
from bertcli.storage import is_remote, object_size, read_ranges

if TYPE_CHECKING:
    from bertcli.requests import InputOptions

MOST_READ = 1 << 24  # bytes, of all inputs together
SAMPLES = 64
LEAST_SAMPLE = 1 << 10


def identify(options: InputOptions) -> list[dict[str, Any]]:
    """`name`, `size` and `digest` of each file; the last two are None for what cannot be read twice (a pipe).

    Raises InputError for a file that cannot be read.
    """
    files = options.files or (() if options.texts else ("-",))
    most = MOST_READ // max(1, len(files))
    return [_identify(path, most) for path in files]


def fingerprint(path: str, most: int = MOST_READ) -> tuple[int, str]:
    """The size of a file, and 32 hexadecimal digits that change with its bytes, `most` of which are read."""
    from hashlib import blake2b

    digest = blake2b(digest_size=16)
    if is_remote(path):
        size = object_size(path) or 0
        for data in read_ranges(path, _sampled(size, most)):
            digest.update(data)
        return size, digest.hexdigest()
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= most:
            while data := file.read(1 << 20):
                digest.update(data)
        else:
            for begin, end in _sampled(size, most):
                file.seek(begin)
                digest.update(file.read(end - begin))
    return size, digest.hexdigest()


def _sampled(size: int, most: int) -> list[tuple[int, int]]:
    """The ranges of a file that are read to identify it: all of it, or samples."""
    if size <= most:
        return [(0, size)] if size else []
    length = max(LEAST_SAMPLE, most // SAMPLES)
    begins = [(size - length) * sample // (SAMPLES - 1) for sample in range(SAMPLES)]
    return [(begin, begin + length) for begin in begins]


def _identify(path: str, most: int) -> dict[str, Any]:
    shown = os.fsencode(path).decode("utf-8", "replace")
    try:
        if path == "-" or not (is_remote(path) or stat.S_ISREG(os.stat(path).st_mode)):
            return {"name": "stdin" if path == "-" else shown, "size": None, "digest": None}
        size, digest = fingerprint(path, most)
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=shown, hint="check the path, and who may read the file"
        ) from error
    return {"name": shown, "size": size, "digest": digest}
