"""The cosine of a pair is that of the vectors `embed` gives."""

from __future__ import annotations

import numpy as np
import pytest

from bertcli.errors import RecordError
from bertcli.evaluation.similarity import SimilarityPairs
from bertcli.records import Record
from bertcli.requests import LongOptions
from bertcli.tasks.embed import Embed
from tests.checkpoints import TEXTS
from tests.conftest import Make
from tests.tasks.reference import Reference, answer, opened

LONG = " ".join(TEXTS[:4])


@pytest.mark.slow
@pytest.mark.parametrize("pair", [(TEXTS[0], TEXTS[1]), (TEXTS[0], LONG), (LONG, "x"), (LONG, LONG)])
@pytest.mark.parametrize("normalize", [False, True])
def test_the_cosine_is_that_of_embed(pair: tuple[str, str], normalize: bool, checkpoints: Make) -> None:
    path = checkpoints("sentence", normalize=normalize)
    engine = Reference(path)
    first, second = (answer(Embed(*opened(path), LongOptions()), engine, text)["embedding"] for text in pair)
    expected = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    found = answer(SimilarityPairs(*opened(path), LongOptions()), engine, *pair)["cosine"]
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_pair_is_windowed_when_one_of_its_texts_is(checkpoints: Make) -> None:
    task = SimilarityPairs(*opened(checkpoints("sentence")), LongOptions())

    def slices(first: str, second: str) -> int:
        return task.encode(Record(0, {}, first, second)).slices

    assert slices("a", "b") == 1
    assert slices(LONG, "b") == slices("a", LONG) == slices(LONG, LONG) > 1


@pytest.mark.parametrize("second", [None, "", "  "])
def test_a_pair_needs_two_texts(second: str | None, checkpoints: Make) -> None:
    task = SimilarityPairs(*opened(checkpoints("sentence")), LongOptions())
    with pytest.raises(RecordError, match="second text"):
        task.encode(Record(0, {}, "a", second))
