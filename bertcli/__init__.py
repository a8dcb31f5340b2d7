"""Stream text through a BERT on your own disk.

    import bertcli

    model = bertcli.load()                                    # the bundled model, a directory or a cached name
    list(model.label(["I loved it.", "The battery died."]))   # [{"label": "positive", "score": 0.99}, …]
    model.embed(["a text", "another"])                        # numpy array (2, 384), float32
    receipt = bertcli.run(bertcli.requests.Label(files=["a.csv"], output="b.parquet"))

Nothing is downloaded and nothing is printed: messages go to the logger `bertcli`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from bertcli import ray as ray
    from bertcli import requests as requests
    from bertcli.model import Model
    from bertcli.receipt import Receipt

__version__ = "0.4.0"
__all__ = ["load", "ray", "requests", "run"]


def load(model: str | os.PathLike[str] | None = None, **options: Any) -> Model:
    """Open a model: a directory, a name in the local Hugging Face cache, or None for the bundled one.

    `options` are those of `requests.ModelOptions`: `adapter`, `engine`, `device`, `dtype`, `threads`, `batch_tokens`,
    `allow_pickle`, `unsafe_model`. Weights are loaded when the first text is processed. Raises ModelError for a
    model that cannot be found or read.
    """
    from os import fspath

    from bertcli.model import Model
    from bertcli.requests import ModelOptions

    return Model(ModelOptions(model=None if model is None else fspath(model), **options))


def run(request: requests.StreamRequest) -> Receipt:
    """Do what the command line would: read the files of a request, write its output, return the receipt.

    Raises BertcliError (see `bertcli.errors`) for what cannot be run. Records that fail have an `error` field in
    the output and are counted in `receipt.failed`. Ctrl-C ends the run; `receipt.interrupted` is then True.
    """
    from typing import BinaryIO, cast

    from bertcli import console
    from bertcli.errors import UsageError
    from bertcli.runs.run import run

    if request.output is None or request.output == "-":
        raise UsageError("the request names no output", hint='name a file: output="labelled.jsonl"')
    if not request.files and not request.texts:
        raise UsageError("the request names no input", hint='name files: files=["reviews.csv"]')
    with console.to_logger():
        return run(request, cast(BinaryIO, console.ClosedStdout()))


def __getattr__(name: str) -> Any:
    if name in ("ray", "requests"):  # imported when they are used
        from importlib import import_module

        return import_module(f"bertcli.{name}")
    raise AttributeError(f"module 'bertcli' has no attribute '{name}'")
