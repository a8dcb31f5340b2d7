"""The labels that are likely wrong, as a file of their own."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from bertcli import console
from bertcli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from bertcli.evaluation.suspects import Suspect

DELIMITERS = {".csv": ",", ".tsv": "\t"}
FIELDS = ("where", "id", "text", "given", "given_score", "likelier", "score")


def check_suspects(path: str, *, overwrite: bool) -> None:
    """Raise UsageError for a file of another format, OutputError for one that exists, before the run."""
    if _suffix(path) not in (*DELIMITERS, ".jsonl"):
        raise UsageError(
            f"--suspects {path} is neither a number nor a file of a known format",
            hint="name a .jsonl, .csv or .tsv",
        )
    if os.path.exists(path) and not overwrite:
        raise OutputError("exists already", where=path, hint="--overwrite replaces it")


def write_suspects(path: str, suspects: Sequence[Suspect], *, overwrite: bool) -> None:
    """Write all suspects, likeliest first; the file is there whole or not at all."""
    from bertcli.journal import open_output

    rows = [asdict(suspect) for suspect in suspects]
    if _suffix(path) == ".jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        file = io.StringIO()
        writer = csv.DictWriter(file, FIELDS, delimiter=DELIMITERS[_suffix(path)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = file.getvalue()
    output = open_output(path, console.claim_stdout(), overwrite=overwrite)
    output.close(True, text.encode("utf-8", "backslashreplace"))
    console.say(f"{len(rows)} labels that are likely wrong are in {path}")


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()
