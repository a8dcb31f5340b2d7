"""Which prompt goes before a text, as the `encode` methods of sentence-transformers do it.

Models for retrieval are trained with one text before queries ("query: ") and another before documents
("passage: "). A role takes the first of its prompts that the model's files name, and no prompt where they
name none of them, whatever the default prompt is; without a role it is the default prompt.

sentence-transformers documents the names `document`, `passage`, `corpus` for documents, but its versions 5
and 6 add an empty `document` to every model, so that a model with a `passage` alone gets no prompt there.
Here only the prompts of the files count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bertcli.errors import UsageError

if TYPE_CHECKING:
    from bertcli.models.pooling import Pooling

Role = Literal["query", "document"]
MOST_CHARACTERS = 10_000  # of a prompt: instructions have hundreds

_NAMES: dict[Role, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}


def choose_prompt(
    pooling: Pooling, *, name: str | None = None, text: str | None = None, role: Role | None = None
) -> str:
    """The prompt `text`, else the one called `name`, else that of `role`, else the default; "" for none.

    Raises UsageError for a name that the model does not have, and for a prompt beyond reason.
    """
    prompt = text if text is not None else _from_files(pooling, name, role)
    if not prompt.isascii() and any("\ud800" <= character <= "\udfff" for character in prompt):
        raise UsageError("the prompt is not text: it has half a character (a surrogate)")
    if len(prompt) > MOST_CHARACTERS:
        raise UsageError(
            f"the prompt has {len(prompt)} characters, and {MOST_CHARACTERS} are the most",
            hint="give a shorter one with --prompt, or the record's text as its text",
        )
    return prompt


def _from_files(pooling: Pooling, name: str | None, role: Role | None) -> str:
    if name is None and role is not None:
        name = next((known for known in _NAMES[role] if known in pooling.prompts), None)
        return "" if name is None else pooling.prompts[name]
    chosen = name or pooling.default_prompt
    if chosen is None:
        return ""
    if chosen not in pooling.prompts:
        known = ", ".join(sorted(pooling.prompts)) or "it has none"
        raise UsageError(f"the model has no prompt named {chosen}", hint=f"its prompts: {known}")
    return pooling.prompts[chosen]
