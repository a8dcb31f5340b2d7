"""Weights are read as safetensors and torch read them, and no file that breaks its promises is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bertcli.errors import ModelError
from bertcli.models.weights import DamagedFileError, open_weights, read_header
from tests.checkpoints import gamma_beta
from tests.conftest import Make


def _saved(path: Path, **tensors: torch.Tensor) -> Path:
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    return path


def _rewritten(path: Path, header: Any, data: bytes) -> Path:
    """A safetensors file with exactly this header and these bytes of tensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def _entry(start: int, stop: int, shape: Any = None, dtype: str = "F32") -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [(stop - start) // 4] if shape is None else shape,
        "data_offsets": [start, stop],
    }


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_every_dtype_reads_as_torch_converts_it(tmp_path: Path, dtype: str) -> None:
    torch.manual_seed(1)
    extremes = [0.0, -0.0, 1e-7, 6e-8, -6.1e-5, 65504.0, torch.inf, -torch.inf, torch.nan]
    tensor = torch.cat([torch.tensor(extremes), torch.randn(503)]).reshape(64, 8).to(getattr(torch, dtype))
    weights = open_weights(_saved(tmp_path, w=tensor, odd=torch.zeros(3, dtype=torch.uint8)))
    assert weights.shape("w") == (64, 8)
    np.testing.assert_array_equal(weights.read("w"), tensor.float().numpy())


def test_every_half_is_widened_bit_for_bit(tmp_path: Path) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    halves = torch.from_numpy(bits.view(np.float16))
    wide = open_weights(_saved(tmp_path, w=halves)).read("w").view(np.int32)

    number = bits.astype(np.int32)
    sign, exponent, fraction = number >> 15 << 31, number >> 10 & 31, number & 1023
    whole = np.where(exponent > 0, fraction + 1024, fraction).astype(np.float32)
    finite = np.ldexp(whole, np.maximum(exponent, 1) - 25).view(np.int32)
    expected = sign | np.where(exponent == 31, 255 << 23 | fraction << 13, finite)
    np.testing.assert_array_equal(wide, expected)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 1), (5, 7)])
def test_halves_of_every_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    tensor = torch.randn(shape, dtype=torch.float16)
    read = open_weights(_saved(tmp_path, w=tensor, other=torch.zeros(1))).read("w")
    assert (read.shape, read.dtype) == (shape, np.float32)
    np.testing.assert_array_equal(read, tensor.float().numpy())


@settings(deadline=None)  # the first call makes the checkpoint
@given(ids=st.lists(st.integers(0, 63), max_size=20))
def test_rows_are_rows_of_the_whole(ids: list[int], checkpoints: Make) -> None:
    weights = open_weights(checkpoints("bert", "base", dtype="bfloat16"))
    name = "embeddings.position_embeddings.weight"
    np.testing.assert_array_equal(weights.rows(name, ids), weights.read(name)[ids])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_checkpoint_reads_as_safetensors_reads_it(checkpoints: Make, dtype: str) -> None:
    path = checkpoints("bert", "fill", dtype=dtype)
    weights = open_weights(path)
    theirs = load_file(path / "model.safetensors")
    assert set(weights.names) == set(theirs)
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(weights.read(name), tensor.float().numpy())


def test_shards_and_old_spellings_are_the_same_weights(checkpoints: Make) -> None:
    whole = open_weights(checkpoints("bert", "label"))
    for settings_ in ({"shards": True}, {"rename": gamma_beta}):
        path = checkpoints("bert", "label", **settings_)
        other = open_weights(path)
        assert other.faults == ()
        assert len(other.files) > 1 or "shards" not in settings_
        assert set(other.names) == set(whole.names)
        for name in whole.names:
            np.testing.assert_array_equal(other.read(name), whole.read(name))


def test_scalars_and_empty_tensors_are_read(tmp_path: Path) -> None:
    weights = open_weights(
        _saved(tmp_path, scalar=torch.tensor(2.5), empty=torch.zeros(0, 4), one=torch.ones(1))
    )
    assert weights.faults == ()
    assert weights.read("scalar").shape == ()
    assert weights.read("scalar") == 2.5
    assert weights.read("empty").shape == (0, 4)
    assert weights.row_count("scalar") is None


def test_a_missing_tensor_and_a_quantised_one_are_errors(tmp_path: Path) -> None:
    weights = open_weights(_saved(tmp_path, w=torch.zeros(4, dtype=torch.int8)))
    with pytest.raises(ModelError, match="no tensor v"):
        weights.read("v")
    with pytest.raises(ModelError, match="I8"):
        weights.read("w")


