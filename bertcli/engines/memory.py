"""Whether an error says that memory ran out, in the words of every library that may say so."""

from __future__ import annotations

# What torch's allocators say in a plain RuntimeError: of a CPU, of glibc, of C++, of oneDNN.
_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "bad allocation")


def ran_out(error: BaseException) -> bool:
    """torch's OutOfMemoryError is known by its name: asking for it would import torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)
