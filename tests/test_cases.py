"""Golden cases: what a user types, and every byte of what they see.

`cases/COMMAND/NAME/` holds `cmd` (a shell line, run in a copy of the directory), its input files, and what
must come out: `stdout`, `stderr` and `code`. `pytest --rewrite-cases` writes the last three anew: read the
diff.

In `cmd`, $LABEL, $FILL, $EMBED … are tiny checkpoints. Times and rates of receipts are written as `# s` and
`#/s`, and paths of checkpoints by their variables, before the comparison.
"""

from __future__ import annotations

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
    if request.config.getoption("--rewrite-cases"):
        for file, text in seen.items():
            (case / file).write_text(text)
    assert seen == {file: (case / file).read_text() for file in EXPECTED}


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
        "stdout": steady(done.stdout.decode(), models),
        "stderr": steady(done.stderr.decode(), models),
        "code": f"{done.returncode}\n",
    }


def steady(text: str, models: dict[str, str]) -> str:
    """The text without what changes from run to run."""
    for name, path in models.items():
        text = text.replace(path, f"${name}").replace(Path(path).name, f"${name}")
    text = re.sub(r"\d+(\.\d+)? s\b", "# s", text)
    return re.sub(r"[\d.  ]*\d/s\b", "#/s", text)
