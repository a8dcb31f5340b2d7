"""Question-answering heads: logits of the first and the last token, as transformers has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from bertcli.engines import TokenLogits
from bertcli.engines.instant import Instant
from bertcli.engines.packed import Packed
from bertcli.models.checkpoint import open_checkpoint
from tests.checkpoints import FAMILIES
from tests.conftest import Make
from tests.engines import oracle
from tests.engines.windows import make_windows

LENGTHS = (7, 3, 12, 7, 40)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_both_ends_are_those_of_transformers(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "answer")
    checkpoint = open_checkpoint(path)
    windows = make_windows(checkpoint, LENGTHS)
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(path, dtype=torch.float32).eval()
    expected = []
    for window in windows:
        inputs = {"input_ids": torch.tensor([list(window.ids)])}
        if window.types is not None:
            inputs["token_type_ids"] = torch.tensor([list(window.types)])
        with torch.inference_mode():
            found = model(**inputs)
        expected.append(np.stack([found.start_logits[0].numpy(), found.end_logits[0].numpy()], axis=-1))
    ask = TokenLogits(checkpoint.head("answer"))
    engines = [Packed(checkpoint, dtype="float32")]
    engines += [Instant(checkpoint)] if family == "bert" else []
    for engine in engines:
        assert oracle.difference(engine.forward(windows, ask), expected) < 1e-4
