"""What `bertcli models` prints: lists and descriptions of models, findings of a check, and what a conversion did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bertcli.console.drawing import BOLD, CYAN, DIM, RED, YELLOW, grouped
from bertcli.errors import ModelError
from bertcli.reports.lines import Line, columns

if TYPE_CHECKING:
    from bertcli.models.check import Finding
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.library import Entry

UNITS = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))


def list_row(entry: Entry) -> dict[str, Any]:
    """A row of the list; a model that cannot be opened says why in `problem`."""
    from bertcli.models.checkpoint import open_checkpoint

    row: dict[str, Any] = {"name": entry.name, "architecture": None, "heads": [], "bytes": None}
    try:
        checkpoint = open_checkpoint(entry.path)
    except ModelError as error:
        return row | {"path": str(entry.path), "problem": error.message}
    return row | {
        "architecture": checkpoint.architecture or checkpoint.model_type,
        "heads": list(checkpoint.heads),
        "bytes": _bytes(checkpoint),
        "path": str(entry.path),
    }


def list_page(rows: list[dict[str, Any]]) -> Iterator[Line]:
    """The rows of the list as a table."""
    if not rows:
        return
    cells = [("MODEL", "SIZE", "KIND", "HEADS")]
    for row in rows:
        heads = row.get("problem") or ", ".join(row["heads"]) or "-"
        cells.append((row["name"], _size(row["bytes"]), row["architecture"] or "-", heads))
    header, *lines = columns(cells, (CYAN, "", "", ""))
    yield [(text, DIM) for text, _ in header]
    yield from lines


def info_row(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `models info` says of a model."""
    from bertcli.engines.choosing import engines_for

    pooling, weights = checkpoint.pooling, checkpoint.weights
    return {
        "name": checkpoint.name,
        "path": str(checkpoint.path),
        "adapter": None if checkpoint.adapter is None else str(checkpoint.adapter),
        "architecture": checkpoint.architecture,
        "model_type": checkpoint.model_type,
        "parameters": None if weights.pickle else checkpoint.parameters(),
        "layers": checkpoint.layers,
        "hidden_size": checkpoint.hidden_size,
        "attention_heads": checkpoint.attention_heads,
        "vocab_size": checkpoint.vocab_size,
        "max_length": checkpoint.max_length,
        "embed_max_length": checkpoint.embed_max_length,
        "pooling": {
            "mode": pooling.mode if pooling.multi is None else "multi",
            "modules": [type(module).__name__ for module in (pooling.multi or pooling).modules],
            "normalize": pooling.normalize,
            "dim": pooling.dim,
            "declared": pooling.declared,
            "prompts": dict(pooling.prompts),
            "default_prompt": pooling.default_prompt,
        },
        "heads": [
            {
                "name": head.name,
                "kind": head.kind,
                "labels": list(head.labels),
                "problem": head.problem,
                "temperature": head.temperature if head.kind == "label" else None,
            }
            for head in checkpoint.heads.values()
        ],
        "dtypes": sorted({weights.dtype(name) for name in weights.names if name.endswith(".weight")}),
        "files": [file.name for file in weights.files],
        "bytes": _bytes(checkpoint),
        "fingerprint": checkpoint.fingerprint(),
        "engines": engines_for(checkpoint),
    }


def info_page(row: dict[str, Any]) -> Iterator[Line]:
    """What `info_row` returned, a fact a line."""
    yield [(row["name"], f"{BOLD};{CYAN}")]
    kind = row["architecture"] or row["model_type"]
    count = f", {grouped(row['parameters'])} parameters" if row["parameters"] else ""
    dtypes = ", ".join(row["dtypes"]) or "pickle"
    pooling = row["pooling"]
    pooled = "a vector for each token" if pooling["mode"] == "multi" else f"{pooling['mode']} pooling"
    embeds = ", ".join([pooled, *pooling["modules"]])
    embeds += ", length 1" if pooling["normalize"] else ""
    if pooling["dim"] is not None:
        embeds += f", the first {pooling['dim']} dimensions"
    facts = [
        ("kind", f"{kind}{count}"),
        (
            "size",
            f"{row['layers']} layers of {row['attention_heads']} heads, hidden size {row['hidden_size']}",
        ),
        ("vocabulary", f"{grouped(row['vocab_size'])} pieces"),
        ("length", f"{row['max_length']} tokens, {row['embed_max_length']} for embeddings"),
        ("embeddings", embeds if pooling["declared"] else f"{embeds} (assumed: the model says nothing)"),
        *(("prompt", f"{name}: {text!r}") for name, text in pooling["prompts"].items()),
        ("weights", f"{', '.join(row['files'])} ({dtypes}, {_size(row['bytes'])})"),
        ("path", row["path"]),
        *([] if row["adapter"] is None else [("adapter", row["adapter"])]),
        ("fingerprint", row["fingerprint"]),
        ("engines", ", ".join(row["engines"])),
        *(("head", _head_line(head)) for head in row["heads"]),
    ]
    if not row["heads"]:
        facts.append(("head", "none: embeddings only"))
    yield from columns(facts, (DIM, ""))


def _head_line(head: dict[str, Any]) -> str:
    name = head["name"] if head["name"] == head["kind"] else f"{head['name']} ({head['kind']})"
    line = f"{name}: {', '.join(head['labels'])}" if head["labels"] else name
    return line if head["temperature"] in (None, 1.0) else f"{line} (temperature {head['temperature']:.4g})"


def check_page(findings: list[Finding]) -> Iterator[Line]:
    """Each finding with what to do about it."""
    words = {"refuse": ("refused", RED), "warn": ("warning", YELLOW), "proved": ("proved ", CYAN)}
    for found in findings:
        word, style = words[found.severity]
        yield [(f"{word}  ", style), (found.message, "")]
        if found.hint:
            yield [(" " * 9, ""), (found.hint, DIM)]


def convert_page(name: str, row: dict[str, Any]) -> Iterator[Line]:
    """What was changed in the copy of the model `name`, and how far their answers differ."""
    yield [(row["path"], CYAN), (f": {', '.join(row['changes']) or 'nothing had to be changed'}", "")]
    same = f"its answers are those of {name}: {', '.join(row['compared'])} differ by {row['difference']:.1g} at most"
    yield [(same, "")]


def _bytes(checkpoint: Checkpoint) -> int:
    return sum(file.stat().st_size for file in checkpoint.weights.files)


def _size(size: int | None) -> str:
    """`90.9 MB`, in decimal units as disks have them."""
    if size is None:
        return "-"
    for unit, name in UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"
