"""The kinds of skills a recipe can have, a file a kind: what is learnt from, the loss, how it is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from bertcli.training.batches import encode
from bertcli.training.buckets import BucketedOrder
from bertcli.training.examination import Examination
from bertcli.training.heads import HeadSpec, SkillModel
from bertcli.training.lessons import Machine
from bertcli.training.recipe import EmbedSkill, FillSkill, LabelSkill, Recipe, Skill, TagSkill
from bertcli.training.streams import Batch, Stream, Texts

if TYPE_CHECKING:
    from bertcli.models.tokenizer import Tokenizer

Loss = Callable[[SkillModel, Tensor, Batch], Tensor]
"""(model, hidden states [rows, length, hidden], batch) -> mean loss, a float32 scalar."""


@dataclass(frozen=True)
class PreparedSkill:
    """A skill ready to be learnt.

    `head` is None for fill and embed, which need no tensors of their own; `examine` measures a model on what
    is held out, None where nothing is. `learnt` and `held` are the numbers of examples.
    """

    skill: Skill
    stream: Stream
    loss: Loss
    learnt: int
    held: int = 0
    head: HeadSpec | None = None
    examine: Callable[[SkillModel], Examination] | None = None


@dataclass(frozen=True)
class Workshop:
    """What every skill is prepared with. `cache` is a folder for what takes long to compute; `longest` is how
    many tokens the base takes, `limit` the most examples to measure with, 0 for all."""

    tokenizer: Tokenizer
    machine: Machine
    cache: Path
    longest: int
    buckets: Sequence[int]
    limit: int
    seed: int

    def texts(self, texts: Sequence[str], pairs: Sequence[str | None] | None, length: int) -> Texts:
        """Texts, or pairs of texts, of at most `length` tokens."""
        partners = pairs or [None] * len(texts)
        encoded = [encode(self.tokenizer, a, b, length) for a, b in zip(texts, partners, strict=True)]
        return Texts(encoded, self.machine.pad_id)

    def order(self, lengths: Sequence[int], skill: Skill, seed: int) -> BucketedOrder:
        return BucketedOrder(lengths, self.buckets, skill.batch_tokens, seed)


def prepare(recipe: Recipe, workshop: Workshop) -> list[PreparedSkill]:
    """Read, tokenise and bucket the data of every skill. Raises RecipeError and whatever reading the data
    raises."""
    from bertcli.training.skills import embed, fill, label, tag

    prepared = []
    for number, skill in enumerate(recipe.skills):
        seed = recipe.seed * 1000 + number
        match skill:
            case FillSkill():
                prepared.append(fill.prepare(skill, workshop, seed))
            case EmbedSkill():
                prepared.append(embed.prepare(skill, workshop, seed))
            case LabelSkill():
                prepared.append(label.prepare(skill, workshop, seed))
            case TagSkill():
                prepared.append(tag.prepare(skill, workshop, seed))
            case _:
                raise TypeError(f"no preparation for {type(skill).__name__}")
    return prepared
