"""What computes: the device, and the dtype of matrix products."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bertcli import interrupts
from bertcli.engines.device import choose_device, choose_dtype, keep_freed_memory
from bertcli.errors import UsageError
from bertcli.training.batches import by_length, pad
from bertcli.training.dropout import ByteDropout

if TYPE_CHECKING:
    from bertcli.records import Window

VALIDATION_TOKENS = 4096  # of a batch while validating


@dataclass(frozen=True, slots=True)
class Machine:
    """A device, and the dtype of the encoder's matrix products. Weights stay in float32, and heads compute in it (see
    `network.compute_in_float32`)."""

    device: torch.device
    dtype: torch.dtype
    pad_id: int

    @classmethod
    def choose(cls, device: str, dtype: str, pad_id: int | None) -> Machine:
        """Raises EngineError for a device that is not here, UsageError for float16: its gradients vanish."""
        if dtype == "float16":
            raise UsageError("float16 cannot be trained in", hint="use --dtype bfloat16, float32 or auto")
        chosen = choose_device(device)
        if chosen.type == "cpu":
            keep_freed_memory()
        return cls(chosen, choose_dtype(dtype, chosen), pad_id or 0)

    def generators(self) -> list[Tensor]:
        """The states of the random generators: of the CPU, and of the device."""
        states = [torch.get_rng_state()]
        return [*states, torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else states

    def set_generators(self, states: Sequence[Tensor]) -> None:
        """Restore what `generators` returned."""
        torch.set_rng_state(states[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(states[1], self.device)

    @contextlib.contextmanager
    def forward_pass(self) -> Iterator[None]:
        """Within it, matrices are multiplied in the machine's dtype, and dropout is fast on a CPU."""
        with contextlib.ExitStack() as stack:
            if self.dtype != torch.float32:
                stack.enter_context(torch.autocast(self.device.type, self.dtype))
            if self.device.type == "cpu":
                stack.enter_context(ByteDropout())
            yield

    def inputs(self, windows: Sequence[Window]) -> dict[str, Tensor]:
        """The arguments of an encoder, each [rows, length], on the device."""
        return {name: value.to(self.device) for name, value in pad(windows, self.pad_id).items()}

    def sweep(self, windows: Sequence[Window]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """All windows once, in batches of similar length: (indices, arguments of an encoder)."""
        for indices in by_length([len(one) for one in windows], VALIDATION_TOKENS):
            interrupts.check()
            yield indices, self.inputs([windows[index] for index in indices])
