"""Whether an error says that memory ran out, in the words of every library that may say so; and whether it
would, which has to be asked before libraries that end the process instead.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

# What torch's allocators say in a plain RuntimeError: of a CPU, of glibc, of C++, of oneDNN.
_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "bad allocation")


def ran_out(error: BaseException) -> bool:
    """torch's OutOfMemoryError is known by its name: asking for it would import torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


def room() -> int | None:
    """The bytes that can be taken without swapping, None where the system does not tell."""
    with suppress(OSError):
        told = re.search(r"^MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE)
        return int(told[1]) * 1024 if told else None
    return None
