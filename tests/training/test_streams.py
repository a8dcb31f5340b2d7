"""Batches by number: the same on every call, every example in an epoch, nothing hidden that must be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.training.batches import encode
from bertcli.training.buckets import BucketedOrder
from bertcli.training.corpus import TokenFile, blocks, tokenise
from bertcli.training.masking import Masking
from bertcli.training.recipe import Source
from bertcli.training.streams import BlockStream, TextFillStream, Texts
from tests.checkpoints import TEXTS
from tests.conftest import Make

LENGTHS = st.lists(st.integers(3, 40), min_size=1, max_size=60)
MASKING = Masking(0.2, 0.1, 0.1, mask=4, vocabulary=30)


@given(lengths=LENGTHS, tokens=st.sampled_from([16, 64, 200]), epoch=st.integers(0, 2))
def test_an_epoch_has_every_example_and_room_for_it(lengths: list[int], tokens: int, epoch: int) -> None:
    order = BucketedOrder(lengths, (8, 16, 24), tokens, seed=3)
    first = epoch * order.batches_an_epoch
    batches = [order(number) for number in range(first, first + order.batches_an_epoch)]
    assert {int(i) for indices, _ in batches for i in indices} == set(range(len(lengths)))
    for indices, length in batches:
        assert max(lengths[i] for i in indices) <= length
        assert len(indices) % 2 == 0
        assert len(indices) * length <= max(tokens, 2 * length)


@given(rows=st.lists(st.integers(1, 12), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_only_what_may_be_hidden_is_hidden(rows: list[int], seed: int) -> None:
    width = max(rows) + 2
    ids = np.arange(len(rows) * width).reshape(len(rows), width) + 100
    maskable = (np.arange(width) >= 1) & (np.arange(width) <= np.array(rows)[:, None])
    counts = MASKING.counts(maskable)
    hidden = MASKING.hide(ids, maskable, counts, np.random.default_rng(seed))
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
    hidden = masking.hide(ids, maskable, masking.counts(maskable), np.random.default_rng(0))
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
    file = tokenise(Source(path), tokenizer, tmp_path / "cache")
    again = tokenise(Source(path), tokenizer, tmp_path / "cache")
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


def test_a_stream_of_blocks_says_the_same_for_a_number(tokenizer: Tokenizer) -> None:
    tokens = np.arange(5, 105, dtype=np.uint16)
    file = TokenFile(tokens, np.array([0, 100]), np.array([0]))
    places = blocks([file], 8, lambda record: True)

    def stream() -> BlockStream:
        masking = Masking(0.25, 0.0, 0.0, mask=4, vocabulary=len(tokenizer))
        return BlockStream([file], places, tokenizer, masking, length=10, rows=5, seed=1)

    one, other = stream(), stream()
    for number in (7, 0, 3, 7):
        a, b = one.batch(number), other.batch(number)
        assert a.ids.tolist() == b.ids.tolist()
        whole = a.ids.flatten()
        whole[a.positions] = a.targets
        rows = whole.reshape(a.ids.shape)[:, 1:-1]
        assert all(row.tolist() == list(range(row[0], row[0] + 8)) for row in rows)
    epoch = [one.batch(number) for number in range(one.batches_an_epoch)]
    assert sum(len(batch.ids) for batch in epoch) >= places.shape[1]


def test_texts_are_hidden_between_their_special_tokens(tokenizer: Tokenizer) -> None:
    texts = Texts([encode(tokenizer, text, None, 32) for text in TEXTS], tokenizer.pad_id or 0)
    order = BucketedOrder(texts.lengths, (16, 24), 128, seed=2)
    stream = TextFillStream(texts, tokenizer, order, Masking.of(tokenizer, 0.2))
    for number in range(8):
        batch = stream.batch(number)
        assert batch.mask is not None
        length = batch.ids.shape[1]
        for place in batch.positions.tolist():  # type: ignore[union-attr]
            row, column = divmod(place, length)
            assert 1 <= column < int(batch.mask[row].sum()) - 1
        assert len(batch.targets) % len(batch.ids) == 0
