"""tag, as a skill of several: a class for each word, said by its first piece."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import Tensor
from torch.nn import functional

from bertcli.training.batches import IGNORED, Sentence, encode_words
from bertcli.training.examination import Examination, of_tags
from bertcli.training.examples import Example, joined, tag_names
from bertcli.training.heads import HeadSpec, SkillModel, drawing
from bertcli.training.materials import spread_out, tagged
from bertcli.training.recipe import TagSkill
from bertcli.training.skills import PreparedSkill, Workshop
from bertcli.training.streams import Batch, TagStream, Texts

LONGEST = 512
"""Tokens a sentence may have when it is measured: what an encoder takes, not what the skill is learnt on."""


def prepare(skill: TagSkill, workshop: Workshop, seed: int) -> PreparedSkill:
    held = tagged(skill, workshop.seed)
    tags = tag_names(held.train)
    sentences = joined(held.train, skill.join, seed)
    placed = [encode_words(workshop.tokenizer, one.words, skill.max_length) for one in sentences]
    index = {tag: number for number, tag in enumerate(tags)}
    targets = []
    for (ids, words, places), sentence in zip(placed, sentences, strict=True):
        target = np.full(len(ids), IGNORED, np.int64)
        target[places] = [index[sentence.target[word]] for word in words]
        targets.append(target)
    texts = Texts([one.ids for one in placed], workshop.machine.pad_id)
    stream = TagStream(texts, targets, workshop.order(texts.lengths, skill, seed))
    dev = spread_out(held.dev, workshop.limit)
    length = min(LONGEST, workshop.longest)
    examine = partial(
        _examine,
        workshop=workshop,
        name=skill.name,
        sentences=dev,
        placed=[encode_words(workshop.tokenizer, one.words, length) for one in dev],
    )
    return PreparedSkill(
        skill,
        stream,
        partial(tag_loss, skill.name),
        len(held.train),
        len(dev),
        HeadSpec("tag", tags),
        examine if dev else None,
    )


def tag_loss(name: str, model: SkillModel, states: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy over the first pieces of words."""
    logits = model.heads[name](states, batch.mask, drawing(batch.seed, states.device)).float()
    return functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)


def _examine(
    model: SkillModel,
    workshop: Workshop,
    name: str,
    sentences: Sequence[Example],
    placed: Sequence[Sentence],
) -> Examination:
    """Words without a piece, as those beyond the model's length, count as the first tag."""
    tags = model.specs[name].labels
    answers = [[tags[0]] * len(one.words) for one in sentences]
    for indices, states, mask in model.sweep(workshop.machine, [one.ids for one in placed]):
        best = model.heads[name](states, mask).argmax(2).cpu().numpy()  # [rows, length]
        for row, index in enumerate(indices):
            _, words, places = placed[index]
            for word, tag in zip(words, best[row, places], strict=True):
                answers[index][word] = tags[tag]
    return of_tags(answers, [list(one.target) for one in sentences], tags)
