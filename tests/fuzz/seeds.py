"""Sound inputs, and the ways in which a case departs from them.

Every case is made from a number: the same number gives the same bytes on every machine.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

# Pieces of bytes that mean something to one of the readers.
TOKENS: tuple[bytes, ...] = (
    b"\n", b"\r\n", b"\r", b"\0", b"\t", b",", b";", b'"', b'""', b"'", b"\\", b"{", b"}", b"[", b"]", b":",
    b"null", b"NaN", b"-Infinity", b"1e400", b"-0.0", b"9" * 25, b"\\ud800", b"\\u0000", b'"text":', b"text",
    b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\x1b[2J",
    b"\x1f\x8b\x08", b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PAR1\x15", b"# ", b"-DOCSTART-", b"&x",
    b"*x", b"!!python/object:os.system", b"- ", b"<<: ", b"---\n", b"%", b"? ", b"|", b"1-2", b"5.1",
    "\u2028\x85\u202e".encode(),
)  # fmt: skip

# Values that mean something in a JSON document.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 255, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.5, -0.0, 1e300,
    float("nan"), float("inf"), "", "a", "[MASK]", "\ud800", "\x1b[2J", "../../etc/passwd", "/etc/passwd",
    "model.safetensors", "bert", "gpt2", "F32", "BF16", "BOOL", [], [0], [2**62, 4], [-1], [1, 2, 3], ["a"],
    [[]], {}, {"a": 1}, {"0": "a"}, {"0": "\x1b]0;x\x07"}, {"type": "Sequence"}, "x" * 5000, [[[[[[[[1]]]]]]]],
)  # fmt: skip


def mangled(seed: bytes, chance: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """`seed` after a few accidents: bytes changed, cut out, doubled, and pieces put in."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 3, 5, 12))):
        at = chance.randrange(len(data) + 1)
        stop = min(len(data), at + chance.choice((1, 2, 4, 16, 200)))
        match chance.randrange(7):
            case 0:
                data[at:at] = chance.choice(TOKENS) * chance.choice((1, 1, 1, 3, 50))
            case 1:
                del data[at:stop]
            case 2:
                data[at:at] = data[at:stop]
            case 3:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 4:
                data[at:stop] = chance.randbytes(stop - at)
            case 5 if others:
                other = chance.choice(others)
                data[at:] = other[chance.randrange(len(other) + 1) :]
            case _:
                del data[at + chance.randrange(2000) :]
    return bytes(data)


def altered(document: Any, chance: random.Random) -> Any:
    """A JSON document with a few of its values replaced, removed, renamed or repeated."""
    changed = copy.deepcopy(document)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        changed = _altered_once(changed, chance)
    return changed


def _value(chance: random.Random) -> Any:
    return copy.deepcopy(chance.choice(VALUES))


def _altered_once(node: Any, chance: random.Random) -> Any:
    if not isinstance(node, dict | list) or not node or chance.random() < 0.12:
        return _value(chance)
    key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
    match chance.randrange(8):
        case 0:
            del node[key]
        case 1 if isinstance(node, dict):
            node[str(_value(chance))] = node.pop(key)
        case 2 if isinstance(node, list):
            node.insert(key, _value(chance))
        case 3:
            node[key] = _value(chance)
        case _:
            node[key] = _altered_once(node[key], chance)
    return node


def as_json(document: Any, chance: random.Random) -> bytes:
    """The document as bytes, now and then with an accident in them or nested beyond reason."""
    text = json.dumps(document).encode()
    match chance.randrange(20):
        case 0:
            return mangled(text, chance)
        case 1:
            return b"[" * chance.choice((500, 5000, 100_000)) + text
        case _:
            return text
