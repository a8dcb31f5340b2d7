"""Figures on held-out data: masked-word accuracy, accuracy and F1 of labels, entity F1, rank correlation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertcli.training.data import BlockStream, Encoded, Floats, Ints, pad
from bertcli.training.figures import spans
from bertcli.training.heads import SkillModel, mean_pool


def masked_accuracy(model: SkillModel, stream: BlockStream, batches: int) -> dict[str, float]:
    """Accuracy at the hidden tokens, each by itself, and perplexity, over the first `batches`."""
    right = total = 0
    loss = 0.0
    for number in range(min(batches, stream.batches_an_epoch)):
        batch = stream.batch(number)
        states = model.encode(batch.ids, batch.mask, batch.types)
        logits = model.vocabulary_logits(states.flatten(0, 1)[batch.positions]).float()
        loss += float(torch.nn.functional.cross_entropy(logits, batch.targets, reduction="sum"))
        right += int((logits.argmax(1) == batch.targets).sum())
        total += len(batch.targets)
    return {"accuracy": right / total, "perplexity": math.exp(loss / total), "count": total}


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


def label_scores(predicted: Ints, true: Ints, labels: Sequence[str]) -> dict[str, float]:
    """Accuracy, macro F1 and the F1 of each label, as scikit-learn defines them.

    An F1 is 0 where nothing is predicted and nothing is there.
    """
    scores = {"accuracy": float((predicted == true).mean())}
    each = []
    for index, label in enumerate(labels):
        hits = int(((predicted == index) & (true == index)).sum())
        claimed, actual = int((predicted == index).sum()), int((true == index).sum())
        each.append(2 * hits / (claimed + actual) if claimed + actual else 0.0)
        scores[f"f1_{label}"] = each[-1]
    scores["f1_macro"] = sum(each) / len(each)
    return scores


def multi_label_scores(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """Micro and macro F1 over [texts, labels]."""
    hits, sizes = (predicted & true).sum(0), predicted.sum(0) + true.sum(0)
    each = np.where(sizes > 0, 2 * hits / np.maximum(sizes, 1), 0.0)
    return {"f1_micro": float(2 * hits.sum() / max(1, sizes.sum())), "f1_macro": float(each.mean())}


def entity_scores(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> dict[str, float]:
    """Micro precision, recall and F1 of whole entities, and the F1 of each type."""
    found = {(n, *span) for n, tags in enumerate(predicted) for span in spans(tags)}
    wanted = {(n, *span) for n, tags in enumerate(true) for span in spans(tags)}
    hits = found & wanted
    scores = {
        "precision": len(hits) / max(1, len(found)),
        "recall": len(hits) / max(1, len(wanted)),
        "f1": 2 * len(hits) / max(1, len(found) + len(wanted)),
    }
    for kind in sorted({span[1] for span in wanted}):
        sizes = sum(span[1] == kind for span in found) + sum(span[1] == kind for span in wanted)
        scores[f"f1_{kind}"] = 2 * sum(span[1] == kind for span in hits) / sizes
    return scores


def word_accuracy(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> float:
    """Share of words tagged right; words cut off by the length limit count as wrong."""
    right = sum(
        p == t
        for tags, wanted in zip(predicted, true, strict=True)
        for p, t in zip(tags, wanted, strict=False)
    )
    return right / sum(len(tags) for tags in true)
