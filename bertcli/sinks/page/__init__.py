"""A page of HTML to look at attention with: one file that holds everything and needs no network.

`attention.html` beside this module is the page, its script and its style; the texts go into it as JSON, one
after the other. Weights are stored in steps of 1/65535, which takes a quarter of the room of decimals.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli import console
from bertcli.journal import Mark
from bertcli.records import Result
from bertcli.sinks.compressed import ByteSink
from bertcli.sinks.jsontext import to_json
from bertcli.sinks.text import TextSink

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEMPLATE = Path(__file__).with_name("attention.html")
PLACE = "__TEXTS__"
STEPS = 65535
HEAVY = 50_000_000  # bytes that a browser takes its time over
PARTS = ("query", "key", "value")


class PageSink(TextSink):
    """Writes the page's beginning, then text after text, then its end; nothing is kept in memory."""

    def __init__(self, output: ByteSink) -> None:
        super().__init__(output)
        self._before, self._after = TEMPLATE.read_text(encoding="utf-8").split(PLACE)
        self._texts = self._bytes = 0

    def write(self, result: Result) -> None:
        data = to_json(_described(result)).replace(b"<", b"\\u003c")  # nothing in a text ends the script
        self._output.write((b",\n" if self._texts else self._before.encode("utf-8")) + data)
        self._texts += 1
        self._bytes += len(data)

    def mark(self) -> Mark | None:
        """None: a page is for a few texts, and begins again."""
        return None

    def close(self, complete: bool) -> None:
        """Finish the page. One without a text says so."""
        beginning = "" if self._texts else self._before
        self._output.close(complete, f"{beginning}{self._after}".encode() if complete else b"")
        if self._bytes > HEAVY:
            console.warn(f"the page holds {self._bytes // 1_000_000} MB: shorter or fewer texts open faster")


def _described(result: Result) -> dict[str, Any]:
    """What the page's script reads of a result."""
    record, values = result.record, result.values
    text = record.text or ""
    target = values.get("translation", record.pair)
    about = {"text": text if target is None else f"{text} / {target}"}
    if result.problem is not None:
        return about | {"error": result.problem.message}
    if record.blank:
        return about | {"error": "The text is blank."}
    maps = _maps(values) if "target_tokens" in values else [_square(values)]
    return about | {"model": values["model"], "maps": maps}


def _square(values: Mapping[str, Any]) -> dict[str, Any]:
    """The one map of an encoder: rows and columns are the same tokens."""
    names = [token["token"] for token in values["tokens"]]
    return {
        "part": "",
        "rows": names,
        "columns": names,
        "seconds": [token["part"] == 2 for token in values["tokens"]],
        "rollout": _stepped(values["rollout"]),
        **_weights(values["attention"], [values[name] for name in PARTS if name in values]),
    }


def _maps(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The three maps of an encoder-decoder, cross-attention first; its rows are named by the token written next."""
    source = [token["token"] for token in values["tokens"]]
    target = [token["token"] for token in values["target_tokens"]]
    following = [f"→ {token['next']}" for token in values["target_tokens"]]
    names = {"cross": (following, source), "encoder": (source, source), "decoder": (target, target)}
    return [
        {
            "part": part,
            "rows": rows,
            "columns": columns,
            "seconds": [False] * len(columns),
            "rollout": _stepped(values["rollout"]) if part == "encoder" else None,
            **_weights(values["attention"][part], [values[name][part] for name in PARTS if name in values]),
        }
        for part, (rows, columns) in names.items()
    ]


def _weights(weights: NDArray[Any], vectors: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Weights (layers, heads, rows, columns); queries, keys and values (layers, heads, tokens, d) as float32, where
    there are any."""
    return {
        "layers": weights.shape[0],
        "heads": weights.shape[1],
        "weights": _stepped(weights),
        "vectors": [_base64(each.astype("<f4").tobytes()) for each in vectors] or None,
        "width": vectors[0].shape[-1] if vectors else 0,
    }


def _stepped(weights: NDArray[Any]) -> str:
    """Weights of 0 to 1 in steps of 1/65535, as Base64."""
    import numpy as np

    return _base64(np.rint(np.clip(weights, 0, 1) * STEPS).astype("<u2").tobytes())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
