"""Terms of a source language, each with the term of the target language that must come out.

A source term is found where its words are, one behind the other; a word is a run of letters and digits, every other
character one of its own, and in scripts written without blanks each character is. Case counts only for a term that has
an upper-case letter. Of terms that overlap, the longest that begins first is taken.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bertcli.errors import InputError
from bertcli.tasks.word_alignment import UNSPACED

_WORD = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\w)+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Term:
    """A source term, the target term that belongs to it, and where both are written."""

    source: str
    target: str
    where: str = ""


class FoundTerm(NamedTuple):
    """A source term that begins at `start` of a text."""

    start: int
    term: Term


class Glossary:
    """Terms by the first word of their source. The last of several with the same source counts."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self.terms = list({term.source: term for term in terms}.values())
        self._by_first: dict[str, list[tuple[list[str], bool, Term]]] = {}
        for term in self.terms:
            words = _WORD.findall(term.source)
            is_exact = term.source != term.source.lower()
            wanted = words if is_exact else [word.casefold() for word in words]
            self._by_first.setdefault(words[0].casefold(), []).append((wanted, is_exact, term))
        for candidates in self._by_first.values():
            candidates.sort(key=lambda candidate: (-len(candidate[0]), not candidate[1]))

    def find(self, text: str) -> list[FoundTerm]:
        """The terms in a text, in their order."""
        matches = list(_WORD.finditer(text))
        words = [match[0] for match in matches]
        folded = [word.casefold() for word in words]
        found, place = [], 0
        while place < len(words):
            for wanted, is_exact, term in self._by_first.get(folded[place], ()):
                here = (words if is_exact else folded)[place : place + len(wanted)]
                if here == wanted:
                    found.append(FoundTerm(matches[place].start(), term))
                    place += len(wanted) - 1
                    break
            place += 1
        return found


def contains(text: str, term: str) -> bool:
    """Whether a text has a target term: its characters as they are, and no word that goes on before or behind it."""
    before = r"(?<!\w)" if is_word_end(term[0]) else ""
    behind = r"(?!\w)" if is_word_end(term[-1]) else ""
    return re.search(before + re.escape(term) + behind, text) is not None


def is_word_end(character: str) -> bool:
    """Whether a word could go on beside a character: it is a letter or a digit of a script with blanks."""
    return re.match(r"\w", character) is not None and UNSPACED.match(character) is None


def parse_terms(content: str, name: str) -> list[Term]:
    """The terms of a file. `.jsonl` has the fields `source` and `target`, `.csv` and all others (with tabs) these two
    columns, with or without a line that says so.

    Raises InputError for a line that has not both.
    """
    rows = _json_rows(content, name) if name.endswith(".jsonl") else _table_rows(content, name)
    terms = []
    for line, row in rows:
        source, target = (" ".join(cell.split()) if isinstance(cell, str) else "" for cell in row)
        if not _WORD.search(source) or not target:
            raise InputError(
                "a term needs a source and a target",
                where=f"{name}:{line}",
                hint="a line is `source<TAB>target`, in .csv `source,target`, in .jsonl an object of both",
            )
        terms.append(Term(source, target, f"{name}:{line}"))
    if not terms:
        raise InputError("has no terms", where=name, hint="a line is `source<TAB>target`")
    return terms


def _json_rows(content: str, name: str) -> Iterator[tuple[int, Sequence[object]]]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"is not JSON: {error}", where=f"{name}:{number}", hint="correct the line"
            ) from None
        yield number, (row.get("source"), row.get("target")) if isinstance(row, dict) else ("", "")


def _table_rows(content: str, name: str) -> Iterator[tuple[int, Sequence[object]]]:
    is_csv = name.endswith(".csv")
    reader = csv.reader(
        io.StringIO(content),
        delimiter="," if is_csv else "\t",
        quoting=csv.QUOTE_MINIMAL if is_csv else csv.QUOTE_NONE,
    )
    for place, row in enumerate(reader):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (place == 0 and [cell.lower() for cell in cells[:2]] == ["source", "target"]):
            continue
        yield reader.line_num, (*cells, "", "")[:2]
