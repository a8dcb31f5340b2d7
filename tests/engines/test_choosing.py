from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from bertcli.engines import available_cores
from bertcli.engines.choosing import BREAK_EVEN_TOKENS, break_even, choose
from bertcli.errors import EngineError
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from bertcli.requests import ModelOptions
from tests.conftest import Make


@pytest.fixture(scope="module")
def small(checkpoints: Make) -> Checkpoint:
    return open_checkpoint(checkpoints("bert"))


def engine_for(checkpoint: Checkpoint, tokens: int | None = 10, **options: Any) -> str:
    return choose(checkpoint, ModelOptions(**options), tokens_ahead=tokens).name


def test_little_goes_to_numpy_and_much_to_torch(small: Checkpoint) -> None:
    tokens = break_even(small, available_cores())
    assert engine_for(small, tokens) == "instant"
    assert engine_for(small, tokens + 1) == "packed"
    assert engine_for(small, None) == "packed"


def test_what_numpy_does_not_have_goes_to_torch(small: Checkpoint, checkpoints: Make) -> None:
    assert engine_for(small, dtype="bfloat16") == "packed"
    assert engine_for(open_checkpoint(checkpoints("big_bird"))) == "packed"
    assert engine_for(open_checkpoint(checkpoints("distilbert"))) == "instant"


def test_a_user_has_the_last_word(small: Checkpoint) -> None:
    assert engine_for(small, None, engine="instant") == "instant"
    assert engine_for(small, 1, engine="packed") == "packed"
    assert engine_for(small, 1, engine="instant", device="cpu", dtype="float32") == "instant"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "instant", "device": "cuda"}, "instant engine .*cuda"),
        ({"engine": "instant", "dtype": "bfloat16"}, "instant engine .*bfloat16"),
        ({"device": "cuda:99"}, "no device cuda:99"),
        ({"device": "tpu"}, "no device called tpu"),
        ({"device": "cuda:one"}, "no device called cuda:one"),
        ({"device": "cpu", "dtype": "float16"}, "float16"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_way_out(
    small: Checkpoint, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(EngineError, match=message) as refused:
        engine_for(small, **options)
    assert refused.value.hint is not None
    assert "--" in refused.value.hint or "auto" in refused.value.hint


def test_options_reach_the_engine(small: Checkpoint) -> None:
    options = ModelOptions(engine="packed", device="cpu", dtype="float32", threads=3, batch_tokens=77)
    engine = choose(small, options, tokens_ahead=None)
    assert (engine.device, engine.dtype, engine.workers, engine.batch_tokens) == ("cpu", "float32", 3, 77)


def test_a_larger_model_goes_to_torch_earlier(small: Checkpoint) -> None:
    larger = replace(small, layers=24, hidden_size=1024, config={**small.config, "intermediate_size": 4096})
    assert break_even(larger, 1) < break_even(larger, 2) < break_even(small, 1) == BREAK_EVEN_TOKENS


def test_the_products_of_a_gate_count(small: Checkpoint, checkpoints: Make) -> None:
    gated = open_checkpoint(checkpoints("modernbert"))
    plain, gated = (replace(each, layers=48, hidden_size=1024) for each in (small, gated))
    assert break_even(gated, 1) < break_even(plain, 1)


def test_choosing_the_instant_engine_imports_no_torch(checkpoints: Make) -> None:
    program = (
        "import sys; from pathlib import Path; from bertcli.engines.choosing import choose;"
        "from bertcli.models.checkpoint import open_checkpoint; from bertcli.requests import ModelOptions;"
        "choose(open_checkpoint(Path(sys.argv[1])), ModelOptions(), tokens_ahead=10);"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, checkpoints("bert")], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")
