"""What attention does inside encoders that the instant engine does not run: transformers' own code, made to
keep its weights ("eager"). One window at a time in float32: for inspection, too slow for many texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bertcli.engines import Ask, AttentionWeights, OfAttention, available_cores, depth_of, more_than_formula
from bertcli.engines.device import choose_device, choose_dtype
from bertcli.engines.loading import as_configured, load_encoder_and_head, takes_types
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.records import Window


class EagerEncoder:
    """The engine that returns attention weights, on torch. Raises EngineError for a device or dtype it cannot use,
    or a checkpoint that transformers cannot load."""

    name = "eager"
    workers = 1
    batch_tokens = 512
    batch_invariant = True  # a window at a time

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        torch.set_num_threads(threads or available_cores())
        self._where = choose_device(device)
        number_format = choose_dtype("float32" if dtype == "auto" else dtype, self._where)
        self.device = str(self._where)
        self.dtype = str(number_format).removeprefix("torch.")
        self._encoder: Any = load_encoder_and_head(checkpoint, None, number_format, self._where, "eager")[0]
        self._takes_types = takes_types(self._encoder)

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        """Answer `ask` for each window, in order. Raises EngineError for what is not about attention, and for
        queries and keys that are not all there is to this architecture's weights."""
        if not isinstance(ask, OfAttention):
            raise EngineError("the eager engine gives attention weights, and nothing else")
        if isinstance(ask, AttentionWeights):
            layers = [self._weights(window) for window in windows]
        else:
            layers = [self._queries_keys_values(window) for window in windows]
        depth = depth_of(ask, self._checkpoint.layers)
        chosen = slice(0, depth) if ask.layer is None else slice(depth - 1, depth)
        return [_array(torch.stack(each[chosen])) for each in layers]

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        """Answer several asks, one after the other."""
        return [self.forward(windows, ask) for ask in asks]

    def _weights(self, window: Window) -> list[Tensor]:
        """(heads, tokens, tokens) of each layer."""
        return [layer[0] for layer in self._run(window).attentions]

    def _queries_keys_values(self, window: Window) -> list[Tensor]:
        """(3, heads, tokens, d) of each layer."""
        description = self._checkpoint.description
        if description is None or not description.layer.attention.plain or description.layer.attention.fused:
            raise more_than_formula(self._checkpoint.model_type)
        names = description.layer.attention
        parts = [name.rpartition(".")[2] for name in (names.query, names.key, names.value)]
        with _listening(self._encoder, parts) as heard:
            self._run(window)
        heads = self._checkpoint.attention_heads
        split = [[y[0].unflatten(-1, (heads, -1)).transpose(0, 1) for y in heard[part]] for part in parts]
        return [torch.stack(layer) for layer in zip(*split, strict=True)]

    def _run(self, window: Window) -> Any:
        inputs = {"input_ids": torch.tensor([list(window.ids)], device=self._where)}
        if self._takes_types:
            types = window.types or [0] * len(window)
            inputs["token_type_ids"] = torch.tensor([list(types)], device=self._where)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        as_configured(self._encoder)
        with torch.inference_mode():
            return self._encoder(**inputs, output_attentions=True)


@contextmanager
def _listening(encoder: nn.Module, parts: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """What the layers called by one of `parts` give while the block runs, in the order they run."""
    heard: dict[str, list[Tensor]] = {part: [] for part in parts}

    def hook(part: str) -> Any:
        return lambda module, inputs, output: heard[part].append(output)

    handles = [
        module.register_forward_hook(hook(name.rpartition(".")[2]))
        for name, module in encoder.named_modules()
        if name.rpartition(".")[2] in heard and isinstance(module, nn.Linear)
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.float().cpu().numpy()
    return array
