"""What attention does inside an encoder-decoder: transformers' own code, made to keep its weights ("eager"). One window
at a time in float32, for looking and not for bulk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bertcli.engines import more_than_formula
from bertcli.engines.finite import NotFiniteError
from bertcli.engines.seq2seq import PARTS, Part, PartAttention
from bertcli.engines.seq2seq.architecture import describe_seq2seq
from bertcli.engines.seq2seq.transformers_backend import TransformersTranslator

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.engines.seq2seq.architecture import Seq2SeqArchitecture, Side
    from bertcli.models.checkpoint import Checkpoint

Vectors = tuple["Array", "Array", "Array"]


class EagerTranslator(TransformersTranslator):
    """The engine that generates and returns attention weights. Raises EngineError as TransformersTranslator does."""

    name = "eager"
    batch_invariant = True  # a window at a time

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
    ) -> None:
        super().__init__(
            checkpoint,
            device=device,
            dtype="float32" if dtype == "auto" else dtype,
            threads=threads,
            batch_tokens=1,
            attention="eager",
        )
        self._architecture = describe_seq2seq(checkpoint.config)
        self._kind = checkpoint.model_type

    def attend(
        self, source: Sequence[int], target: Sequence[int], *, vectors: bool = False
    ) -> Mapping[Part, PartAttention]:
        """Attention in all parts of the model that reads `source` and, in its decoder, `target`; with `vectors` the
        queries, keys and values too.

        Raises EngineError for queries and keys that are not all there is to this architecture's weights, and
        NotFiniteError where weights are not finite.
        """
        names = self._projections() if vectors else {}
        with torch.inference_mode(), _recorded(self._model, names) as recorded:
            out = self._model(
                input_ids=torch.tensor([list(source)], device=self._where),
                decoder_input_ids=torch.tensor([list(target)], device=self._where),
                output_attentions=True,
                use_cache=False,
            )
        layers = (out.encoder_attentions, out.decoder_attentions, out.cross_attentions)
        found = {}
        for part, each in zip(PARTS, layers, strict=True):
            weights = torch.cat(tuple(each)).float()
            if not weights.isfinite().all():
                raise NotFiniteError(
                    f"{self._name}: attention weights are not finite numbers",
                    hint="`bertcli models check` looks for damaged weights",
                )
            split = self._split(recorded[part], weights.shape[1]) if vectors else None
            found[part] = PartAttention(weights.numpy(force=True), split)
        return found

    def _projections(self) -> dict[str, tuple[Part, int]]:
        """The modules that make queries (0), keys (1) and values (2), layer after layer: name -> (part, which)."""
        architecture = self._architecture
        if architecture is None or architecture.positions == "relative":
            raise more_than_formula(self._kind)
        return {
            f"{prefix}.{projection}": (part, which)
            for part in PARTS
            for prefix in _attention_modules(architecture, part)
            for which, projection in enumerate(architecture.names.projections[:3])
        }

    def _split(self, outputs: Mapping[int, Sequence[Tensor]], heads: int) -> Vectors:
        """(1, tokens, heads·d) of every layer -> (layers, heads, tokens, d), for queries, keys and values."""
        query, key, value = (
            torch.cat(list(outputs[which]))
            .unflatten(-1, (heads, -1))
            .transpose(1, 2)
            .float()
            .numpy(force=True)
            for which in range(3)
        )
        return query, key, value


def _attention_modules(architecture: Seq2SeqArchitecture, part: Part) -> Iterator[str]:
    names = architecture.names
    side: Side = "encoder" if part == "encoder" else "decoder"
    attention = names.cross_attention if part == "cross" else names.self_attention
    for number in range(architecture.stack(side).layers):
        yield f"{names.layer.format(side=side, layer=number)}.{attention}"


@contextmanager
def _recorded(
    model: Any, names: Mapping[str, tuple[Part, int]]
) -> Iterator[dict[Part, dict[int, list[Tensor]]]]:
    """What the modules give while the block runs: by part and by what they make, in the order they run."""
    found: dict[Part, dict[int, list[Tensor]]] = {part: {0: [], 1: [], 2: []} for part in PARTS}

    def hook(part: Part, which: int) -> Any:
        return lambda module, inputs, output: found[part][which].append(output)

    handles = [model.get_submodule(name).register_forward_hook(hook(*place)) for name, place in names.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
