"""What a model with several skills answers for held-out data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from bertcli.evaluation.masked_words import Sums, piece_sums
from bertcli.training.data import BlockStream, Encoded, Floats, Ints, pad
from bertcli.training.fill import ranks_and_log_p
from bertcli.training.heads import SkillModel, mean_pool


def masked_pieces(model: SkillModel, stream: BlockStream, batches: int) -> list[Sums]:
    """What is found of the hidden tokens of each block, over the first `batches`."""
    sums: list[Sums] = []
    for number in range(min(batches, stream.batches_an_epoch)):
        batch = stream.batch(number)
        states = model.encode(batch.ids, batch.mask, batch.types)
        logits = model.vocabulary_logits(states.flatten(0, 1)[batch.positions]).float()
        found = ranks_and_log_p(logits, batch.targets)  # [hidden, 2], as many of each block
        sums += [piece_sums(part) for part in np.split(found, len(batch.ids))]
    return sums


def states_by_length(
    model: SkillModel, encoded: Sequence[Encoded], tokens: int = 4096
) -> Iterator[tuple[Ints, Tensor, Tensor]]:
    """Encode all texts, short ones first.

    Yields (indices [rows], hidden states [rows, length, hidden], mask [rows, length]).
    """
    order = np.argsort([len(one.ids) for one in encoded], kind="stable")
    start = 0
    while start < len(order):
        rows = 1
        while start + rows < len(order) and (rows + 1) * len(encoded[order[start + rows]].ids) <= tokens:
            rows += 1
        chosen = order[start : start + rows]
        ids, mask, types = pad([encoded[i] for i in chosen], len(encoded[chosen[-1]].ids))
        yield chosen, model.encode(ids, mask, types), mask
        start += rows


def label_logits(model: SkillModel, name: str, encoded: Sequence[Encoded]) -> Floats:
    """Logits of the head `name` for each text: [texts, labels]."""
    logits = np.zeros((len(encoded), len(model.specs[name].labels)), np.float32)
    for indices, states, mask in states_by_length(model, encoded):
        logits[indices] = model.heads[name](states, mask).float().numpy()
    return logits


def tag_predictions(
    model: SkillModel, name: str, encoded: Sequence[Encoded], firsts: Sequence[list[int]]
) -> list[list[str]]:
    """The likeliest tag of each word that has a first piece within the model's length."""
    labels = model.specs[name].labels
    found: list[list[str]] = [[] for _ in encoded]
    for indices, states, mask in states_by_length(model, encoded):
        best = model.heads[name](states, mask).argmax(2).numpy()  # [rows, length]
        for row, i in enumerate(indices):
            found[i] = [labels[tag] for tag in best[row, firsts[i]]]
    return found


def embeddings(model: SkillModel, encoded: Sequence[Encoded]) -> Floats:
    """Mean-pooled embeddings of unit length: [texts, hidden]."""
    vectors = np.zeros((len(encoded), model.masked_lm.config.hidden_size), np.float32)
    for indices, states, mask in states_by_length(model, encoded):
        vectors[indices] = torch.nn.functional.normalize(mean_pool(states, mask), dim=1).numpy()
    return vectors
