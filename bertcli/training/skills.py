"""What a recipe's skills are trained on and by: a stream of batches and a loss each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel

from bertcli.training import data
from bertcli.training.data import IGNORED, Batch, BucketedOrder, Masking, Stream
from bertcli.training.heads import HeadSpec, SkillModel, mean_pool
from bertcli.training.recipe import EmbedSkill, FillSkill, LabelSkill, Recipe, RecipeError, Skill, TagSkill

Loss = Callable[[SkillModel, Tensor, Batch], Tensor]
"""(model, hidden states [rows, length, hidden], batch) -> mean loss, a float32 scalar."""


@dataclass(frozen=True)
class PreparedSkill:
    """A skill ready to train: `head` is None for fill and embed, which need no tensors of their own."""

    skill: Skill
    stream: Stream
    loss: Loss
    head: HeadSpec | None = None


def prepare(recipe: Recipe, tokenizer: Tokenizer, cache: Path) -> list[PreparedSkill]:
    """Read, tokenise and bucket the training data of every skill. What takes long is kept under `cache`."""
    prepared = []
    for index, skill in enumerate(recipe.skills):
        seed = recipe.seed * 1000 + index
        match skill:
            case FillSkill():
                one = _prepare_fill(skill, recipe, tokenizer, cache, seed)
            case EmbedSkill():
                one = _prepare_embed(skill, recipe, tokenizer, cache, seed)
            case LabelSkill():
                one = _prepare_label(skill, recipe, tokenizer, seed)
            case TagSkill():
                one = _prepare_tag(skill, recipe, tokenizer, seed)
            case _:
                raise TypeError(f"no preparation for {type(skill).__name__}")
        prepared.append(one)
    return prepared


def _order(lengths: Sequence[int], skill: Skill, recipe: Recipe, seed: int) -> BucketedOrder:
    return BucketedOrder(lengths, recipe.schedule.buckets, skill.batch_tokens, seed)


# --- fill -----------------------------------------------------------------------------------------


def _prepare_fill(
    skill: FillSkill, recipe: Recipe, tokenizer: Tokenizer, cache: Path, seed: int
) -> PreparedSkill:
    special = data.SpecialTokens.of(tokenizer)
    masking = Masking(skill.mask_rate, skill.keep_rate, skill.random_rate)
    if skill.unit == "block":
        files = [data.tokenize_file(source.path, tokenizer, cache) for source in skill.data]
        rows = max(1, skill.batch_tokens // skill.max_length)
        blocks = data.BlockStream(
            files, special, skill.max_length, rows, masking, seed, skill.held_out, train=True
        )
        return PreparedSkill(skill, blocks, fill_loss)
    texts = [t for source in skill.data for t in data.read_texts(source, skill.unit, seed, skill.held_out)]
    encoded = data.encode_texts(tokenizer, texts, None, skill.max_length)
    # Two or three words are no context to guess a word from.
    encoded = [one for one in encoded if len(one.ids) >= 6]
    order = _order([len(one.ids) for one in encoded], skill, recipe, seed)
    return PreparedSkill(skill, data.TextFillStream(encoded, special, order, masking), fill_loss)


def fill_loss(model: SkillModel, states: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy at the hidden tokens only: the vocabulary is as wide as all else together."""
    logits = model.vocabulary_logits(states.flatten(0, 1)[batch.positions])  # [masked, vocabulary]
    return functional.cross_entropy(logits.float(), batch.targets)


# --- embed ----------------------------------------------------------------------------------------


def _prepare_embed(
    skill: EmbedSkill, recipe: Recipe, tokenizer: Tokenizer, cache: Path, seed: int
) -> PreparedSkill:
    if skill.pairs:
        examples = data.read_scored_pairs(skill.pairs)
        first = data.encode_texts(tokenizer, [e.text for e in examples], None, skill.max_length)
        second = data.encode_texts(tokenizer, [str(e.pair) for e in examples], None, skill.max_length)
        low, high = skill.score_range
        scores = (torch.tensor([e.target for e in examples], dtype=torch.float32) - low) / (high - low)
        lengths = [max(len(a.ids), len(b.ids)) for a, b in zip(first, second, strict=True)]
        order = _order(lengths, skill, recipe, seed)
        return PreparedSkill(skill, data.PairStream(first, second, scores, order), pair_loss)
    if skill.teacher is None:
        raise RecipeError(f"the skill {skill.name} needs a `teacher` with `data`, or scored `pairs`")
    texts = [t for source in skill.data for t in data.read_texts(source, skill.unit, seed, skill.held_out)]
    encoded = data.encode_texts(tokenizer, texts, None, skill.max_length)
    vectors = teacher_vectors(skill.teacher, texts, skill.max_length, cache)
    order = _order([len(one.ids) for one in encoded], skill, recipe, seed)
    return PreparedSkill(skill, data.VectorStream(encoded, vectors, order), distillation_loss)


