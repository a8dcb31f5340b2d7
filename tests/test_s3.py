"""Input and output in S3, against a server on this machine (moto)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Make

pytestmark = pytest.mark.slow
moto = pytest.importorskip("moto.server", reason='needs pip install "moto[server]" s3fs')
s3fs = pytest.importorskip("s3fs", reason='needs pip install "moto[server]" s3fs')

Run = Callable[..., "subprocess.CompletedProcess[str]"]
LINES = "".join(json.dumps({"id": number, "text": f"text {number}"}) + "\n" for number in range(40))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3fs.S3FileSystem]:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    system = s3fs.S3FileSystem(endpoint_url=endpoint, key="key", secret="secret", skip_instance_cache=True)
    system.mkdir("bucket")
    system.pipe("bucket/in.jsonl", LINES.encode())
    yield system
    system.rm("bucket", recursive=True)


@pytest.fixture
def command(checkpoints: Make, tmp_path: Path) -> list[str]:
    model = str(checkpoints("bert", "label"))
    return [sys.executable, "-m", "bertcli", "label", "-m", model, "--engine", "instant"]


@pytest.fixture
def run(command: list[str], tmp_path: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=120
        )

    return run


def test_an_object_is_what_a_file_is(s3: s3fs.S3FileSystem, run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(LINES)
    assert run("in.jsonl", "-o", "out.jsonl").returncode == 0
    done = run("s3://bucket/in.jsonl", "-o", "s3://bucket/out.jsonl")
    assert done.returncode == 0
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert s3.cat("bucket/out.jsonl") == (tmp_path / "out.jsonl").read_bytes()
    assert "exists already" in run("s3://bucket/in.jsonl", "-o", "s3://bucket/out.jsonl").stderr
    assert run("s3://bucket/in.jsonl", "-o", "s3://bucket/out.jsonl", "--overwrite").returncode == 0


def test_shards_are_merged(s3: s3fs.S3FileSystem, run: Run, tmp_path: Path, command: list[str]) -> None:
    assert run("s3://bucket/in.jsonl", "-o", "one.parquet").returncode == 0
    parts = [f"s3://bucket/{part}.parquet" for part in (1, 2)]
    for part, output in enumerate(parts, 1):
        assert run("s3://bucket/in.jsonl", "-o", output, "--shard", f"{part}/2").returncode == 0
    merge = [*command[:3], "merge", *parts, "-o", "all.parquet"]
    assert subprocess.run(merge, cwd=tmp_path, capture_output=True).returncode == 0
    parquet = pytest.importorskip("pyarrow.parquet")
    merged, one = (parquet.read_table(tmp_path / name) for name in ("all.parquet", "one.parquet"))
    assert merged.equals(one)
    assert merged.schema.equals(one.schema)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_upload_does_not_appear(
    number: int, s3: s3fs.S3FileSystem, command: list[str]
) -> None:
    process = subprocess.Popen(
        [*command, "-o", "s3://bucket/out.jsonl"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    line = json.dumps({"text": "a text", "more": "x" * 100_000}) + "\n"
    process.stdin.write(line * 200)  # 20 MB of results: more than one part of an upload
    process.stdin.flush()
    deadline = time.monotonic() + 100
    while not s3.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate()
    s3.invalidate_cache()
    assert s3.ls("bucket") == ["bucket/in.jsonl"]
    left = s3.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads", [])
    assert bool(left) == (number == signal.SIGKILL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("s3://bucket/none.jsonl",), "s3://bucket/none.jsonl: does not exist"),
        (("s3://none/in.jsonl",), "s3://none/in.jsonl: does not exist"),
        (("s3://bucket/",), "is a directory"),
        (("s3://bucket/in.jsonl", "-o", "s3://none/out.jsonl"), "there is no bucket 'none'"),
    ],
)
def test_what_is_missing_is_said_in_two_lines(
    arguments: tuple[str, ...], message: str, s3: s3fs.S3FileSystem, run: Run
) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 2


def test_missing_credentials_are_said_in_two_lines(
    s3: s3fs.S3FileSystem, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    done = run("s3://bucket/in.jsonl")
    assert done.returncode == 1
    assert "credentials" in done.stderr
    assert done.stderr.count("\n") == 2
