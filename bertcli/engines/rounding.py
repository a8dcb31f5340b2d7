"""Round sizes: oneDNN compiles a kernel for each size of a product and keeps it, so there must be few."""

from __future__ import annotations


def rounded_count(count: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, 24 … that is at least `count`."""
    power = 1 << (count - 1).bit_length()
    return power * 3 // 4 if power * 3 % 4 == 0 and count <= power * 3 // 4 else power


def rounded_length(length: int) -> int:
    """The next multiple of 8, of 16 from 64 on, of 32 from 256 on."""
    step = 8 if length <= 64 else 16 if length <= 256 else 32
    return -(-length // step) * step