LIES: dict[str, tuple[Any, bytes]] = {
    "beyond the file": ({"a": _entry(0, 80)}, bytes(40)),
    "shorter than the file": ({"a": _entry(0, 40)}, bytes(80)),
    "overlap": ({"a": _entry(0, 40), "b": _entry(20, 60)}, bytes(60)),
    "hole": ({"a": _entry(0, 40), "b": _entry(60, 80)}, bytes(80)),
    "shape": ({"a": _entry(0, 40, [11])}, bytes(40)),
    "negative": ({"a": _entry(0, 40, [-10])}, bytes(40)),
    "overflow": ({"a": _entry(0, 40, [2**62, 2**62])}, bytes(40)),
    "not a number": ({"a": _entry(0, 40, ["10"])}, bytes(40)),
    "half a number": ({"a": _entry(0, 40, [10.0])}, bytes(40)),
    "backwards": ({"a": _entry(40, 0)}, bytes(40)),
    "no such type": ({"a": _entry(0, 40, dtype="F33")}, bytes(40)),
    "type of another kind": ({"a": _entry(0, 40) | {"dtype": ["F32"]}}, bytes(40)),
    "no offsets": ({"a": {"dtype": "F32", "shape": [10]}}, bytes(40)),
    "entry of another kind": ({"a": [1, 2]}, bytes(40)),
    "list": ([1, 2], bytes(40)),
    "not JSON": (b"{'a': 1}", bytes(40)),
    "not text": (b"\xff\xfe{\x80", bytes(40)),
    "deep": (b"[" * 100_000, bytes(40)),
    "twice": (b'{"a": %(a)s, "a": %(a)s}' % {b"a": json.dumps(_entry(0, 40)).encode()}, bytes(40)),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_a_fault(lie: str, tmp_path: Path) -> None:
    weights = open_weights(_rewritten(tmp_path, *LIES[lie]))
    assert len(weights.faults) == 1
    assert weights.faults[0].startswith("model.safetensors ")
    assert weights.names == ()


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100])
def test_a_file_cut_short_is_a_fault(size: int, checkpoint_copy: Make) -> None:
    file = checkpoint_copy("bert") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert open_weights(file.parent).faults


def test_a_length_of_the_header_beyond_reason_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((2**63).to_bytes(8, "little") + b"{}")
    assert "header" in open_weights(tmp_path).faults[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_found_or_does_no_harm(data: st.DataObject, checkpoints: Make, tmp_path: Path) -> None:
    """Whatever byte of the header changes: it is refused, or every tensor still lies within the file."""
    whole = (checkpoints("bert") / "model.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, 7 + length))] = data.draw(st.integers(0, 255))
    file = tmp_path / "model.safetensors"
    file.write_bytes(damaged)
    try:
        tensors = read_header(file)
    except DamagedFileError:
        return
    assert all(stored.start >= 8 and stored.start + stored.bytes <= len(whole) for _, stored in tensors)
    assert sum(stored.bytes for _, stored in tensors) <= len(whole)


def _index(change: Callable[[dict[str, str]], Any]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        index = path / "model.safetensors.index.json"
        content = json.loads(index.read_text())
        changed = change(content["weight_map"])
        index.write_text(json.dumps(content if changed is None else changed))

    return edit


def _first(names: dict[str, str]) -> str:
    return next(iter(names))


INDEXES: dict[str, tuple[Callable[[Path], None], str]] = {
    "outside": (_index(lambda names: names.update({_first(names): "../model.safetensors"})), "outside"),
    "absolute": (_index(lambda names: names.update({_first(names): "/etc/passwd"})), "outside"),
    "missing file": (_index(lambda names: names.update({_first(names): "other.safetensors"})), "missing"),
    "missing tensor": (_index(lambda names: names.update({"more": names[_first(names)]})), "more"),
    "no map": (_index(lambda names: {"weight_map": None}), "weight_map"),
    "no names": (_index(lambda names: {"weight_map": {"a": 1}}), "weight_map"),
    "not JSON": (lambda path: (path / "model.safetensors.index.json").write_text("{") and None, "JSON"),
}  # fmt: skip


@pytest.mark.parametrize("damage", INDEXES)
def test_an_index_that_lies_is_a_fault(damage: str, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "base", shards=True)
    edit, words = INDEXES[damage]
    edit(path)
    faults = open_weights(path).faults
    assert faults
    assert words in faults[0]


def test_a_pickle_is_named_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch harm'\ntR.")
    weights = open_weights(tmp_path)
    assert weights.pickle
    assert weights.names == ()


@pytest.mark.parametrize("file", ["tf_model.h5", "flax_model.msgpack", "model.onnx"])
def test_other_forms_are_refused_by_name(tmp_path: Path, file: str) -> None:
    (tmp_path / file).touch()
    with pytest.raises(ModelError, match=file):
        open_weights(tmp_path)


def test_no_weights_at_all(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights"):
        open_weights(tmp_path)