def teacher_vectors(teacher: Path, texts: Sequence[str], length: int, cache: Path) -> NDArray[np.float16]:
    """Unit-length mean-pooled embeddings of a sentence-transformers folder: [texts, hidden].

    Kept under `cache` for the next start.
    """
    content = hashlib.sha256("\n".join([str(length), *texts]).encode())
    content.update((teacher / "config.json").read_bytes())
    file = cache / f"{content.hexdigest()[:16]}.vectors.npy"
    if not file.exists():
        model = AutoModel.from_pretrained(teacher, attn_implementation="eager").float().eval()
        encoded = data.encode_texts(data.load_tokenizer(teacher), texts, None, length)
        vectors = np.zeros((len(texts), model.config.hidden_size), np.float16)
        order = np.argsort([len(one.ids) for one in encoded], kind="stable")
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            for start in range(0, len(order), 96):
                chosen = order[start : start + 96]
                ids, mask, types = data.pad([encoded[i] for i in chosen], len(encoded[chosen[-1]].ids))
                states = model(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
                vectors[chosen] = functional.normalize(mean_pool(states, mask), dim=1).numpy()
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, vectors)
    found: NDArray[np.float16] = np.load(file, mmap_mode="r")
    return found


def distillation_loss(model: SkillModel, states: Tensor, batch: Batch) -> Tensor:
    """1 - cosine with the teacher's vectors, plus what is off in the similarities within the batch.

    The latter is the mean squared difference of the two similarity matrices [rows, rows].
    """
    assert batch.mask is not None
    own = functional.normalize(mean_pool(states, batch.mask), dim=1)  # [rows, hidden]
    with torch.autocast("cpu", enabled=False):
        similarities = own @ own.T - batch.targets @ batch.targets.T  # [rows, rows]
    return (1.0 - (own * batch.targets).sum(1)).mean() + similarities.square().mean()


def pair_loss(model: SkillModel, states: Tensor, batch: Batch) -> Tensor:
    """Squared difference of the cosine of each pair and its score on a scale of 0 to 1."""
    assert batch.mask is not None
    own = functional.normalize(mean_pool(states, batch.mask), dim=1)
    first, second = own.chunk(2)
    return ((first * second).sum(1) - batch.targets).square().mean()


# --- label ----------------------------------------------------------------------------------------


def _prepare_label(skill: LabelSkill, recipe: Recipe, tokenizer: Tokenizer, seed: int) -> PreparedSkill:
    examples, _ = data.label_examples(skill, recipe.seed)
    labels = data.label_names(examples, skill.problem_type)
    encoded = data.encode_examples(tokenizer, examples, skill.max_length)
    order = _order([len(one.ids) for one in encoded], skill, recipe, seed)
    stream = data.LabelStream(encoded, data.label_targets(examples, labels, skill.problem_type), order)
    spec = HeadSpec("label", labels, skill.problem_type, skill.pooling, skill.dense)
    return PreparedSkill(skill, stream, partial(label_loss, skill.name), spec)


def label_loss(name: str, model: SkillModel, states: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy, binary cross-entropy or squared error, as the head's problem type says."""
    assert batch.mask is not None
    logits = model.heads[name](states, batch.mask, torch.Generator().manual_seed(batch.seed)).float()
    match model.specs[name].problem_type:
        case "multi_label_classification":
            return functional.binary_cross_entropy_with_logits(logits, batch.targets)
        case "regression":
            return functional.mse_loss(logits[:, 0], batch.targets)
        case _:
            return functional.cross_entropy(logits, batch.targets)


# --- tag ------------------------------------------------------------------------------------------


def _prepare_tag(skill: TagSkill, recipe: Recipe, tokenizer: Tokenizer, seed: int) -> PreparedSkill:
    sentences, _ = data.tag_sentences(skill, recipe.seed)
    labels = tuple(sorted({tag for sentence in sentences for tag in sentence.tags}))
    index = {label: number for number, label in enumerate(labels)}
    encoded, firsts = data.encode_words(tokenizer, sentences, skill.max_length)
    targets = []
    for one, sentence, places in zip(encoded, sentences, firsts, strict=True):
        target = np.full(len(one.ids), IGNORED, np.int64)
        target[places] = [index[tag] for tag in sentence.tags[: len(places)]]
        targets.append(target)
    order = _order([len(one.ids) for one in encoded], skill, recipe, seed)
    stream = data.TagStream(encoded, targets, order)
    return PreparedSkill(skill, stream, partial(tag_loss, skill.name), HeadSpec("tag", labels))


def tag_loss(name: str, model: SkillModel, states: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy over the first pieces of words."""
    assert batch.mask is not None
    logits = model.heads[name](
        states, batch.mask, torch.Generator().manual_seed(batch.seed)
    ).float()  # [rows, length, tags]
    return functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
