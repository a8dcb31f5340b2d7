"""Golden cases: what a user types, and what they see.

`cases/COMMAND/NAME/` has `cmd` (a shell line, run in a copy of the directory), its input files, and the expected
`stdout`, `stderr` and `code`. `pytest --rewrite-cases` writes the last three where they differ: read the diff.

In `cmd`, $LABEL, $FILL, $EMBED … are tiny checkpoints. Before the comparison, times and rates of receipts are
written as `# s` and `#/s`, and paths of checkpoints by their variables. Numbers with a decimal point are compared
through a tolerance and by their digits, all other text exactly: the oracle tests are what checks numbers.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CASES = Path(__file__).parent / "cases"
NAMES = sorted(str(path.parent.relative_to(CASES)) for path in CASES.glob("*/*/cmd"))
EXPECTED = ("stdout", "stderr", "code")
NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")
RELATIVE, ABSOLUTE = 1e-3, 2e-4  # tolerances; tables have 4 decimals


@pytest.fixture(scope="session")
def models(checkpoints) -> dict[str, str]:
    """Checkpoints by the variable a case names them with."""
    made = {
        "LABEL": checkpoints("bert", "label"),
        "FIVE": checkpoints("bert", "label", labels=["one", "two", "three", "four", "five"]),
        "MULTI": checkpoints(
            "bert", "label", labels=["joy", "fear", "anger"], problem_type="multi_label_classification"
        ),
        "NUMBER": checkpoints("bert", "label", labels=["LABEL_0"], problem_type="regression"),
        "NAMELESS": checkpoints("bert", "label", labels=["LABEL_0", "LABEL_1"]),
        "NLI": checkpoints("bert", "label", labels=["contradiction", "neutral", "entailment"]),
        "TAG": checkpoints("bert", "tag"),
        "ENTITIES": checkpoints("bert", "tagger"),
        "NAMELESSTAGS": checkpoints("bert", "tag", labels=["LABEL_0", "LABEL_1"]),
        "FILL": checkpoints("bert", "fill"),
        "ANSWER": checkpoints("bert", "answer"),
        "BASE": checkpoints("bert", "base"),
        "EMBED": checkpoints("sentence", "base"),
        "SKILLS": checkpoints("skills", "base"),
        "ROBERTA": checkpoints("roberta", "fill"),
    }
    return {name: str(path) for name, path in made.items()}


def test_there_are_cases():
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_case(name, models, tmp_path, request):
    case = CASES / name
    shutil.copytree(case, tmp_path, dirs_exist_ok=True)
    for expected in EXPECTED:
        (tmp_path / expected).unlink(missing_ok=True)
    (tmp_path / "home").mkdir()
    seen = run(tmp_path, (case / "cmd").read_text(), models)
    for file, text in seen.items():
        expected = case / file
        if expected.exists() and agree(text, expected.read_text()):
            continue
        if not request.config.getoption("--rewrite-cases"):
            assert text == expected.read_text(), file
        expected.write_text(text)


def agree(seen: str, expected: str) -> bool:
    """Whether two outputs are the same but for the last digits of their numbers."""
    if NUMBER.sub("#", seen) != NUMBER.sub("#", expected):
        return False
    pairs = zip(NUMBER.findall(seen), NUMBER.findall(expected), strict=True)
    return all(
        math.isclose(float(a), float(b), rel_tol=RELATIVE, abs_tol=ABSOLUTE)
        and abs(digits(a) - digits(b)) <= 1  # JSON leaves out a last digit that is 0
        for a, b in pairs
    )


def digits(number: str) -> int:
    return len(number.partition("e")[0].lstrip("-0.").replace(".", ""))


@pytest.mark.parametrize(
    ("seen", "expected", "same"),
    [
        ("a 0.4821 ━━", "a 0.4822 ━━", True),
        ("-0.120501", "-0.1205", False),
        ("1.20501e-05", "1.20502e-05", True),
        ("a 0.4821", "a 0.4841", False),
        ("a 0.482", "a 0.48213", False),
        ("a 0.4821", "b 0.4821", False),
        ("a  0.4821", "a 0.4821", False),
        ("12", "13", False),
        ("0.1 0.2", "0.1", False),
    ],
)
def test_outputs_agree_but_for_the_last_digits_of_numbers(seen, expected, same):
    assert agree(seen, expected) is same


def run(folder: Path, command: str, models: dict[str, str]) -> dict[str, str]:
    bin_folder = Path(sys.executable).parent
    environment = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        **models,
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    return {
        "stdout": batch_invariant(done.stdout.decode(), models),
        "stderr": batch_invariant(done.stderr.decode(), models),
        "code": f"{done.returncode}\n",
    }


def batch_invariant(text: str, models: dict[str, str]) -> str:
    """The text without what changes from run to run."""
    for name, path in sorted(models.items(), key=lambda item: -len(item[1])):  # one may begin as another does
        text = text.replace(path, f"${name}").replace(Path(path).name, f"${name}")
    text = re.sub(r"\d+(\.\d+)? s\b", "# s", text)
    return re.sub(r"[\d.  ]*\d/s\b", "#/s", text)
