"""One BERT encoder with its masked-LM head and any number of named heads, and how they lie on disk.

On disk it is a Hugging Face directory of `BertForMaskedLM`; the heads are further tensors `heads.<name>.…` of
the same safetensors file, described under `"bertcli": {"heads": …}` in config.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Generator, Tensor, nn
from transformers import BertForMaskedLM

from bertcli.training.batches import Ids
from bertcli.training.lessons import Machine, compute_in_float32

if TYPE_CHECKING:
    from bertcli.models.heads import ProblemType


@dataclass(frozen=True)
class HeadSpec:
    """What config.json says about a head. `problem_type`, `pooling` and `dense` are null for a tag head."""

    kind: Literal["label", "tag"]
    labels: tuple[str, ...]
    problem_type: ProblemType | None = None
    pooling: Literal["cls", "mean"] | None = None
    dense: bool = False

    def as_config(self) -> dict[str, Any]:
        """The entry of config.json; whether there is a dense layer is seen from the tensors."""
        entry = {key: value for key, value in asdict(self).items() if value is not None and key != "dense"}
        return entry | {"labels": list(self.labels)}


class LabelHead(nn.Module):
    """Pooled state [rows, hidden] -> optional dense + tanh (BERT's pooler) -> logits [rows, labels]."""

    def __init__(self, spec: HeadSpec, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.pooling = spec.pooling
        self.dense = nn.Linear(hidden, hidden) if spec.dense else None
        self.dropout = dropout
        self.classifier = nn.Linear(hidden, len(spec.labels))

    def forward(self, states: Tensor, mask: Tensor | None, noise: Generator | None = None) -> Tensor:
        """states [rows, length, hidden], mask [rows, length] -> logits [rows, labels]."""
        pooled = states[:, 0] if self.pooling == "cls" else mean_pool(states, mask)  # [rows, hidden]
        if self.dense is not None:
            pooled = torch.tanh(self.dense(pooled))
        logits: Tensor = self.classifier(drop(pooled, self.dropout, noise))
        return logits


class TagHead(nn.Module):
    """Hidden state of each token [rows, length, hidden] -> logits [rows, length, tags]."""

    def __init__(self, spec: HeadSpec, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.classifier = nn.Linear(hidden, len(spec.labels))

    def forward(self, states: Tensor, mask: Tensor | None, noise: Generator | None = None) -> Tensor:
        """states [rows, length, hidden] -> logits [rows, length, tags]; `mask` is not needed."""
        logits: Tensor = self.classifier(drop(states, self.dropout, noise))
        return logits


class SkillModel(nn.Module):
    """`BertForMaskedLM` and named heads on its encoder."""

    def __init__(
        self, masked_lm: BertForMaskedLM, specs: dict[str, HeadSpec], dropout: dict[str, float] | None = None
    ) -> None:
        super().__init__()
        self.masked_lm = masked_lm
        self.specs = specs
        hidden = masked_lm.config.hidden_size
        self.hidden_size: int = hidden
        self.heads = nn.ModuleDict()
        for name, spec in specs.items():
            build = LabelHead if spec.kind == "label" else TagHead
            self.heads[name] = build(spec, hidden, (dropout or {}).get(name, 0.0))
        for head in self.heads.values():
            head.apply(masked_lm._init_weights)
            compute_in_float32(head)

    def encode(self, ids: Tensor, mask: Tensor | None, types: Tensor | None) -> Tensor:
        """Hidden states [rows, length, hidden] of ids [rows, length].

        `mask` [rows, length] is 0 at padding, None where there is none; `types` [rows, length] are the
        segments.
        """
        bias = None
        if mask is not None:
            # Additive [rows, 1, 1, length], as transformers would make it.
            bias = (1.0 - mask[:, None, None, :].to(torch.float32)) * -1e4
        states: Tensor = self.masked_lm.bert(
            input_ids=ids, attention_mask=bias, token_type_ids=types
        ).last_hidden_state
        return states

    def vocabulary_logits(self, states: Tensor) -> Tensor:
        """Chosen hidden states [masked, hidden] -> logits [masked, vocabulary] through the tied decoder."""
        logits: Tensor = self.masked_lm.cls(states)
        return logits

    def sweep(self, machine: Machine, encoded: Sequence[Ids]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """All texts once, in batches of like length: (indices [rows], hidden states [rows, length, hidden],
        mask [rows, length])."""
        for indices, inputs in machine.sweep(encoded):
            mask = inputs["attention_mask"]
            yield indices, self.encode(inputs["input_ids"], mask, inputs.get("token_type_ids")), mask


def drawing(seed: int, device: torch.device) -> Generator:
    """What dropout draws from on a device."""
    return torch.Generator(device).manual_seed(seed)


def drop(values: Tensor, share: float, noise: Generator | None) -> Tensor:
    """Dropout (Srivastava et al. 2014) from a generator of its own; without one nothing is dropped."""
    if noise is None or share == 0.0:
        return values
    kept = torch.rand(values.shape, generator=noise, device=values.device) >= share
    return values * kept / (1.0 - share)


def mean_pool(states: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of states [rows, length, hidden] where mask [rows, length] is 1, of all of them without one:
    float32 [rows, hidden]."""
    if mask is None:
        return states.float().mean(1)
    weights = mask[:, :, None].to(torch.float32)
    return (states.float() * weights).sum(1) / weights.sum(1)
