"""As many cases as you have time for.

python -m tests.fuzz --cases 1000000            all targets in turn
python -m tests.fuzz config --case 4711         one case again
python -m tests.fuzz jsonl --atheris -runs=1000000 (pip install atheris; guided by coverage)
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

TURN = 1.0  # seconds of a target before the next one has its turn


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--cases", type=int, default=100_000, help="in all")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, help="run only this one")
    parser.add_argument(
        "--atheris", action="store_true", help="guided by coverage; other options are libFuzzer's"
    )
    options, others = parser.parse_known_args()
    if options.atheris:
        return _guided(options.targets, others)
    with tempfile.TemporaryDirectory() as folder:
        found = _targets(Path(folder), options.targets)
        if options.case is not None:
            for target in found.values():
                target.run(target.make(random.Random(options.case)))
            return 0
        return _turns(found, options.first, options.cases)


def _turns(found: dict[str, Target], first: int, cases: int) -> int:
    """Run the cases, each target for as long as the others, and report what failed; exit code 1 if anything
    did."""
    began, failures = time.monotonic(), 0
    done = dict.fromkeys(found, 0)
    while sum(done.values()) < cases:
        for name, target in found.items():
            turn = time.monotonic() + TURN
            while time.monotonic() < turn:
                failures += not _passes(name, target, first + done[name])
                done[name] += 1
        seconds = time.monotonic() - began
        print(f"{sum(done.values())} cases, {failures} failed, {seconds:.0f} s: {done}", flush=True)
    return 1 if failures else 0


def _passes(name: str, target: Target, case: int) -> bool:
    try:
        target.run(target.make(random.Random(case)))
    except BaseException as error:  # a panic of Rust is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        print(f"FAILED: python -m tests.fuzz {name} --case {case}", flush=True)
        traceback.print_exception(error, limit=-6)
        return False
    return True


def _guided(names: list[str], others: list[str]) -> int:
    """Hand one target to libFuzzer, with a hundred cases to start from."""
    import atheris

    with tempfile.TemporaryDirectory() as folder:
        with atheris.instrument_imports(include=["bertcli"]):
            (name, target), *_ = _targets(Path(folder), names).items()
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for case in range(100):
            (corpus / str(case)).write_bytes(target.make(random.Random(case)))
        print(f"atheris on {name}", flush=True)
        atheris.Setup([sys.argv[0], *others, str(corpus)], target.run)
        atheris.Fuzz()
    return 0


def _targets(folder: Path, names: list[str]) -> dict[str, Target]:
    from tests.checkpoints import build, build_sentence, build_skills
    from tests.fuzz.targets import build_models, targets  # not before: atheris instruments what is imported

    made: dict[str, Path] = {}

    def make(family: str, kind: str = "base", **settings: Any) -> Path:
        path = folder / f"{family}-{len(made)}"
        path.mkdir()
        made[json.dumps([family, kind])] = path
        if family == "skills":
            return build_skills(path)
        return build_sentence(path) if family == "sentence" else build(family, kind, path, **settings)

    found = targets(build_models(make), folder / "targets")
    unknown = set(names) - set(found)
    if unknown:
        raise SystemExit(f"no such target: {', '.join(unknown)}; there are {', '.join(found)}")
    return {name: target for name, target in found.items() if not names or name in names}


if __name__ == "__main__":
    raise SystemExit(main())
