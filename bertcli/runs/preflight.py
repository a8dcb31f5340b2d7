"""Before a run: open the model, refuse one that would answer wrongly, choose the head that answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bertcli import console
from bertcli.errors import FieldClashError, InputError, ModelError, UsageError, quoted

if TYPE_CHECKING:
    from bertcli.models.check import Embeddings
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head, Kind
    from bertcli.models.pooling import Mode
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.requests import ModelOptions, Role
    from bertcli.sinks import Layout

STDIN = 0  # its descriptor


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A checkpoint and its tokenizer. `unsafe`: what a check refuses may be used all the same."""

    checkpoint: Checkpoint
    tokenizer: Tokenizer
    unsafe: bool = False

    def check(
        self,
        kind: Kind | Embeddings | Literal["attention"],
        head: Head | None = None,
        *,
        pooling: Mode | None = None,
    ) -> None:
        """Look for what would make the checkpoint answer wrongly, and warn of it. Raises ModelError for what is
        refused, unless the model may be unsafe."""
        from bertcli.models.check import quick_check

        for finding in quick_check(self.checkpoint, kind, head, pooling=pooling):
            if finding.refuses and not self.unsafe:
                raise ModelError(finding.message, hint=f"{finding.hint}; --unsafe-model uses it all the same")
            console.warn(f"{finding.message}; {finding.hint}")

    def check_search(self, pooling: Mode | None = None) -> None:
        """The same for the embeddings that a search compares, which may be sparse, or several of a text."""
        from bertcli.models.check import embeddings_of

        self.check(embeddings_of(self.checkpoint), pooling=pooling)

    def choose_head(self, kind: Kind, name: str | None = None) -> Head:
        """The head that answers `kind`: the one named, else the first, which is named on stderr when the run
        begins if it is not the only one. Raises ModelError for a head that the checkpoint does not have."""
        head = self.checkpoint.head(kind, name)
        others = [other.name for other in self.checkpoint.heads_of(kind) if other is not head]
        if name is None and others:
            console.hold(f"head {head.name}; --head takes {', '.join(others)}")
        return head

    def checked_head(self, kind: Kind, name: str | None = None) -> Head:
        """The same head, checked. Raises ModelError for one that is refused, too."""
        head = self.choose_head(kind, name)
        self.check(kind, head)
        return head


def open_model(
    options: ModelOptions,
    open_tokenizer: Callable[[Checkpoint], Tokenizer] | None = None,
    role: Role | None = None,
) -> OpenModel:
    """Find and open the model of a request; its heads are checked when they are asked for. `open_tokenizer` opens a
    tokenizer that only the task of the request has. `role` chooses the encoder where queries and documents have
    different ones; without it, that is the role of the request, where it has one."""
    from bertcli.models.tokenizer import Tokenizer

    checkpoint = open_checkpoint_of(options, role or getattr(options, "role", None))
    return OpenModel(checkpoint, (open_tokenizer or Tokenizer.of)(checkpoint), options.unsafe_model)


def open_checkpoint_of(options: ModelOptions, role: Role | None = None) -> Checkpoint:
    """The checkpoint that a request names, with its adapter."""
    from bertcli.models.checkpoint import open_checkpoint
    from bertcli.models.library import resolve

    adapter = None if options.adapter is None else resolve(options.adapter)
    if options.model is None and adapter is not None:  # which names its base model
        return open_checkpoint(adapter, allow_pickle=options.allow_pickle, role=role)
    path = resolve(options.model)
    return open_checkpoint(path, allow_pickle=options.allow_pickle, adapter=adapter, role=role)


def refuse_pairs(pair_field: str | None, reader: str) -> None:
    """Raise UsageError for a pair field that `reader` would ignore."""
    if pair_field is not None:
        raise UsageError(f"--pair-field: {reader} reads one text a record", hint="leave --pair-field out")


def refuse_clash(layout: Layout) -> None:
    """Raise FieldClashError when a result would take the name of an input field."""
    if clash := layout.reserved.intersection(layout.inputs):
        noun = "a field" if len(clash) == 1 else "fields"
        prefixes = itertools.chain(["bert_"], (f"bert{number}_" for number in itertools.count(2)))
        free = next(p for p in prefixes if replace(layout, prefix=p).reserved.isdisjoint(layout.inputs))
        raise FieldClashError(
            f"the input already has {noun} named {quoted(sorted(clash))}, as the results do",
            hint=f"give the results other names: --prefix {free}",
            prefix=free,
        )


def read_text(path: str) -> str:
    """A small text file named by an option, `-` for stdin. Raises InputError for one that cannot be read."""
    try:
        with open(STDIN if path == "-" else path, encoding="utf-8-sig", closefd=path != "-") as file:
            return file.read()
    except OSError as error:
        hint = "check the path, and who may read the file"
        raise InputError(f"cannot be read: {error.strerror}", where=path, hint=hint) from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", where=path, hint="save it as UTF-8") from None
