"""The packed engine in every dtype; in int8 calibrated on windows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bertcli.engines import Ask, Hidden
from bertcli.engines.int8 import Observer, has_int8_products
from bertcli.engines.packed import Packed
from bertcli.models.checkpoint import Checkpoint
from bertcli.records import Window
from tests.engines.windows import make_windows


def open_packed(
    checkpoint: Checkpoint, dtype: str, windows: Sequence[Window] | None = None, ask: Ask | None = None
) -> Packed:
    """The engine on a CPU, which rounds all products in int8. Skips the test where the processor has no int8."""
    if dtype != "int8":
        return Packed(checkpoint, device="cpu", dtype=dtype)
    if not has_int8_products():
        pytest.skip("this processor has no AVX-512 VNNI")
    observer = Observer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bertcli.engines.fused.is_worth_rounding", lambda role, weight: True)
        observed = Packed(checkpoint, device="cpu", dtype="float32", observer=observer)
    observed.forward(
        make_windows(checkpoint) if windows is None else windows, Hidden() if ask is None else ask
    )
    return Packed(checkpoint, device="cpu", dtype=dtype, roundings=observer.roundings())
