"""Names become the directories that Hugging Face's libraries would find; nothing is downloaded unasked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bertcli.errors import ModelError, UsageError
from bertcli.models import library
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.library import cache_folder, local_models, resolve, select_files
from tests.conftest import Make

HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, found through HF_HOME."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf" / "hub"


def _add(cache: Path, name: str, source: Path, commit: str = HASH, *, ref: bool = True) -> Path:
    """Store a model as huggingface_hub does: files as blobs, linked from a snapshot."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    for number, file in enumerate(sorted(source.iterdir())):
        shutil.copy(file, repository / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    if ref:
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    return snapshot


def test_the_cache_is_where_the_hub_library_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path.home()
    assert cache_folder({}) == home / ".cache/huggingface/hub"
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/huggingface/hub")
    assert cache_folder({"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/x"}) == home / "hf/hub"
    assert cache_folder({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}) == Path("/c")
    monkeypatch.setenv("SOMEWHERE", "/disk")
    assert cache_folder({"HF_HUB_CACHE": "$SOMEWHERE/c"}) == Path("/disk/c")


def test_a_directory_is_itself(checkpoints: Make) -> None:
    assert resolve(str(checkpoints("bert"))) == checkpoints("bert")


def test_a_name_finds_its_snapshot_through_links(cache: Path, checkpoints: Make) -> None:
    snapshot = _add(cache, "owner/tiny", checkpoints("bert", "label"))
    assert resolve("owner/tiny") == snapshot
    assert resolve("tiny") == snapshot
    checkpoint = open_checkpoint(resolve("tiny"))
    assert checkpoint.name == "owner/tiny"
    assert checkpoint.weights.faults == ()


def test_the_branch_main_decides_between_snapshots(cache: Path, checkpoints: Make) -> None:
    main = _add(cache, "owner/tiny", checkpoints("bert"))
    _add(cache, "owner/tiny", checkpoints("bert"), "f" * 40, ref=False)
    assert resolve("owner/tiny") == main


def test_a_lone_snapshot_needs_no_branch(cache: Path, checkpoints: Make) -> None:
    snapshot = _add(cache, "tiny", checkpoints("bert"), ref=False)
    assert resolve("tiny") == snapshot


def test_two_owners_of_a_name_are_both_told(cache: Path, checkpoints: Make) -> None:
    _add(cache, "one/tiny", checkpoints("bert"))
    _add(cache, "two/tiny", checkpoints("bert"))
    with pytest.raises(ModelError) as error:
        resolve("tiny")
    assert "one/tiny, two/tiny" in (error.value.hint or "")


@pytest.mark.parametrize("mistyped", ["owner/tiny-bret", "tiny-bertt", "onwer/tiny-bert"])
def test_a_mistyped_name_meets_the_nearest(mistyped: str, cache: Path, checkpoints: Make) -> None:
    _add(cache, "owner/tiny-bert", checkpoints("bert"))
    with pytest.raises(ModelError, match=mistyped) as error:
        resolve(mistyped)
    assert "did you mean owner/tiny-bert?" in (error.value.hint or "")


def test_an_unknown_name_is_not_downloaded_but_shown_how() -> None:
    with pytest.raises(ModelError, match="on this machine") as error:
        resolve("owner/unheard-of")
    assert "bertcli models pull owner/unheard-of" in (error.value.hint or "")


def test_a_file_and_a_missing_path_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").touch()
    with pytest.raises(ModelError, match="is a file") as error:
        resolve(str(tmp_path / "model.safetensors"))
    assert f"-m {tmp_path}" in (error.value.hint or "")
    with pytest.raises(ModelError, match="no such model directory"):
        resolve("./not here")


def test_without_a_name_the_bundled_model_or_a_plain_word(
    checkpoints: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "BUNDLED", tmp_path / "none")
    with pytest.raises(ModelError, match="no model is named") as error:
        resolve(None)
    assert "-m" in (error.value.hint or "")
    monkeypatch.setattr(library, "BUNDLED", checkpoints("skills"))
    assert resolve(None) == resolve("bundled") == checkpoints("skills")
    assert [entry.name for entry in local_models()] == ["bundled"]


def test_the_list_holds_models_and_nothing_else(cache: Path, checkpoints: Make) -> None:
    assert [entry.name for entry in local_models() if entry.name != "bundled"] == []
    _add(cache, "b/two", checkpoints("bert"))
    _add(cache, "a/one", checkpoints("roberta"))
    (cache / "models--empty--snapshot" / "snapshots" / HASH).mkdir(parents=True)
    (cache / "datasets--a--b").mkdir()
    (cache / "models--no--snapshots").mkdir()
    assert [entry.name for entry in local_models() if entry.name != "bundled"] == ["a/one", "b/two"]


REPOSITORY = [
    ".gitattributes", "README.md", "config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5",
    "rust_model.ot", "onnx/model.onnx", "openvino/openvino_model.xml", "tokenizer.json",
    "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "modules.json", "1_Pooling/config.json",
    "modeling_custom.py", "sentence_bert_config.json", "spiece.model", "2_Dense/model.safetensors",
    "2_Dense/pytorch_model.bin", "../config.json", "flax_model.msgpack", "model.fp16.safetensors",
]  # fmt: skip


def test_of_a_repository_only_what_is_needed_is_taken() -> None:
    assert select_files(REPOSITORY, "a/b", allow_pickle=True) == sorted([
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
        "special_tokens_map.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json",
        "spiece.model", "2_Dense/model.safetensors",
    ])  # fmt: skip


def test_shards_are_taken_with_their_index() -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    files = ["config.json", *shards, "model.safetensors.index.json", "pytorch_model.bin.index.json"]
    assert select_files(files, "a/b", allow_pickle=False) == sorted(
        ["config.json", *shards, "model.safetensors.index.json"]
    )


def test_an_adapter_is_taken() -> None:
    files = [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "adapter_model.bin",
        "optimizer.pt",
    ]
    expected = ["adapter_config.json", "adapter_model.safetensors"]
    assert select_files(files, "a/b", allow_pickle=False) == expected


def test_pickles_are_taken_only_with_leave() -> None:
    files = ["config.json", "pytorch_model.bin", "training_args.bin"]
    with pytest.raises(ModelError, match="pickle") as error:
        select_files(files, "a/b", allow_pickle=False)
    assert "--allow-pickle" in (error.value.hint or "")
    assert select_files(files, "a/b", allow_pickle=True) == ["config.json", "pytorch_model.bin"]
    with pytest.raises(ModelError, match="no weights"):
        select_files(["config.json", "tf_model.h5"], "a/b", allow_pickle=True)


@pytest.mark.parametrize("name", ["../b", "a/b/c", "https://huggingface.co/a/b", "", "a b"])
def test_a_name_that_is_none_is_not_asked_for(name: str) -> None:
    with pytest.raises(UsageError):
        library.pull(name)


def test_pulling_offline_is_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fail(self: object, name: str) -> None:
        raise ConnectionError("Network is unreachable\nand more")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    with pytest.raises(ModelError, match=r"a/b could not be downloaded: Network is unreachable$") as error:
        library.pull("a/b")
    assert "network" in (error.value.hint or "")


def test_a_fault_of_our_own_is_not_blamed_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fail(self: object, name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    with pytest.raises(KeyError):
        library.pull("a/b")


def test_pulling_asks_for_exactly_the_files_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub
    from huggingface_hub.hf_api import ModelInfo

    asked: dict[str, object] = {}

    def info(self: object, name: str) -> ModelInfo:
        files = [{"rfilename": file} for file in ("config.json", "model.safetensors", "pytorch_model.bin")]
        return ModelInfo(id=name, sha=HASH, siblings=files)

    def download(name: str, **arguments: object) -> str:
        asked.update(arguments, name=name)
        return os.fspath(tmp_path)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert library.pull("a/b") == tmp_path
    assert asked == {"name": "a/b", "revision": HASH, "allow_patterns": ["config.json", "model.safetensors"]}
