"""The engine for bulk: transformers' modules over packs of windows that lie end to end, without padding.

The encoder gives the hidden states of a pack, (tokens, hidden); a head sees only the positions it reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bertcli.engines import Ask, attention, available_cores, depth_of
from bertcli.engines.device import choose_device, choose_dtype, keep_freed_memory
from bertcli.engines.fused import fuse, prepack
from bertcli.engines.loading import load
from bertcli.engines.packs import Pack
from bertcli.engines.readout import Readout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines import Array
    from bertcli.engines.packs import Numbers, Reading
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Kind
    from bertcli.records import Window

# Architectures whose attention can be handed a function, and the position of a sequence's first token:
# RoBERTa and its kin count from behind the padding's own.
_FIRST_POSITION: Mapping[str, Callable[[Any], int]] = {
    **dict.fromkeys(("bert", "electra", "distilbert", "albert", "modernbert"), lambda config: 0),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), lambda config: config.pad_token_id + 1),
}
# By kind of device:
_PACK_TOKENS = {"cpu": 4096, "cuda": 32768, "mps": 8192}
# Lengths that share an attention call (see attention.arrange): a GPU waits on many small calls, a CPU does
# not. On MPS padded batches have given wrong numbers, so nothing is ever padded there.
_ATTENTION_STEP = {"cpu": 1, "cuda": 16, "mps": 1}
# Where packing is impossible, windows are padded that differ in length by at most this part.
_UNEVEN = {"cpu": 0.1, "cuda": 0.25, "mps": 0.0}
# oneDNN prepares a matrix product anew for every number of rows: packs of rounded size share them.
_ROUND_ROWS = {"cpu": 64, "cuda": 1, "mps": 1}


class Packed:
    """The engine on torch. Raises EngineError for a device, dtype or checkpoint it cannot use.

    `threads` is the number of CPU cores to use, None for all that this process may run on; `pack_tokens` the
    size of a pack, None for what suits the device.
    """

    name = "packed"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
        pack_tokens: int | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._where = choose_device(device)
        self._dtype = choose_dtype(dtype, self._where)
        kind = self._where.type
        self.device = str(self._where)
        self.dtype = str(self._dtype).removeprefix("torch.")
        self.workers = (threads or available_cores()) if kind == "cpu" else 1
        self.pack_tokens = pack_tokens or _PACK_TOKENS[kind]
        keep_freed_memory()
        self._packs = checkpoint.model_type in _FIRST_POSITION
        self._readout = Readout(checkpoint, self._dtype, self._where, lambda kind: self._load(kind)[1])
        self._encoder = self._load_encoder()
        self._is_fused = self._packs and fuse(self._encoder)
        if not self._is_fused:
            prepack(self._encoder)
        takes = inspect.signature(type(self._encoder).forward).parameters
        self._has_types = (
            "token_type_ids" in takes and getattr(self._encoder.config, "type_vocab_size", 0) > 1
        )

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        """Answer `ask` for each window, in order. May be called from several threads at once."""
        return self.forward_all(windows, [ask])[0]

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        """Answer several asks, each as `forward` does, with one pass of the encoder for each depth."""
        if not windows:
            return [[] for _ in asks]
        if self._where.type == "cpu" and torch.get_num_threads() != 1:
            torch.set_num_threads(1)  # workers with a core each are faster than all cores on one pack
        order = sorted(range(len(windows)), key=lambda number: len(windows[number]))
        pack = Pack([windows[number] for number in order])
        depths = [depth_of(ask, self._checkpoint.layers) for ask in asks]
        answers: dict[int, list[Array]] = {}
        with torch.inference_mode():
            for depth in set(depths):
                same = [number for number, each in enumerate(depths) if each == depth]
                found = self._answer(pack, depth, [asks[number] for number in same])
                answers |= zip(same, found, strict=True)
        places = np.argsort(order)
        return [[answers[number][place] for place in places] for number in range(len(asks))]

    def _answer(self, pack: Pack, depth: int, asks: Sequence[Ask]) -> list[list[Array]]:
        """The answers to asks of one depth, each in the pack's order."""
        readings = [self._readout.reads(ask) for ask in asks]
        together: Reading = readings[0] if len(set(readings)) == 1 else "all"
        encode = self._encode_packed if self._packs else self._encode_padded
        states = encode(pack, depth, pack.read(together)[0])
        answers = []
        for ask, reading in zip(asks, readings, strict=True):
            rows, counts = pack.read(reading)
            chosen = states if reading == together or rows is None else states[rows]
            answers.append(self._readout.answer(ask, chosen, counts))
        return answers

    def _load_encoder(self) -> Any:
        """The encoder, and the ordinary head with it if there is one, which saves loading twice."""
        whole = [head for head in self._checkpoint.heads.values() if not head.skill and not head.missing]
        kind = whole[0].kind if whole else None
        encoder, head = self._load(kind)
        if kind is not None:
            self._readout.keep(kind, head)
        return encoder

    def _load(self, kind: Kind | None) -> tuple[Any, Any]:
        name = attention.NAME if self._packs else None
        return load(self._checkpoint, kind, self._dtype, self._where, name)

    def _encode_packed(self, pack: Pack, depth: int, rows: list[int] | None) -> Tensor:
        """Hidden states after `depth` layers in the rows that are read: (rows, hidden)."""
        kind = self._where.type
        first = _FIRST_POSITION[self._checkpoint.model_type](self._encoder.config)
        spare = (0, -pack.tokens % _ROUND_ROWS[kind])
        positions = np.pad(pack.positions() + first, spare, constant_values=first)
        layout = attention.arrange(pack.lengths, depth, self._where, _ATTENTION_STEP[kind])
        if rows and self._is_fused:
            layout = replace(layout, rows=self._tensor(np.pad(rows, (0, -len(rows) % _ROUND_ROWS[kind]))))
        with attention.running(layout):
            states = self._run(
                np.pad(pack.ids(), spare)[None],
                np.pad(pack.types(), spare)[None],
                depth,
                position_ids=self._tensor(positions[None]),
            )[0]
        if rows is None:
            return states[: pack.tokens]
        return states[: len(rows)] if layout.rows is not None else states[rows]

    def _encode_padded(self, pack: Pack, depth: int, rows: list[int] | None) -> Tensor:
        """The same where sequences cannot be packed, by batches of near-equal length."""
        ids, types = pack.ids(), pack.types()
        states = []
        for first, stop in pack.batches(_UNEVEN[self._where.type]):
            lengths = np.array(pack.lengths[first:stop])
            real = np.arange(lengths[-1]) < lengths[:, None]  # (windows, longest)
            tokens = slice(pack.starts[first], pack.starts[first] + lengths.sum())
            padded = np.full(real.shape, self._encoder.config.pad_token_id)
            padded[real] = ids[tokens]
            kinds = np.zeros_like(padded)
            kinds[real] = types[tokens]
            mask = self._tensor(real)
            states.append(self._run(padded, kinds, depth, attention_mask=mask.long())[mask])
        return torch.cat(states) if rows is None else torch.cat(states)[rows]

    def _run(self, ids: Numbers, types: Numbers, depth: int, **inputs: Tensor) -> Tensor:
        """Hidden states after `depth` layers for a batch: (texts, length) -> (texts, length, hidden)."""
        if self._has_types:
            inputs["token_type_ids"] = self._tensor(types)
        partly = not self._is_fused and depth < self._checkpoint.layers
        out = self._encoder(input_ids=self._tensor(ids), output_hidden_states=partly, **inputs)
        states: Tensor = out.hidden_states[depth] if partly else out.last_hidden_state
        return states

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._where)
