"""fill, as a skill of several: hidden words of blocks, texts or sentences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import Tensor
from torch.nn import functional

from bertcli.evaluation.masked_words import Sums, piece_sums
from bertcli.training.batches import Ids, by_length
from bertcli.training.conversion import RecipeError
from bertcli.training.corpus import blocks, tokenise
from bertcli.training.examination import Examination, of_pieces
from bertcli.training.fill import ranks_and_log_p
from bertcli.training.heads import SkillModel
from bertcli.training.lessons import MEASURE_TOKENS
from bertcli.training.masking import Masking, inside
from bertcli.training.materials import is_held_out, spread_out, texts_of
from bertcli.training.recipe import FillSkill
from bertcli.training.skills import PreparedSkill, Workshop
from bertcli.training.streams import Batch, BlockStream, Stream, TextFillStream, Texts, fill_batch

FEWEST_TOKENS = 6  # of a text, special ones included: two or three words are no context to guess a word from
MEASURED = 0.15  # of the tokens, so that figures compare whatever rate is learnt with
MEASURED_BLOCKS = 600  # where the recipe sets no limit
MEASURE_SEED = 15  # one for all runs: the same tokens are hidden


def prepare(skill: FillSkill, workshop: Workshop, seed: int) -> PreparedSkill:
    """Raises RecipeError where the data has nothing to guess in."""
    return _of_blocks(skill, workshop, seed) if skill.unit == "block" else _of_texts(skill, workshop, seed)


def _of_blocks(skill: FillSkill, workshop: Workshop, seed: int) -> PreparedSkill:
    tokenizer = workshop.tokenizer
    files = [tokenise(source, tokenizer, workshop.cache) for source in skill.data]
    size = skill.max_length - len(tokenizer.frame(False))
    train = blocks(files, size, lambda record: not is_held_out(record, skill.holdout_every))
    if not train.size:
        raise RecipeError(
            f"{skill.name}: no text of the data fills a block of {skill.max_length} tokens",
            hint="take `unit: text`, or a smaller max_length",
        )
    rows = max(1, skill.batch_tokens // skill.max_length)
    masking = Masking.of(tokenizer, skill.mask_rate, skill.keep_rate, skill.random_rate)
    stream = BlockStream(files, train, tokenizer, masking, length=skill.max_length, rows=rows, seed=seed)
    dev = blocks(files, size, lambda record: is_held_out(record, skill.holdout_every))
    drawn = np.random.default_rng(MEASURE_SEED).permutation(dev.shape[1])[: workshop.limit or MEASURED_BLOCKS]
    texts = [files[file].tokens[start : start + size].tolist() for file, start in dev[:, drawn].T]
    return _prepared(skill, workshop, stream, train.shape[1], [_framed(workshop, text) for text in texts])


def _of_texts(skill: FillSkill, workshop: Workshop, seed: int) -> PreparedSkill:
    learnt: list[str] = []
    held: list[str] = []
    for source in skill.data:
        train, dev = texts_of(source, skill.unit, seed, skill.holdout_every)
        learnt += train
        held += dev
    long_enough = _long_enough(workshop.texts(learnt, None, skill.max_length).encoded)
    if not long_enough:
        raise RecipeError(f"{skill.name}: the texts are too short to guess words in")
    texts = Texts(long_enough, workshop.machine.pad_id)
    order = workshop.order(texts.lengths, skill, seed)
    masking = Masking.of(workshop.tokenizer, skill.mask_rate, skill.keep_rate, skill.random_rate)
    stream = TextFillStream(texts, workshop.tokenizer, order, masking)
    unseen = workshop.texts(spread_out(held, workshop.limit), None, skill.max_length)
    return _prepared(skill, workshop, stream, len(texts.encoded), _long_enough(unseen.encoded))


def _prepared(
    skill: FillSkill, workshop: Workshop, stream: Stream, learnt: int, held: Sequence[Ids]
) -> PreparedSkill:
    examine = partial(_examine, workshop=workshop, held=Texts(held, workshop.machine.pad_id))
    return PreparedSkill(skill, stream, fill_loss, learnt, len(held), examine=examine if held else None)


def _framed(workshop: Workshop, tokens: list[int]) -> Ids:
    ids, types, _, _ = workshop.tokenizer.frame(False).build(tokens)
    return Ids(ids, types)


def _long_enough(texts: Sequence[Ids]) -> list[Ids]:
    return [one for one in texts if len(one) >= FEWEST_TOKENS]


def _examine(model: SkillModel, workshop: Workshop, held: Texts) -> Examination:
    """With every chosen token behind the mask token, the same ones each time."""
    masking = Masking.of(workshop.tokenizer, MEASURED)
    frame, device = workshop.tokenizer.frame(False), workshop.machine.device
    sums: list[Sums] = []
    for indices in by_length(held.lengths, MEASURE_TOKENS):
        ids, mask, types = held.padded(indices, held.lengths[indices[-1]])
        maskable = inside(mask.numpy().sum(1), ids.shape[1], frame)
        counts = masking.counts(maskable)
        hidden = masking.hide(
            ids.numpy(), maskable, counts, np.random.default_rng([MEASURE_SEED, indices[0]])
        )
        batch = fill_batch(hidden, mask, types).to(device)
        states = model.encode(batch.ids, batch.mask, batch.types).flatten(0, 1)[batch.positions]
        found = ranks_and_log_p(model.vocabulary_logits(states).float(), batch.targets)  # [hidden, 2]
        sums += [piece_sums(part) for part in np.split(found, np.cumsum(counts)[:-1])]
    return of_pieces(sums)


def fill_loss(model: SkillModel, states: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy at the hidden tokens only: the vocabulary is as wide as all else together."""
    logits = model.vocabulary_logits(states.flatten(0, 1)[batch.positions])  # [masked, vocabulary]
    return functional.cross_entropy(logits.float(), batch.targets)
