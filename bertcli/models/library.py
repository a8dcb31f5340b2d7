"""Which models there are: the bundled one, directories, and the local Hugging Face cache.

The cache has a folder `models--OWNER--NAME` a repository, in it `refs/main` with the hash of a snapshot, and
`snapshots/HASH/` with links to the files. Nothing is downloaded but by `pull`.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertcli.errors import ModelError, UsageError, first_line
from bertcli.models.weights import SINGLE

BUNDLED = Path(__file__).parent.parent / "bundled"
BUNDLED_NAME = "bundled"
_PULL_HINT = "`bertcli models list` shows what is here, `bertcli models pull {name}` downloads a model"
_REPOSITORY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_PICKLE = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?")
_SAFETENSORS = re.compile(r"(model(-\d+-of-\d+)?|adapter_model)\.safetensors(\.index\.json)?")
_BESIDE = re.compile(r"[\w.-]+\.(json|txt|model|spm)", re.ASCII)
_MODULE = re.compile(r"\d+_\w+/(config\.json|model\.safetensors)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """A model on this machine: the name `-m` takes, and where it is."""

    name: str
    path: Path


def resolve(model: str | None) -> Path:
    """The directory of the model a user names: a directory, a name in the cache, or `bundled` (as None) for
    the one that comes along.

    `NAME` alone finds `OWNER/NAME` where only one owner has it. Raises ModelError with the nearest names.
    """
    if model is None:
        return _bundled()
    if not model.strip():
        raise UsageError(
            "the name of the model is empty", hint="give -m a directory or a name, or leave it out"
        )
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        hint = "name a directory with config.json and weights; `bertcli models list` shows some"
        if (path.parent / "config.json").exists():
            hint = f"name its directory: -m {shlex.quote(str(path.parent))}"
        raise ModelError("is a file, not a model directory", hint=hint, where=model)
    if model == BUNDLED_NAME:
        return _bundled()
    cached = {entry.name: entry.path for entry in cached_models()}
    if model in cached:
        return cached[model]
    owned = [name for name in cached if name.rpartition("/")[2] == model]
    if len(owned) == 1:
        return cached[owned[0]]
    if owned:
        raise ModelError(f"several models in the cache are called {model}", hint=f"one of {', '.join(owned)}")
    raise _unknown(model, cached)


def local_models() -> list[Entry]:
    """The bundled model, if there is one, and those of the cache by name."""
    bundled = [Entry(BUNDLED_NAME, BUNDLED)] if (BUNDLED / "config.json").is_file() else []
    return [*bundled, *cached_models()]


def cached_models() -> list[Entry]:
    """The snapshots of the Hugging Face cache that hold a model, by name."""
    folder = cache_folder()
    try:
        repositories = sorted(folder.glob("models--*"))
    except OSError as error:
        raise ModelError(
            f"cannot be read: {error.strerror}", where=str(folder), hint="check who may read the directory"
        ) from error
    entries = []
    for repository in repositories:
        snapshot = _snapshot(repository)
        if snapshot is not None:
            entries.append(Entry(repository.name.removeprefix("models--").replace("--", "/"), snapshot))
    return entries


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where Hugging Face's libraries keep models, by the same variables in the same order."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(variable):
            return _expanded(environment[variable])
    if environment.get("HF_HOME"):
        return _expanded(environment["HF_HOME"]) / "hub"
    return _expanded(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def pull(name: str, *, allow_pickle: bool = False) -> Path:
    """Download a model from the Hugging Face hub into the cache, and return its directory.

    Takes weights in safetensors, configuration and tokenizer, and nothing else of the repository; pickles
    only with `allow_pickle` where there are no safetensors. Raises ModelError when the download fails.
    """
    if not _REPOSITORY.fullmatch(name):
        raise UsageError(
            f"not a name of the Hugging Face hub: {name}", hint="such as google-bert/bert-base-uncased"
        )
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        info = HfApi().model_info(name)
        files = [sibling.rfilename for sibling in info.siblings or ()]
        wanted = select_files(files, name, allow_pickle=allow_pickle)
        return Path(
            snapshot_download(name, revision=info.sha, allow_patterns=[_literal(file) for file in wanted])
        )
    except GatedRepoError as error:
        hint = "accept its terms on huggingface.co, then log in with `hf auth login`"
        raise ModelError(f"{name} is given out only to those who accept its terms", hint=hint) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"huggingface.co has no model {name}", hint="names look like OWNER/NAME") from error
    except HfHubHTTPError as error:
        raise ModelError(
            f"huggingface.co did not answer for {name}: {first_line(error)}",
            hint="check the network and try again, or copy the model's directory here and name it by -m",
        ) from error
    except Exception as error:
        if not _is_of_network_or_disk(error):
            raise
        hint = "pull needs the network: HF_HUB_OFFLINE forbids it, HF_ENDPOINT names a mirror"
        raise ModelError(f"{name} could not be downloaded: {first_line(error)}", hint=hint) from error


def select_files(files: Sequence[str], name: str, *, allow_pickle: bool) -> list[str]:
    """The files of a repository worth having. Raises ModelError when there are no weights among them that may
    be taken."""
    beside = [file for file in files if _BESIDE.fullmatch(file) or _MODULE.fullmatch(file)]
    beside = [file for file in beside if not file.endswith(".index.json")]
    weights = [file for file in files if _SAFETENSORS.fullmatch(file)]
    if SINGLE in weights:
        weights = [SINGLE]
    pickles = [file for file in files if _PICKLE.fullmatch(file)]
    if not weights and pickles and not allow_pickle:
        raise ModelError(
            f"{name} has its weights only as a pickle ({pickles[0]}), which can hold any program",
            hint="look for a safetensors version, or trust it with --allow-pickle",
        )
    if not weights and not pickles:
        raise ModelError(
            f"{name} has no weights that bertcli reads ({SINGLE})",
            hint="ask its author for safetensors weights, or pull another model",
        )
    return sorted(beside + (weights or pickles))


def _bundled() -> Path:
    if (BUNDLED / "config.json").is_file():
        return BUNDLED
    raise ModelError(
        "no model is named, and this version has none of its own",
        hint="name one with -m: a directory, or one of `bertcli models list`",
    )


def _unknown(model: str, cached: Mapping[str, Path]) -> ModelError:
    if not _REPOSITORY.fullmatch(model):
        return ModelError("no such model directory", where=model, hint=_PULL_HINT.format(name="NAME"))
    bare = {name.rpartition("/")[2]: name for name in cached}
    near = difflib.get_close_matches(model, [*cached, *bare], n=3)
    if near:
        names = dict.fromkeys(bare.get(name, name) for name in near)
        return ModelError(
            f"no model called {model} on this machine", hint=f"did you mean {', '.join(names)}?"
        )
    return ModelError(f"no model called {model} on this machine", hint=_PULL_HINT.format(name=model))


def _snapshot(repository: Path) -> Path | None:
    """The snapshot that `refs/main` names, else the only one; None where none holds a model."""
    try:
        snapshot = (
            repository / "snapshots" / (repository / "refs" / "main").read_text(encoding="ascii").strip()
        )
        found = [snapshot]
    except (OSError, UnicodeDecodeError):
        found = list(_folders(repository / "snapshots"))
    found = [
        snapshot
        for snapshot in found
        if any((snapshot / name).is_file() for name in ("config.json", "modules.json", "adapter_config.json"))
    ]
    return found[0] if len(found) == 1 else None


def _folders(directory: Path) -> Iterator[Path]:
    if directory.is_dir():
        yield from (path for path in directory.iterdir() if path.is_dir())


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()


def _is_of_network_or_disk(error: Exception) -> bool:
    """Whether it is an OSError, or from the HTTP library, which differs between versions of the hub's."""
    library = type(error).__module__.partition(".")[0].rstrip("0123456789")
    return isinstance(error, OSError) or library in ("httpx", "httpcore", "requests", "huggingface_hub")


def _literal(file: str) -> str:
    """A pattern for exactly this file."""
    return re.sub(r"([*?\[])", r"[\1]", file)
