"""label, as a skill of several: classes, several labels, or a number, of texts or pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertcli.training.examination import Examination, of_numbers, of_one_label, of_several_labels
from bertcli.training.examples import MULTI, REGRESSION, SINGLE, Example, classes_of, problem_of, targets_of
from bertcli.training.heads import HeadSpec, SkillModel, drawing
from bertcli.training.linear import loss_of
from bertcli.training.materials import labelled, spread_out
from bertcli.training.recipe import LabelSkill
from bertcli.training.skills import PreparedSkill, Workshop
from bertcli.training.streams import Batch, LabelStream, Texts


def prepare(skill: LabelSkill, workshop: Workshop, seed: int) -> PreparedSkill:
    held = labelled(skill, workshop.seed)
    problem = skill.problem_type or problem_of(held.train)
    classes = classes_of(held.train, problem)
    texts = _texts(workshop, held.train, skill.max_length)
    targets = torch.from_numpy(targets_of(held.train, classes, problem))
    stream = LabelStream(texts, targets, workshop.order(texts.lengths, skill, seed))
    spec = HeadSpec("label", classes, problem, skill.pooling, skill.dense)
    dev = spread_out(held.dev, workshop.limit)
    examine = partial(
        _examine,
        workshop=workshop,
        name=skill.name,
        texts=_texts(workshop, dev, skill.max_length),
        gold=targets_of(dev, classes, problem),
    )
    loss = partial(label_loss, skill.name)
    return PreparedSkill(skill, stream, loss, len(held.train), len(dev), spec, examine if dev else None)


def _texts(workshop: Workshop, examples: Sequence[Example], length: int) -> Texts:
    return workshop.texts([e.text for e in examples], [e.pair for e in examples], length)


def label_loss(name: str, model: SkillModel, states: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy, binary cross-entropy or squared error, as the head's problem type says."""
    logits = model.heads[name](states, batch.mask, drawing(batch.seed, states.device)).float()
    return loss_of(logits, batch.targets, model.specs[name].problem_type or SINGLE)


def _examine(
    model: SkillModel, workshop: Workshop, name: str, texts: Texts, gold: NDArray[Any]
) -> Examination:
    spec = model.specs[name]
    logits = np.zeros((len(texts.encoded), len(spec.labels)), np.float32)
    for indices, states, mask in model.sweep(workshop.machine, texts.encoded):
        logits[indices] = model.heads[name](states, mask).float().cpu().numpy()
    if spec.problem_type == MULTI:
        return of_several_labels(logits > 0, gold > 0.5, spec.labels)
    if spec.problem_type == REGRESSION:
        return of_numbers(logits[:, 0], gold)
    return of_one_label(logits.argmax(1), gold, spec.labels)
