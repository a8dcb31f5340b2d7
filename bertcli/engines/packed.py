"""The engine for bulk: transformers' modules over packs of windows that lie end to end, without padding.

The encoder gives the hidden states of a pack, (tokens, hidden); a head sees only the positions it reads.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bertcli.engines import (
    Ask,
    Hidden,
    MaskLogits,
    Pooled,
    SequenceLogits,
    TokenLogits,
    attention,
    available_cores,
    depth_of,
)
from bertcli.engines.device import choose_device, choose_dtype, keep_freed_memory
from bertcli.engines.fused import fuse, prepack
from bertcli.engines.loading import load
from bertcli.engines.packs import Pack

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.engines.packs import Numbers
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head, Kind
    from bertcli.records import Window

# Architectures whose attention can be handed a function, and the position of a sequence's first token:
# RoBERTa and its kin count from behind the padding's own.
_PACKABLE: Mapping[str, Callable[[Any], int]] = {
    **dict.fromkeys(("bert", "electra", "distilbert", "albert", "modernbert"), lambda config: 0),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), lambda config: config.pad_token_id + 1),
}
# Architectures whose label head reads one vector; others are shown every position of a text.
_ONE_VECTOR = (*_PACKABLE, "mpnet", "deberta-v2")

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
        self._packs = checkpoint.model_type in _PACKABLE
        self._lock = threading.Lock()
        self._heads: dict[Kind, Any] = {}
        self._skills: dict[str, Tensor] = {}
        self._encoder: Any = self._load_encoder()
        self._is_fused = self._packs and fuse(self._encoder)
        if not self._is_fused:
            prepack(self._encoder)
        self._takes = inspect.signature(type(self._encoder).forward).parameters

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        """Answer `ask` for each window, in order. May be called from several threads at once."""
        if not windows:
            return []
        if self._where.type == "cpu" and torch.get_num_threads() != 1:
            torch.set_num_threads(1)  # workers with a core each are faster than all cores on one pack
        order = sorted(range(len(windows)), key=lambda number: len(windows[number]))
        pack = Pack([windows[number] for number in order])
        with torch.inference_mode():
            states = self._encode(pack, depth_of(ask, self._checkpoint.layers))
            answers = zip(order, self._answer(ask, states, pack), strict=True)
            return [answer for _, answer in sorted(answers, key=lambda answer: answer[0])]

    # The encoder

    def _load_encoder(self) -> nn.Module:
        """The encoder, together with the ordinary head if the checkpoint has one (it is loaded but once)."""
        whole = [head for head in self._checkpoint.heads.values() if not head.skill and not head.missing]
        kind = whole[0].kind if whole else None
        encoder, head = self._load(kind)
        if kind is not None:
            self._heads[kind] = head
        return encoder

    def _load(self, kind: Kind | None) -> tuple[nn.Module, Any]:
        name = attention.NAME if self._packs else None
        return load(self._checkpoint, kind, self._dtype, self._where, name)

    def _encode(self, pack: Pack, depth: int) -> Tensor:
        """Hidden states after `depth` layers: (tokens, hidden)."""
        return self._encode_packed(pack, depth) if self._packs else self._encode_padded(pack, depth)

    def _encode_packed(self, pack: Pack, depth: int) -> Tensor:
        config, kind = self._encoder.config, self._where.type
        first = _PACKABLE[self._checkpoint.model_type](config)
        spare = -pack.tokens % _ROUND_ROWS[kind]
        ids = np.pad(pack.ids(), (0, spare))
        positions = np.pad(pack.positions() + first, (0, spare), constant_values=first)
        types = np.pad(pack.types(), (0, spare))
        layout = attention.arrange(pack.lengths, depth, self._where, _ATTENTION_STEP[kind])
        with attention.running(layout):
            states = self._run(depth, ids[None], types[None], position_ids=self._tensor(positions[None]))
        return states[0, : pack.tokens]

    def _encode_padded(self, pack: Pack, depth: int) -> Tensor:
        ids, types = pack.ids(), pack.types()
        states = []
        for first, stop in pack.batches(_UNEVEN[self._where.type]):
            lengths = np.array(pack.lengths[first:stop])
            real = np.arange(lengths[-1]) < lengths[:, None]  # (windows, longest)
            rows = slice(pack.starts[first], pack.starts[first] + lengths.sum())
            padded = np.full(real.shape, self._encoder.config.pad_token_id)
            padded[real] = ids[rows]
            kinds = np.zeros_like(padded)
            kinds[real] = types[rows]
            mask = self._tensor(real)
            states.append(self._run(depth, padded, kinds, attention_mask=mask.long())[mask])
        return torch.cat(states)

    def _run(self, depth: int, ids: Numbers, types: Numbers, **inputs: Tensor) -> Tensor:
        """Hidden states after `depth` layers for a batch of (rows, length)."""
        if "token_type_ids" in self._takes and getattr(self._encoder.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = self._tensor(types)
        partly = not self._is_fused and depth < self._checkpoint.layers
        out = self._encoder(input_ids=self._tensor(ids), output_hidden_states=partly, **inputs)
        states: Tensor = out.hidden_states[depth] if partly else out.last_hidden_state
        return states

    def _tensor(self, array: Any) -> Tensor:
        return torch.from_numpy(array).to(self._where)

    # The heads

    def _answer(self, ask: Ask, states: Tensor, pack: Pack) -> list[Array]:
        match ask:
            case Hidden():
                return _split(states, pack.lengths)
            case Pooled(mode):
                return list(_array(pool(states, pack, mode)))
            case SequenceLogits(head):
                return list(_array(self._classify(head, states, pack)))
            case TokenLogits(head):
                return _split(self._logits(head, states[None])[0], pack.lengths)
            case MaskLogits(head):
                chosen = states[torch.tensor(pack.mask_rows(), dtype=torch.long, device=self._where)]
                return _split(self._logits(head, chosen[None])[0], [len(each.masks) for each in pack.windows])

    def _classify(self, head: Head, states: Tensor, pack: Pack) -> Tensor:
        """Logits of the classes: (windows, labels)."""
        if head.skill:
            vectors = pool(states, pack, head.pooling, whole=True).to(self._dtype)
            if f"heads.{head.name}.dense.weight" in self._checkpoint.weights:
                vectors = torch.tanh(self._skill(head, "dense", vectors))
            return self._skill(head, "classifier", vectors)
        if self._checkpoint.model_type in _ONE_VECTOR:
            mode = "mean" if self._checkpoint.config.get("classifier_pooling") == "mean" else "cls"
            vectors = pool(states, pack, mode, whole=True).to(self._dtype)
            return self._logits(head, vectors[:, None])
        texts = states.split(pack.lengths)
        return torch.cat([self._logits(head, text[None]) for text in texts])

    def _logits(self, head: Head, states: Tensor) -> Tensor:
        """What the head makes of hidden states (texts, positions, hidden)."""
        if head.skill:
            return self._skill(head, "classifier", states)
        with self._lock:
            if (module := self._heads.get(head.kind)) is None:
                _, module = self._load(head.kind)
                self._heads[head.kind] = module
        logits: Tensor = module(inputs_embeds=states).logits
        return logits

    def _skill(self, head: Head, part: str, x: Tensor) -> Tensor:
        """A layer of a several-skill checkpoint's own head."""
        name = f"heads.{head.name}.{part}."
        return functional.linear(x, self._weight(name + "weight"), self._weight(name + "bias"))

    def _weight(self, name: str) -> Tensor:
        if name not in self._skills:
            weight = torch.tensor(self._checkpoint.weights.read(name))
            self._skills[name] = weight.to(self._where, self._dtype)
        return self._skills[name]


def pool(states: Tensor, pack: Pack, mode: str, *, whole: bool = False) -> Tensor:
    """One vector a window, in float32: (windows, hidden). `mean` and `max` run over the windows' fresh
    positions, or with `whole` over all."""
    device = states.device
    if mode == "cls":
        return states[torch.tensor(pack.starts, device=device)].float()
    lengths = pack.lengths
    if not whole and not pack.all_fresh:
        states = states[torch.tensor(pack.fresh_rows(), device=device)]
        lengths = [stop - start for start, stop in (window.fresh for window in pack.windows)]
    return torch.segment_reduce(states.float(), mode, lengths=torch.tensor(lengths, device=device))


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.float().cpu().numpy()
    return array


def _split(states: Tensor, lengths: Sequence[int]) -> list[Array]:
    """(rows, …) of all windows -> one array a window."""
    array, stops = _array(states), np.cumsum(lengths)
    return [array[stop - length : stop] for stop, length in zip(stops, lengths, strict=True)]
