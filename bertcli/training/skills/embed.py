"""embed, as a skill of several: vectors like a teacher's, or cosines like scores."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel

from bertcli.errors import ModelError
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.library import resolve
from bertcli.models.tokenizer import Tokenizer
from bertcli.training.batches import by_length, encode, pad
from bertcli.training.conversion import RecipeError
from bertcli.training.examination import Examination, of_pairs
from bertcli.training.heads import SkillModel, mean_pool
from bertcli.training.lessons import MEASURE_TOKENS, load_base
from bertcli.training.materials import scored_pairs, spread_out, texts_of
from bertcli.training.recipe import EmbedSkill
from bertcli.training.skills import PreparedSkill, Workshop
from bertcli.training.streams import Batch, PairStream, Texts, VectorStream


def prepare(skill: EmbedSkill, workshop: Workshop, seed: int) -> PreparedSkill:
    """Raises RecipeError where the data is empty, ModelError for a teacher that cannot teach."""
    dev = spread_out(scored_pairs(skill.dev, workshop.seed), workshop.limit)
    examine = None
    if dev:
        first = workshop.texts([e.text for e in dev], None, skill.max_length)
        second = workshop.texts([str(e.pair) for e in dev], None, skill.max_length)
        scores = np.array([float(e.target) for e in dev])
        examine = partial(_examine, workshop=workshop, first=first, second=second, scores=scores)
    learn = _of_pairs if skill.pairs else _of_teacher
    return learn(skill, workshop, seed, {"held": len(dev), "examine": examine})


def _of_pairs(skill: EmbedSkill, workshop: Workshop, seed: int, measured: dict[str, Any]) -> PreparedSkill:
    examples = scored_pairs(skill.pairs, workshop.seed)
    first = workshop.texts([e.text for e in examples], None, skill.max_length)
    second = workshop.texts([str(e.pair) for e in examples], None, skill.max_length)
    low, high = skill.score_range
    scores = (torch.tensor([float(e.target) for e in examples]) - low) / (high - low)
    lengths = [max(a, b) for a, b in zip(first.lengths, second.lengths, strict=True)]
    stream = PairStream(first, second, scores, workshop.order(lengths, skill, seed))
    return PreparedSkill(skill, stream, pair_loss, len(examples), **measured)


def _of_teacher(skill: EmbedSkill, workshop: Workshop, seed: int, measured: dict[str, Any]) -> PreparedSkill:
    assert skill.teacher is not None  # the recipe has been checked
    texts = [t for source in skill.data for t in texts_of(source, skill.unit, seed, skill.holdout_every)[0]]
    if not texts:
        raise RecipeError(f"{skill.name}: there is no text in its data")
    encoded = workshop.texts(texts, None, skill.max_length)
    vectors = teacher_vectors(resolve(skill.teacher), texts, skill.max_length, workshop)
    stream = VectorStream(encoded, vectors, workshop.order(encoded.lengths, skill, seed))
    return PreparedSkill(skill, stream, distillation_loss, len(texts), **measured)


def teacher_vectors(
    teacher: Path, texts: Sequence[str], length: int, workshop: Workshop
) -> NDArray[np.float16]:
    """Embeddings of unit length by another model, pooled as its files say: [texts, hidden].

    Kept in the workshop's cache for a run that is continued. Raises ModelError for a teacher that does not
    pool by mean or [CLS].
    """
    checkpoint = open_checkpoint(teacher)
    mode = checkpoint.pooling.mode
    if mode not in ("mean", "cls"):
        raise ModelError(f"{checkpoint.name} pools by {mode}, and a teacher must pool by mean or cls")
    if checkpoint.pooling.modules:
        kind = type(checkpoint.pooling.modules[0]).__name__
        raise ModelError(f"{checkpoint.name} has a {kind} module, which a teacher must not have")
    content = hashlib.sha256("\n".join([checkpoint.fingerprint(), str(length), *texts]).encode())
    file = workshop.cache / f"{content.hexdigest()[:16]}.vectors.npy"
    if not file.exists():
        tokenizer, machine = Tokenizer.of(checkpoint), workshop.machine
        model = load_base(AutoModel, checkpoint).to(machine.device).eval()
        encoded = [encode(tokenizer, text, None, length) for text in texts]
        vectors = np.zeros((len(texts), checkpoint.hidden_size), np.float16)
        with torch.inference_mode(), machine.products():
            for chosen in by_length([len(one) for one in encoded], MEASURE_TOKENS):
                inputs = pad([encoded[i] for i in chosen], tokenizer.pad_id or 0, machine.device)
                states = model(**inputs).last_hidden_state
                pooled = (
                    mean_pool(states, inputs["attention_mask"]) if mode == "mean" else states[:, 0].float()
                )
                vectors[chosen] = functional.normalize(pooled, dim=1).cpu().numpy()
        workshop.cache.mkdir(parents=True, exist_ok=True)
        np.save(file, vectors)
    found: NDArray[np.float16] = np.load(file, mmap_mode="r")
    return found


def distillation_loss(model: SkillModel, states: Tensor, batch: Batch) -> Tensor:
    """1 - cosine with the teacher's vectors, plus what is off in the similarities within the batch.

    The latter is the mean squared difference of the two similarity matrices [rows, rows].
    """
    own = functional.normalize(mean_pool(states, batch.mask), dim=1)  # [rows, hidden]
    with torch.autocast(states.device.type, enabled=False):
        similarities = own @ own.T - batch.targets @ batch.targets.T  # [rows, rows]
    return (1.0 - (own * batch.targets).sum(1)).mean() + similarities.square().mean()


def pair_loss(model: SkillModel, states: Tensor, batch: Batch) -> Tensor:
    """Squared difference of the cosine of each pair and its score on a scale of 0 to 1."""
    own = functional.normalize(mean_pool(states, batch.mask), dim=1)
    first, second = own.chunk(2)
    return ((first * second).sum(1) - batch.targets).square().mean()


def _examine(
    model: SkillModel, workshop: Workshop, first: Texts, second: Texts, scores: NDArray[np.float64]
) -> Examination:
    vectors = []
    for texts in (first, second):
        found = np.zeros((len(texts.encoded), model.hidden_size), np.float32)
        for indices, states, mask in model.sweep(workshop.machine, texts.encoded):
            found[indices] = functional.normalize(mean_pool(states, mask), dim=1).cpu().numpy()
        vectors.append(found)
    return of_pairs((vectors[0] * vectors[1]).sum(1), scores)
