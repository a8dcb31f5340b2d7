"""What a hostile tokenizer.json can do: end the process, run for hours, make megabytes of a short text.

`tokenizers` runs the definition as it is. It panics on a broken table of normalised characters (a "charsmap")
and on regular expressions that search too long. Everything here is decided from the definition alone, before
it is loaded, in a few milliseconds; the limits are far beyond what real tokenizers have.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

MOST_PARTS = 100  # normalizers, pre-tokenizers or decoders
MOST_INSERTED = 1_000  # characters that a rule puts into a text, or tokens that go around it
MOST_GROWTH = 64  # how many times longer all rules together may make a text
MOST_IN_A_WORD = 1_000  # characters of a word that WordPiece looks at: it takes the square of them
MOST_OF_A_PATTERN = 10_000  # characters of a regular expression, its counted repetitions written out

_INSIDE = ("normalizers", "pretokenizers", "decoders", "processors")
_SHORTEST_TABLE = 1024  # bytes: units of four, in blocks of 256 units

Part = Mapping[str, Any]


def find_hazard(definition: Mapping[str, Any]) -> str | None:
    """What speaks against loading a tokenizer.json object, in words; None where nothing does."""
    return next(_hazards(definition), None)


def _hazards(definition: Mapping[str, Any]) -> Iterator[str]:
    for row in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        parts = list(_parts(definition.get(row)))
        if len(parts) > MOST_PARTS:
            yield f"its {row} has {len(parts)} parts, and {MOST_PARTS} are the most"
        inserted, growth = 0, 1.0
        for part in parts:
            yield from (f"its {row} {hazard}" for hazard in _part(part))
            inserted += _length(part.get("prepend"))
            growth *= max(1.0, _growth(part))
        if inserted > MOST_INSERTED:
            yield f"its {row} puts {inserted} characters before each text"
        if growth > MOST_GROWTH:
            yield f"its {row} can make a text {growth:.3g} times longer"
    most = definition["model"].get("max_input_chars_per_word")
    if isinstance(most, int) and most > MOST_IN_A_WORD:
        yield f"max_input_chars_per_word is {most}, and {MOST_IN_A_WORD} are the most"
    if definition["model"].get("dropout"):
        yield "dropout is set: the tokens of a text would be drawn at random"


def _parts(whole: Any) -> Iterator[Part]:
    """The parts of a sequence of sequences, or the only one."""
    waiting = [whole]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield part
            for name in _INSIDE:
                inside = part.get(name)
                waiting += inside if isinstance(inside, list) else []


def _part(part: Part) -> Iterator[str]:
    """The hazards of one part."""
    pattern = part.get("pattern")
    expression = pattern.get("Regex") if isinstance(pattern, Mapping) else None
    if isinstance(expression, str) and (hazard := pattern_hazard(expression)):
        yield f"has a regular expression that {hazard}: {expression[:40]!r}"
    if part.get("type") == "Precompiled" and (hazard := charsmap_hazard(part.get("precompiled_charsmap"))):
        yield f"has a precompiled_charsmap that {hazard}"
    for template in ("single", "pair"):
        pieces = part.get(template)
        if isinstance(pieces, list) and len(pieces) > MOST_INSERTED:
            yield f"puts {len(pieces)} tokens around each text"


def _length(text: Any) -> int:
    return len(text) if isinstance(text, str) else 0


def _growth(part: Part) -> float:
    """How many times longer a rule that replaces something can make a text."""
    pattern = part.get("pattern")
    if part.get("type") != "Replace" or not isinstance(pattern, Mapping):
        return 1.0
    shortest = _length(pattern.get("String"))
    return _length(part.get("content")) / shortest if shortest else 1.0 + _length(part.get("content"))


def charsmap_hazard(encoded: Any) -> str | None:
    """Why a table of normalised characters would lead out of itself, in words; None where it does not.

    It is a double array (Darts-clone, as SentencePiece writes it), its size in bytes before it and the
    normalised texts behind it, each with a NUL at its end. A unit of the array says by how much its place is
    changed (XOR) for the place of its children, which are in that block of 256; a leaf's place holds where
    its text begins.
    """
    try:
        table = base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return "is not base64"
    size = int.from_bytes(table[:4], "little")
    if size < _SHORTEST_TABLE or size % 4 or 4 + size > len(table):
        return "is too short, or cut off"
    units = np.frombuffer(table, "<u4", size // 4, 4).astype(np.int64)
    texts = np.frombuffer(table, np.uint8, offset=4 + size)
    places = np.arange(len(units)) ^ (units >> 10 << ((units & (1 << 9)) >> 6))
    nodes = units >> 31 == 0  # the others are values, but for the root
    nodes[0] = True
    if ((places[nodes] | 0xFF) >= len(units)).any():
        return "leads out of its own table"
    values = units[places[nodes & (units >> 8 & 1 == 1)]] & 0x7FFF_FFFF
    if (values >= len(texts)).any() or (texts[values] >> 6 == 0b10).any():
        return "names texts that it does not have"
    longest = int(np.diff(np.flatnonzero(texts == 0), prepend=-1).max(initial=0))
    if longest > MOST_INSERTED:
        return f"makes {longest} bytes of a character"
    try:
        texts.tobytes().decode()
    except UnicodeDecodeError:
        return "holds texts that are not UTF-8"
    return None


def pattern_hazard(pattern: str) -> str | None:
    """Why a regular expression may search without end or take all memory, in words; None where it may not.

    A search goes back and forth without end where a repetition is inside another, (a+)+, or where
    several wildcards without a limit follow each other.
    """
    if len(pattern) > MOST_OF_A_PATTERN:
        return f"has {len(pattern)} characters"
    # Of each open group: its size with repetitions written out, and whether it repeats without a limit.
    groups: list[tuple[int, bool]] = [(0, False)]
    atom, wildcards, place = (0, False), 0, 0
    while place < len(pattern):
        token, place = _token(pattern, place)
        if token == "(":
            groups.append((0, False))
        elif token == ")" and len(groups) > 1:
            atom = groups.pop()
            groups[-1] = _joined(groups[-1], atom)
        elif token[0] in "*+{" and (most := _most(token)) is not None:
            size, repeats = atom
            if repeats and most > 1:
                return "repeats what repeats already"
            wildcards += most == _WITHOUT_LIMIT and pattern[place - len(token) - 1] == "."
            if most == _WITHOUT_LIMIT:
                atom = (size, True)
            else:
                groups[-1] = _joined(groups[-1], (size * (most - 1), False))
                atom = (size * most, repeats)
            groups[-1] = _joined(groups[-1], (0, atom[1]))
            place += pattern[place : place + 1] in ("?", "+")  # lazy or possessive
        elif token != "?":
            atom = (1, False)
            groups[-1] = _joined(groups[-1], atom)
        if max(size for size, _ in groups) > MOST_OF_A_PATTERN:
            return f"repeats more than {MOST_OF_A_PATTERN} things"
    return "has several wildcards without a limit" if wildcards > 1 else None


_WITHOUT_LIMIT = 1 << 60


def _joined(group: tuple[int, bool], atom: tuple[int, bool]) -> tuple[int, bool]:
    return group[0] + atom[0], group[1] or atom[1]


def _token(pattern: str, place: int) -> tuple[str, int]:
    """The next part of a pattern, and where it ends: a bracket, a repetition, a character, a class."""
    first = pattern[place]
    if first == "\\":
        return pattern[place : place + 2], place + 2
    if first == "[":
        return "[]", _end_of_class(pattern, place)
    if first == "(" and pattern[place + 1 : place + 2] in ("?", "*"):
        return "(", place + 2
    if first == "{":
        end = pattern.find("}", place)
        if end > 0 and pattern[place + 1 : end].replace(",", "").isdecimal():
            return pattern[place : end + 1], end + 1
    return first, place + 1


def _end_of_class(pattern: str, place: int) -> int:
    """Where a class ends that begins here: `[^]a[b]\\]]`."""
    depth, at = 0, place
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 1
        elif pattern[at] == "[":
            depth += 1
        elif pattern[at] == "]":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return at


def _most(token: str) -> int | None:
    """How often a repetition may repeat; None for a brace that is a character."""
    if token in ("*", "+"):
        return _WITHOUT_LIMIT
    least, comma, most = token.strip("{}").partition(",")
    if not (least or most):
        return None
    return int(most or least) if most or not comma else _WITHOUT_LIMIT
