"""Compare bertcli with what people run, on this machine and on texts of your own.

    pip install '.[plot]'
    python -m tests.benchmarks FILE --report bench.md --plot bench.svg
    python -m tests.benchmarks FILE --quick

FILE holds mixed texts, one a line. `--model` is a sentence-transformers model (all-MiniLM-L6-v2, from the
registry), whose encoder gets random heads for the tasks it has none for; `--fill-model` is a masked language
model (the bundled one). The peers are installed from the registry into --peers at the first run. Report and
picture are written after each contest. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bertcli.engines.device import choose_dtype
from bertcli.models.library import BUNDLED
from tests.benchmarks import checkpoints, environments, report, texts
from tests.benchmarks.contest import Contestant, hold
from tests.benchmarks.limit import matrix_rate, operations
from tests.benchmarks.processes import measured as measured_processes
from tests.benchmarks.report import Measured

TASKS = ("embed", "label", "label-77", "fill", "tag")
SHAPED_TASKS = ("embed", "label")  # what more classes, masks or tags cost does not hang on a text's length
BASE_TASKS = ("embed", "label")
ROUNDS, QUICK_ROUNDS = 5, 3
TEXTS, QUICK_TEXTS = 256, 96
FEWER_FOR_BASE = 4  # times: a token takes eight times as long
MASK = "[MASK]"
CALIBRATION_TEXTS = 200  # the last of the file
NEEDS = {"onnxruntime": "onnx", "openvino": "openvino"}  # the environment of a peer


def main() -> None:
    options = parsed()
    folder = Path(options.work)
    folder.mkdir(parents=True, exist_ok=True)
    needed = {NEEDS[peer] for peer in options.against}
    pythons = {name: environments.python_of(name, Path(options.peers)) for name in {"peers"} | needed}
    options.model = options.model or environments.model_of(pythons["peers"], folder)
    lines = texts.read(Path(options.file))
    calibration = folder / "calibration.txt"
    calibration.write_text("\n".join(lines[-CALIBRATION_TEXTS:]), encoding="utf-8")
    told = [f"* {name}: {json.dumps(environments.versions(python))}" for name, python in pythons.items()]
    found: list[Measured] = []
    for task, model, shape in plan(options, folder):
        count = texts.count(shape, options.texts) // (FEWER_FOR_BASE if is_base(model) else 1)
        asked = texts.shaped(lines, shape, count)
        asked = texts.masked(asked, MASK) if task == "fill" else asked
        print(f"{task}, {model.name}, {shape}", file=sys.stderr)
        measured = compared(task, model, shape, asked, pythons, options.rounds, folder, options.against)
        if measured.broken is not None:
            print(f"  left out: {measured.broken}", file=sys.stderr)
            continue
        found.append(measured)
        print("\n".join(report.contest(found[-1])), flush=True)
        write(options, told, found)
    if not options.no_processes:
        sample = folder / "sample.txt"
        sample.write_text("\n".join(lines[: options.texts]) + "\n", encoding="utf-8")
        whole = measured_processes(
            Path(options.fill_model), Path(options.model), sample, pythons["peers"], options.rounds, folder
        )
        table = list(report.processes(list(whole)))
        print("\n".join(table))
        write(options, told, found, table)


def write(
    options: argparse.Namespace, told: Sequence[str], found: Sequence[Measured], more: Sequence[str] = ()
) -> None:
    """The report and the picture of all contests so far."""
    if options.report:
        pages = [*told, "", *report.summary(found), *more]
        pages += [line for each in found for line in report.contest(each)]
        Path(options.report).write_text("\n".join(pages), encoding="utf-8")
    if options.plot and found:
        from tests.benchmarks.plot import draw

        draw(found, Path(options.plot))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", help="mixed texts, one a line")
    parser.add_argument("--model", help="a sentence-transformers model of the BERT family")
    parser.add_argument("--fill-model", default=str(BUNDLED), help="a masked language model")
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=list(TASKS))
    parser.add_argument("--shapes", nargs="+", choices=texts.SHAPES, default=list(texts.SHAPES))
    parser.add_argument("--against", nargs="*", choices=NEEDS, default=list(NEEDS), help="peers beside these")
    parser.add_argument("--no-base", action="store_true", help="leave out the model of BERT-base's size")
    parser.add_argument("--no-processes", action="store_true", help="leave out whole processes")
    parser.add_argument(
        "--texts", type=int, default=TEXTS, help="of mixed lengths; of the others as many tokens"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="that are timed; medians are told")
    parser.add_argument("--quick", action="store_true", help="few mixed texts, one model, three rounds")
    parser.add_argument("--peers", default="build/peers", help="where the peers are installed")
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir(), "bertcli-benchmarks")))
    parser.add_argument("--report", help="a Markdown file to write")
    parser.add_argument("--plot", help="a picture to write, .svg or .png")
    options = parser.parse_args()
    if options.quick:
        options.texts, options.rounds = QUICK_TEXTS, QUICK_ROUNDS
        options.shapes, options.no_base = ["mixed"], True
    return options


def plan(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path, str]]:
    """(task, checkpoint, shape) of each contest, the mixed texts of all tasks first."""
    small, filler = Path(options.model), Path(options.fill_model)
    for shape in options.shapes:
        for task in options.tasks:
            if shape == "mixed" or task in SHAPED_TASKS:
                yield task, filler if task == "fill" else checkpoints.with_head(small, task, folder), shape
    if not options.no_base:
        large = checkpoints.base(small, folder)
        for task in BASE_TASKS:
            if task in options.tasks:
                yield task, checkpoints.with_head(large, task, folder), options.shapes[0]


def compared(
    task: str,
    model: Path,
    shape: str,
    asked: Sequence[str],
    pythons: dict[str, Path],
    rounds: int,
    folder: Path,
    against: Sequence[str],
) -> Measured:
    """The outcome of one contest."""
    tokens, needed = operations(model, task, asked)
    limits = {dtype: matrix_rate(dtype) for dtype in ("float32", "bfloat16")}
    outcomes = hold(list(contestants(task, model, pythons, folder, against)), asked, rounds, folder)
    name = checkpoints.BASE if is_base(model) else model.name
    return Measured(task, name, shape, len(asked), tokens, needed, limits, outcomes)


def contestants(
    task: str, model: Path, pythons: dict[str, Path], folder: Path, against: Sequence[str]
) -> Iterator[Contestant]:
    """Who takes part; the first is what people run."""
    shared: dict[str, Any] = {"task": task, "model": str(model), "folder": str(folder)}
    shared["calibration"] = str(folder / "calibration.txt")
    peer = pythons["peers"]
    how = "sentence-transformers" if task == "embed" else "pipeline"
    yield Contestant(f"{how}, defaults", peer, shared | {"how": how})
    if task != "embed":
        yield Contestant(f"{how}, best batch", peer, shared | {"how": how, "batch": "best"})
    lower = shared | {"how": how, "batch": "best", "dtype": "bfloat16"}
    yield Contestant(f"{how}, bfloat16", peer, lower)
    if task == "embed" and "onnxruntime" in against:
        yield Contestant(f"{how}, ONNX", pythons["onnx"], shared | {"how": how, "backend": "onnx"})
    if task in ("embed", "label", "label-77"):
        length = length_of(model, task)
        dtypes = {"onnxruntime": ("float32", "int8"), "openvino": ("bfloat16", "int8")}
        for name in against:
            for dtype in dtypes[name]:
                options = shared | {"how": name, "dtype": dtype, "length": length}
                yield Contestant(f"{name}, {dtype}", pythons[NEEDS[name]], options)
    import torch

    own = str(choose_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    for dtype in dict.fromkeys(("float32", own, "int8")):
        settings = shared | {"dtype": dtype, "own": dtype == own}
        yield Contestant(f"bertcli, {dtype}", Path(sys.executable), settings, ours=True)


def is_base(model: Path) -> bool:
    """Whether it is the model of BERT-base's size."""
    return model.name.startswith("bert-base")


def length_of(model: Path, task: str) -> int:
    """The number of tokens that texts are cut to."""
    from bertcli.models.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(model)
    return checkpoint.embed_max_length if task == "embed" else checkpoint.max_length


if __name__ == "__main__":
    main()
