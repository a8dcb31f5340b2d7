"""How good a skill is: the held-out data of a recipe's skill, and the figures of a model on it.

A measure needs no training data, so the same ones watch a run and judge a finished checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bertcli.training import data, evaluate
from bertcli.training.data import BlockStream, Encoded, Example, Masking, Sentence
from bertcli.training.examination import (
    Examination,
    of_numbers,
    of_one_label,
    of_pairs,
    of_pieces,
    of_several_labels,
    of_tags,
)
from bertcli.training.heads import SkillModel
from bertcli.training.recipe import EmbedSkill, FillSkill, LabelSkill, Recipe, Skill, TagSkill

Measure = Callable[[SkillModel], Examination]
LONGEST = 512
"""Tokens a text may have here: what the encoder takes, not what a skill was trained on."""


def measure_of(skill: Skill, recipe: Recipe, tokenizer: Tokenizer, cache: Path, limit: int) -> Measure | None:
    """The measure of a skill over at most `limit` held-out examples (0: all), or None without any."""
    match skill:
        case FillSkill(unit="block") if skill.holdout_every:
            return _fill_measure(skill, tokenizer, cache, limit)
        case EmbedSkill() if skill.dev:
            pairs = data.read_scored_pairs(skill.dev)
            first = data.encode_texts(tokenizer, [e.text for e in pairs], None, skill.max_length)
            second = data.encode_texts(tokenizer, [str(e.pair) for e in pairs], None, skill.max_length)
            scores = np.array([e.target for e in pairs], np.float32)
            return partial(measure_pairs, first=first, second=second, scores=scores)
        case LabelSkill():
            examples = data.sample(data.label_examples(skill, recipe.seed)[1], limit)
            encoded = data.encode_examples(tokenizer, examples, skill.max_length)
            return partial(measure_labels, name=skill.name, examples=examples, encoded=encoded)
        case TagSkill():
            sentences = data.sample(data.tag_sentences(skill, recipe.seed)[1], limit)
            words, firsts = data.encode_words(tokenizer, sentences, LONGEST)
            return partial(measure_tags, name=skill.name, sentences=sentences, encoded=words, firsts=firsts)
        case _:
            return None


def _fill_measure(skill: FillSkill, tokenizer: Tokenizer, cache: Path, limit: int) -> Measure:
    """Always 15 %, so that figures compare whatever rate is trained with; one seed for one set of masks."""
    files = [data.tokenize_file(source.path, tokenizer, cache) for source in skill.data]
    special = data.SpecialTokens.of(tokenizer)

    stream = BlockStream(files, special, skill.max_length, 16, Masking(0.15), 15, skill.held_out, train=False)
    batches = max(1, limit // 24) if limit else 150
    return partial(measure_fill, stream=stream, batches=batches)


def measure_fill(model: SkillModel, stream: BlockStream, batches: int) -> Examination:
    """With every chosen token behind [MASK]."""
    return of_pieces(evaluate.masked_pieces(model, stream, batches))


def measure_pairs(
    model: SkillModel, first: Sequence[Encoded], second: Sequence[Encoded], scores: NDArray[np.float32]
) -> Examination:
    """The order of the cosines and that of the scores."""
    cosines = (evaluate.embeddings(model, first) * evaluate.embeddings(model, second)).sum(1)
    return of_pairs(cosines, scores)


def measure_labels(
    model: SkillModel, name: str, examples: Sequence[Example], encoded: Sequence[Encoded]
) -> Examination:
    """One label a text, several, or a number."""
    spec = model.specs[name]
    logits = evaluate.label_logits(model, name, encoded)
    gold = data.label_targets(examples, spec.labels, str(spec.problem_type)).numpy()
    match spec.problem_type:
        case "multi_label_classification":
            return of_several_labels(logits > 0, gold > 0.5, spec.labels)
        case "regression":
            return of_numbers(logits[:, 0], gold)
        case _:
            return of_one_label(logits.argmax(1), gold, spec.labels)


def measure_tags(
    model: SkillModel,
    name: str,
    sentences: Sequence[Sentence],
    encoded: Sequence[Encoded],
    firsts: Sequence[list[int]],
) -> Examination:
    """Words beyond the model's length count as the first tag."""
    gold = [sentence.tags for sentence in sentences]
    tags = model.specs[name].labels
    answers = evaluate.tag_predictions(model, name, encoded, firsts)
    answers = [said + [tags[0]] * (len(true) - len(said)) for said, true in zip(answers, gold, strict=True)]
    return of_tags(answers, gold, tags)
