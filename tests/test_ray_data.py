"""`bertcli.ray.Model`, which Ray Data calls with batches."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import bertcli
from bertcli.errors import FieldClashError, ModelError, UsageError
from bertcli.ray import Model
from tests.conftest import Make
from tests.distributed.clusters import skip_without_ray

TEXTS = ["John [MASK] in London.", "a good camera", None, "", "bad", "the [MASK] broke"]
TASKS = [("label", "label"), ("fill", "fill"), ("embed", "base"), ("tag", "tagger"), ("score", "fill")]
EXAMPLE = Path(__file__).parent.parent / "docs" / "scale.md"


def table() -> pa.Table:
    return pa.table({"id": range(len(TEXTS)), "body": TEXTS})


@pytest.mark.parametrize(("task", "kind"), TASKS)
def test_a_batch_has_a_row_of_results_for_each_row(task: str, kind: str, checkpoints: Make) -> None:
    path = str(checkpoints("bert", kind))
    expected = list(getattr(bertcli.load(path, engine="packed"), task)(iter(TEXTS)))
    model = Model(task, path)
    found = model(table())
    assert found.column_names[:2] == ["id", "body"]
    assert found.column_names[-3:] == ["windows", "truncated", "error"]
    assert found["body"].to_pylist() == TEXTS
    arrays = model({"id": np.arange(len(TEXTS)), "body": np.array(TEXTS, object)})
    assert arrays["id"].tolist() == list(range(len(TEXTS)))
    for number, (row, result) in enumerate(zip(found.to_pylist(), expected, strict=True)):
        for name in found.column_names[2:]:
            _assert_same(row[name], result.get(name))
            _assert_same(arrays[name][number], result.get(name))
    if task == "fill":
        assert found["error"][1].as_py()["type"] == "no-mask"


def _assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, np.ndarray):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # other texts share the batch
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            _assert_same(found[name], value)
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            _assert_same(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize(("task", "kind"), [each for each in TASKS if each[0] != "embed"])
def test_all_batches_have_the_same_types(task: str, kind: str, checkpoints: Make) -> None:
    model = Model(task, str(checkpoints("bert", kind)))
    schema = model(table()).schema
    assert model(table().slice(2, 2)).schema == schema  # without an answer
    assert model(table().slice(0, 0)).schema == schema


def test_vectors_are_a_matrix_in_numpy_and_of_one_length_in_arrow(checkpoints: Make) -> None:
    model = Model("embed", str(checkpoints("bert")), output_dtype="float16")
    found = model({"text": np.array(["one", "another text"])})
    assert (found["embedding"].dtype, found["embedding"].ndim) == (np.float16, 2)
    kind = model(table())["embedding"].type
    assert (kind.value_type, kind.list_size) == (pa.float16(), found["embedding"].shape[1])


def test_options_name_columns(checkpoints: Make) -> None:
    model = Model(
        "label",
        str(checkpoints("bert", "label")),
        text_field="a",
        pair_field="b",
        prefix="x_",
        k=2,
        threads=1,
    )
    found = model(pa.table({"a": ["one"], "b": ["two"], "label": ["gold"]}))
    names = ["a", "b", "label", "x_label", "x_score", "x_labels", "x_windows", "x_truncated", "x_error"]
    assert found.column_names == names
    broken = model(pa.table({"a": [7], "b": ["two"]}))
    assert "the field 'a' is a number" in broken["x_error"][0].as_py()["message"]


def test_what_cannot_be_computed_is_refused(checkpoints: Make) -> None:
    path = str(checkpoints("bert", "label"))
    with pytest.raises(ModelError):
        Model("answer", path, question="who?")
    with pytest.raises(UsageError, match="'rank' is no method"):
        Model("rank", path)
    model = Model("label", path)
    with pytest.raises(FieldClashError, match="'label'"):
        model(pa.table({"text": ["one"], "label": ["gold"]}))
    with pytest.raises(UsageError, match="several fields could be the text"):
        model(pa.table({"a": ["one"], "b": ["two"]}))
    with pytest.raises(TypeError, match="batch_format='pyarrow'"):
        model(["one"])  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("batch_format", ["pyarrow", "numpy"])
def test_the_example_of_the_docs(batch_format: str, tmp_path: Path) -> None:
    skip_without_ray()
    (code,) = re.findall(r"```python\n(import ray\n.*?)```", EXAMPLE.read_text(), re.DOTALL)
    texts = ["I loved it.", None, "The battery died."] * 40
    parquet.write_table(pa.table({"id": range(120), "body": texts}), tmp_path / "reviews.parquet")
    program = code.replace('batch_format="pyarrow"', f'batch_format="{batch_format}"')
    assert batch_format in program
    start = 'import ray\nray.init(address="local", num_cpus=4, include_dashboard=False)\n'
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", start + program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    found = parquet.read_table(tmp_path / "labelled").sort_by("id")
    assert found["id"].to_pylist() == list(range(120))
    assert found["body"].to_pylist() == texts
    expected = [row["label"] for row in bertcli.load(engine="packed").label(iter(texts))]
    assert found["label"].to_pylist() == expected
    assert found["error"].null_count == 120
