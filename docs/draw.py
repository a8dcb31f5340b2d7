"""Draw the pictures of docs/attention.md: `python docs/draw.py`. Weights are those of `bertcli attention`."""

from __future__ import annotations

import base64
import json
import math
import struct
import subprocess
import zlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("pictures")
TEXT = "The cat sat on the mat because it was tired."
LAYER, HEAD = 3, 2

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1b1e24 }
.quiet { fill: #5d6470; font-size: 12px }
.box { fill: #eef2f9; stroke: #7b8aa5 }
.sum { fill: #fff4e5; stroke: #c98a3a }
.line { stroke: #7b8aa5; fill: none; stroke-width: 1.5 }
.heat { fill: #1f4fa8 }
.ground { fill: #f3f5f9 }
@media (prefers-color-scheme: dark) {
  text { fill: #e8eaee } .quiet { fill: #a0a7b4 }
  .box { fill: #232833; stroke: #7f8ca6 } .sum { fill: #3a2f20; stroke: #c98a3a }
  .heat { fill: #ffc266 } .ground { fill: #22262e }
}
"""
ARROW = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
    ' orient="auto"><path d="M0 0L8 4L0 8z" fill="#7b8aa5"/></marker></defs>'
)


PIXELS = 'style="image-rendering: pixelated"'


def attention(*options: str) -> dict[str, Any]:
    """What `bertcli attention` says of TEXT."""
    command = ["bertcli", "attention", "-q", "-f", "jsonl", "-t", TEXT, *options]
    result: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return result


def svg(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
        f' height="{height:g}" role="img"><title>{escape(title)}</title>\n<style>{STYLE}</style>\n{ARROW}\n'
        f"{body}\n</svg>\n"
    )


def text(x: float, y: float, said: str, *, anchor: str = "middle", kind: str = "", turn: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:g} {y:g})"' if turn else ""
    styled = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{styled}{turned}>{escape(said)}</text>'


def box(x: float, y: float, width: float, said: str, *, kind: str = "box", height: float = 30) -> str:
    frame = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" class="{kind}"/>'
    return frame + text(x + width / 2, y + height / 2 + 4.5, said)


def arrow(path: str) -> str:
    return f'<path d="{path}" class="line" marker-end="url(#tip)"/>'


def shades(rows: Sequence[Sequence[float]], x: float, y: float, size: float) -> str:
    """Numbers of 0 to 1 as squares in the colour of the theme, by their square root: a picture as a mask."""
    width, height = size * len(rows[0]), size * len(rows)
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    name = f"shades{x:g}-{y:g}"
    data = base64.b64encode(
        png([[round(255 * math.sqrt(number)) for number in row] for row in rows])
    ).decode()
    return (
        f'<rect {place} class="ground"/><mask id="{name}" {PIXELS}><image {place} {PIXELS}'
        f' preserveAspectRatio="none" href="data:image/png;base64,{data}"/></mask>'
        f'<rect {place} class="heat" mask="url(#{name})"/>'
    )


def png(rows: Sequence[Sequence[int]]) -> bytes:
    """A picture of 8-bit greys (Portable Network Graphics, second edition, sections 5 and 11)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    lines = b"".join(b"\0" + bytes(row) for row in rows)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def embeddings() -> str:
    """A token's vector is a sum of three."""
    tokens = ["[CLS]", "the", "cat", "sat", "[SEP]", "it", "slept", "[SEP]"]
    parts = []
    for place, token in enumerate(tokens):
        x, part = 96 + 78 * place, int(place > 4)
        parts += [
            text(x + 35, 22, token), box(x, 34, 70, "word"), text(x + 35, 80, "+"),
            box(x, 88, 70, f"place {place}"), text(x + 35, 134, "+"), box(x, 142, 70, f"text {part}"),
            arrow(f"M{x + 35} 174V196"), box(x, 200, 70, "norm", kind="sum"), arrow(f"M{x + 35} 232V252"),
        ]  # fmt: skip
    names = ((54, "what it is"), (108, "where"), (162, "which text"), (220, "layer norm"))
    parts += [text(88, y, said, anchor="end", kind="quiet") for y, said in names]
    parts.append(text(96 + 78 * 4, 270, "one vector a token, into layer 1", kind="quiet"))
    return svg(730, 280, "Three embeddings are added up for each token", parts)


def layers() -> str:
    """A layer of BERT, and one of the original decoder."""
    parts = [text(140, 20, "a layer of BERT"), text(520, 20, "a layer of the first Transformer's decoder")]
    parts += stack(60, [("self-attention", "all tokens"), ("feed-forward", "")], 380)
    parts += stack(
        430,
        [
            ("masked self-attention", "only what came before"),
            ("attention to the encoder", "its keys and values"),
            ("feed-forward", ""),
        ],
        380,
    )
    return svg(760, 420, "An encoder layer has two steps, a decoder layer three", parts)


def stack(x: float, steps: Sequence[tuple[str, str]], bottom: float) -> list[str]:
    """Steps from bottom to top, each with its residual and its normalisation."""
    parts = [text(x + 85, bottom + 24, "from the layer below", kind="quiet")]
    y, height = bottom, 112
    for name, remark in steps:
        parts += [
            arrow(f"M{x + 85} {y + 6}V{y - 18}"), box(x, y - 50, 170, name),
            arrow(f"M{x + 85} {y - 50}V{y - 66}"), box(x, y - 98, 170, "add, layer norm", kind="sum"),
            arrow(f"M{x + 85} {y}H{x - 24}V{y - 83}H{x - 3}"),
        ]  # fmt: skip
        if remark:
            parts.append(text(x + 178, y - 30, remark, anchor="start", kind="quiet"))
        y -= height
    return [*parts, arrow(f"M{x + 85} {y + 14}V{y - 4}")]


def one_head(result: dict[str, Any]) -> str:
    """The map of one head with its tokens."""
    names, size = [token["token"] for token in result["tokens"]], 24
    left, top = 80, 76
    parts = [shades(result["attention"], left, top, size)]
    for place, name in enumerate(names):
        middle = size * (place + 0.5)
        parts.append(text(left - 8, top + middle + 4, name, anchor="end"))
        parts.append(text(left + middle + 4, top - 8, name, anchor="start", turn=True))
    side = size * len(names)
    return svg(left + side + 20, top + side + 10, f"Layer {LAYER}, head {HEAD}: who looks at whom", parts)


def all_heads(result: dict[str, Any]) -> str:
    """The maps of all heads, a row a layer."""
    maps = result["attention"]
    gap, size = 58, 52 / len(maps[0][0])
    parts = [text(56 + gap * head, 16, str(head + 1), kind="quiet") for head in range(len(maps[0]))]
    for layer, heads in enumerate(maps):
        parts.append(text(14, 55 + gap * layer, str(layer + 1), kind="quiet"))
        parts += [
            shades(weights, 30 + gap * head, 24 + gap * layer, size) for head, weights in enumerate(heads)
        ]
    return svg(40 + gap * len(maps[0]), 30 + gap * len(maps), "Every head: a row a layer", parts)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    pictures = {
        "embeddings": embeddings(),
        "layers": layers(),
        "head": one_head(attention("--layer", str(LAYER), "--head", str(HEAD))),
        "heads": all_heads(attention("--layer", "all", "--head", "all")),
    }
    for name, picture in pictures.items():
        (FOLDER / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
