"""What is wanted of labels, and the options that say it: for `label`, `evaluate label` and `compare`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bertcli.command import typed
from bertcli.commands.streaming import choose_head, read_text, refuse_or_warn, refuse_pairs
from bertcli.errors import UsageError
from bertcli.parameters import Bundle
from bertcli.requests import LongOptions
from bertcli.tasks.candidates import (
    TEMPLATE,
    Candidate,
    candidates_from_lines,
    candidates_from_option,
)

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.tasks.choice import Top
    from bertcli.tasks.label import Label
    from bertcli.tasks.zero_shot import ByEntailment, ByNearness

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelling:
    """What is wanted of labels, until the checkpoint is known. The decorators below give a command its
    beginning as `labelling`; what other options say, the command adds."""

    labels: str | None = None
    labels_file: str | None = None
    threshold: float = 0.5
    multi_label: bool = False
    template: str = TEMPLATE
    top: Top = None
    head: str | None = None
    long: LongOptions = field(default_factory=LongOptions)
    unsafe: bool = False
    pair_field: str | None = None

    def task(self, checkpoint: Checkpoint, tokenizer: Tokenizer) -> Label | ByEntailment | ByNearness:
        """The model's own classes, unless labels are named that it does not have."""
        from bertcli.models.cross_encoder import as_ranking
        from bertcli.tasks.label import Label
        from bertcli.tasks.zero_shot import zero_shot

        head = self._own_head(checkpoint)
        if head is not None:
            _refuse_what_is_for_other_labels()
            refuse_or_warn(checkpoint, "label", unsafe=self.unsafe, head=head)
            if self.pair_field is not None:
                head = as_ranking(head)
            return Label(checkpoint, tokenizer, head, self.long, top=self.top, threshold=self.threshold)
        refuse_pairs(self.pair_field, "`label` with labels of your own")
        refuse_or_warn(checkpoint, "embed", unsafe=self.unsafe)
        return zero_shot(
            checkpoint,
            tokenizer,
            self._candidates(),
            self.long,
            template=self.template,
            multi_label=self.multi_label,
            top=self.top,
            threshold=self.threshold,
            head=self.head,
        )

    def _own_head(self, checkpoint: Checkpoint) -> Head | None:
        """The model's label head, with its classes named; None where the labels are the user's own."""
        if self.labels is not None and self.labels_file is not None:
            raise UsageError("--labels and --labels-file cannot go together", hint="leave one of them out")
        if self.labels is None and self.labels_file is None:
            return choose_head(checkpoint, "label", self.head)
        nameless = [head for head in checkpoint.heads_of("label") if not head.named]
        if self.labels_file is None or not nameless:
            return None
        from bertcli.tasks.label import rename

        return rename(checkpoint.head("label", self.head), read_text(self.labels_file), self.labels_file)

    def _candidates(self) -> tuple[Candidate, ...]:
        if self.labels is not None:
            return candidates_from_option(self.labels)
        assert self.labels_file is not None  # _own_head has asked
        return candidates_from_lines(read_text(self.labels_file).splitlines(), self.labels_file)


def _refuse_what_is_for_other_labels() -> None:
    """Raise UsageError for options that would change nothing, where the labels are the model's own."""
    asked = [flag for flag in ("--multi-label", "--template") if flag in typed()]
    if asked:
        raise UsageError(f"{asked[0]} is for labels of your own", hint="name them with --labels")


OPTIONS = Bundle("labelling", "Label", Labelling)


def labels_options(callback: F) -> F:
    """Which labels: goes into `labelling`."""
    labels = OPTIONS.option(
        "labels", "--labels", metavar="A,B,…", help="Labels of your own (zero-shot), between commas."
    )
    labels_file = OPTIONS.option(
        "labels_file",
        "--labels-file",
        metavar="FILE",
        type=click.Path(readable=False),
        help="Names for the model's classes, or labels of your own: one a line.",
    )
    return labels(labels_file(callback))


def judging_options(callback: F) -> F:
    """When a label holds: goes into `labelling`."""
    threshold = OPTIONS.option(
        "threshold",
        "--threshold",
        metavar="P",
        type=click.FloatRange(0, 1),
        help="Where several labels may hold: the least score of one that does.",
    )
    multi_label = OPTIONS.flag("multi_label", "--multi-label", help="Labels of your own: several may hold.")
    template = OPTIONS.option(
        "template",
        "--template",
        metavar="TEXT",
        help="Labels of your own: the sentence that {} makes of a label.",
    )
    return threshold(multi_label(template(callback)))
