"""Whatever stands in a file of a checkpoint: it is opened, or refused with a ModelError, never a crash."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bertcli.errors import ModelError
from bertcli.models.check import full_check
from bertcli.models.checkpoint import open_checkpoint
from tests.conftest import Make

pytestmark = pytest.mark.slow

VALUES = (None, True, -1, 0, 10**12, 1e300, "x", "", [], [1], {}, {"a": 1}, [[]], [{}], ["x", 7])
FILES = (
    ("skills", "config.json"),
    ("sentence", "tokenizer.json"),
    ("sentence", "tokenizer_config.json"),
    ("sentence", "modules.json"),
    ("sentence", "1_Pooling/config.json"),
    ("sentence", "sentence_bert_config.json"),
    ("sentence", "config_sentence_transformers.json"),
)


def _variants(content: object) -> list[object]:
    """The content with each value in it replaced by each of VALUES, two levels deep at most."""
    items = list(content.items() if isinstance(content, dict) else enumerate(content))  # type: ignore[arg-type]
    variants: list[object] = []
    for key, value in items[:40]:
        inner = _variants(value) if isinstance(value, dict) and len(value) < 20 else []
        for other in [*VALUES, *inner]:
            changed = dict(items) | {key: other}
            variants.append(changed if isinstance(content, dict) else list(changed.values()))
    return variants


@pytest.mark.parametrize(("family", "file"), FILES)
def test_no_value_crashes(family: str, file: str, checkpoints: Make, tmp_path: Path) -> None:
    source = checkpoints(family)
    path = Path(shutil.copytree(source, tmp_path / "model"))
    outcomes = set()
    for variant in _variants(json.loads((source / file).read_text())):
        (path / file).write_text(json.dumps(variant))
        try:
            full_check(open_checkpoint(path))
            outcomes.add("opened")
        except ModelError:
            outcomes.add("refused")
    assert "opened" in outcomes
