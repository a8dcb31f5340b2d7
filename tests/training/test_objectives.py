"""Masked language modelling: what is masked, blocks, long texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.training.corpus import Blocks, TokenFile, blocks, tokenise
from bertcli.training.machine import Machine
from bertcli.training.masking import Masking
from bertcli.training.objectives import Context
from bertcli.training.objectives.fill import MIN_TOKENS, FillObjective
from bertcli.training.recipe import DataSource, FillSettings
from tests.checkpoints import TEXTS
from tests.conftest import Make

MASKING = Masking(0.2, 0.1, 0.1, mask=4, vocabulary=30)


@given(rows=st.lists(st.integers(1, 12), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_only_what_may_be_hidden_is_hidden(rows: list[int], seed: int) -> None:
    width = max(rows) + 2
    ids = np.arange(len(rows) * width).reshape(len(rows), width) + 100
    maskable = (np.arange(width) >= 1) & (np.arange(width) <= np.array(rows)[:, None])
    counts = MASKING.counts(maskable)
    hidden = MASKING.mask_tokens(ids, maskable, counts, np.random.default_rng(seed))
    assert maskable.ravel()[hidden.positions].all()
    assert np.array_equal(np.bincount(hidden.positions // width, minlength=len(rows)), counts)
    assert np.array_equal(ids.ravel()[hidden.positions], hidden.targets)
    seen = np.ones(ids.size, bool)
    seen[hidden.positions] = False
    assert np.array_equal(hidden.ids.ravel()[seen], ids.ravel()[seen])


def test_the_shares_of_what_is_hidden_kept_and_swapped() -> None:
    ids = np.full((200, 100), 99)
    masking = Masking(0.5, 0.2, 0.3, mask=4, vocabulary=4)
    maskable = np.ones(ids.shape, bool)
    hidden = masking.mask_tokens(ids, maskable, masking.counts(maskable), np.random.default_rng(0))
    shown = hidden.ids.ravel()[hidden.positions]
    assert len(shown) == ids.size / 2
    assert (shown == 4).mean() == pytest.approx(0.5, abs=0.02)
    assert (shown == 99).mean() == pytest.approx(0.2, abs=0.02)


@pytest.fixture
def tokenizer(checkpoints: Make) -> Tokenizer:
    return Tokenizer.of(open_checkpoint(checkpoints("bert", "fill")))


def test_blocks_are_the_texts_with_their_ends(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join([*TEXTS, ""]))
    file = tokenise(DataSource(path), tokenizer, tmp_path / "cache")
    again = tokenise(DataSource(path), tokenizer, tmp_path / "cache")
    assert np.array_equal(file.tokens, again.tokens)
    assert len(file.records) == len(TEXTS)
    size = 10
    places = blocks([file], size, lambda record: record != 2)
    covered = np.zeros(len(file.tokens), bool)
    for start in places[1]:
        covered[start : start + size] = True
    for record, (start, stop) in enumerate(zip(file.starts[:-1], file.starts[1:], strict=True)):
        ids = tokenizer.encode(TEXTS[record]).ids
        assert file.tokens[start:stop].tolist() == ids
        assert covered[start:stop].mean() > (0.7 if record != 2 and len(ids) >= size else -1)
        assert record != 2 or not covered[start:stop].any()


def test_blocks_are_read_where_they_start(tokenizer: Tokenizer) -> None:
    file = TokenFile(np.arange(5, 105, dtype=np.uint16), np.array([0, 100]), np.array([0]))
    found = Blocks([file], blocks([file], 8, lambda record: True), 8, tokenizer.frame(False))
    assert [len(block) for block in found] == list(found.lengths)
    for block in found:
        first = block.ids[1]
        assert list(block.ids[1:-1]) == list(range(first, first + 8))


def test_texts_are_masked_between_their_special_tokens(
    tokenizer: Tokenizer, checkpoints: Make, tmp_path: Path
) -> None:
    checkpoint = open_checkpoint(checkpoints("bert", "fill"))
    machine = Machine.choose("cpu", "float32", tokenizer.pad_id)
    context = Context(checkpoint, tokenizer, machine, tmp_path, 0, 7)
    settings = FillSettings(name="fill", data=(), unit="text", mask_rate=0.2, max_length=16, batch_tokens=64)
    one, other = (FillObjective.of_texts(settings, TEXTS, [], context, seed=2) for _ in range(2))
    for number in range(8):
        batch = one.batch(number)
        again = other.batch(number)
        assert batch.positions is not None
        assert torch.equal(batch.inputs["input_ids"], again.inputs["input_ids"])
        rows, length = batch.inputs["input_ids"].shape
        for position in batch.positions.tolist():
            row, column = divmod(position, length)
            assert 1 <= column < int(batch.inputs["attention_mask"][row].sum()) - 1
        assert len(batch.targets) >= rows


def test_long_texts_are_learnt_whole(tokenizer: Tokenizer, checkpoints: Make, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(checkpoints("bert", "fill"))
    machine = Machine.choose("cpu", "float32", tokenizer.pad_id)
    context = Context(checkpoint, tokenizer, machine, tmp_path, 0, 7)
    settings = FillSettings(name="fill", data=(), unit="text", max_length=16)
    text = " ".join(TEXTS)
    objective = FillObjective.of_texts(settings, [text], [], context, seed=2)
    ids = [token for window in objective.train for token in window.ids[1:-1]]
    assert ids == tokenizer.encode(text).ids[: len(ids)]
    assert len(tokenizer.encode(text)) - len(ids) < MIN_TOKENS
