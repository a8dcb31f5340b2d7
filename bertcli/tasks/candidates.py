"""Labels of the user's own, and the words for them in a template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bertcli.errors import UsageError
from bertcli.tasks.commas import comma_separated

TEMPLATE = "This text is about {}."


@dataclass(frozen=True, slots=True)
class Candidate:
    """A label as it is written to results, and the words that go into the template for it."""

    label: str
    description: str


def candidates_from_option(value: str | Sequence[str]) -> tuple[Candidate, ...]:
    """`--labels`: separated by commas; a label with a comma is quoted by "."""
    return _checked(((label, label) for label in comma_separated(value)), "--labels")


def candidates_from_lines(lines: Iterable[str], where: str) -> tuple[Candidate, ...]:
    """`--labels-file`: a label a line, with a tab and a description behind it where the name says too little.
    Blank lines are skipped."""
    pairs = (line.rstrip("\r\n").partition("\t") for line in lines if line.strip())
    return _checked(((label, description or label) for label, _, description in pairs), where)


def _checked(pairs: Iterable[tuple[str, str]], where: str) -> tuple[Candidate, ...]:
    found: dict[str, Candidate] = {}
    for label, description in pairs:
        candidate = Candidate(label.strip(), description.strip())
        if not candidate.label or not candidate.description:
            raise UsageError("an empty label", where=where, hint='quote a label with a comma: "a, b",c')
        if candidate.label in found:
            raise UsageError(
                f"the label {candidate.label} is there twice", where=where, hint="name each label once"
            )
        found[candidate.label] = candidate
    if not found:
        raise UsageError("no labels", where=where, hint="name them as in praise,complaint")
    return tuple(found.values())
