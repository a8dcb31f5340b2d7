"""The file of a guarantee: written by `evaluate label --guarantee E -o FILE`, read by `label --guarantee FILE`.

It names the model and every option that changes scores; labels of another model or with other options are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bertcli import requests
from bertcli.errors import UsageError
from bertcli.runs.preflight import read_text
from bertcli.runs.resume import changed_options, plain_option

if TYPE_CHECKING:
    from bertcli.evaluation.report import Report
    from bertcli.runs.preflight import OpenModel
    from bertcli.tasks.acceptance import Acceptance
    from bertcli.tasks.label import Label
    from bertcli.tasks.zero_shot import ByEntailment, ByNearness

KIND = "bertcli guarantee 1"
"""What the file says of itself: its kind and the version of its format."""

ZERO_SHOT = "zero-shot"
"""The head of labels of the user's own."""

OPTIONS = ("labels", "labels_file", "template", "long", "max_length", "overlap")
"""The options that change scores, besides the model, the head and the dtype."""


def guarantee_text(request: requests.EvaluateLabel, report: Report) -> str:
    """The content of the file for the guarantee of a report."""
    guarantee, facts = report.guarantee, report.facts
    assert guarantee is not None  # the caller has asked
    content = {
        "kind": KIND,
        "error": guarantee.error,
        "confidence": guarantee.confidence,
        "above": guarantee.above,
        "statement": guarantee.statement,
        "checked": guarantee.checked,
        "wrong_accepted": guarantee.wrong,
        "accepted_share": guarantee.accepted,
        "model": {"name": facts["model"], "fingerprint": facts["fingerprint"]},
        "head": facts["head"],
        "dtype": facts["engine"].rsplit(" ", 1)[-1],
        "options": _options(request),
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def with_decision(
    task: Label | ByEntailment | ByNearness, path: str, request: requests.Label, model: OpenModel
) -> Acceptance:
    """The task with a decision for each label, by the guarantee in a file. Raises UsageError for a guarantee of another
    model, of other options, or of labels that do not exclude each other."""
    from bertcli.tasks.acceptance import Acceptance

    if task.choice.several or getattr(task, "is_number", False):
        raise UsageError("--guarantee is for one label a text", hint="leave --guarantee out")
    content = _read(path)
    head = getattr(task, "head", None)
    facts = {"--head": ZERO_SHOT if head is None else head.name, **_options(request)}
    fingerprint = model.checkpoint.fingerprint()
    if content["model"]["fingerprint"] != fingerprint:
        raise UsageError(
            f"the guarantee is for the model {content['model']['name']}, and this is {model.checkpoint.name}"
            if content["model"]["name"] != model.checkpoint.name
            else f"the model {model.checkpoint.name} has changed since the guarantee was found",
            where=path,
            hint="find one for this model with `bertcli evaluate label --guarantee`",
        )
    if found := changed_options({"--head": content["head"], **content["options"]}, facts):
        raise UsageError(
            f"the guarantee does not apply: {'; '.join(found)}",
            where=path,
            hint="give the options that it was found with",
        )
    return Acceptance(task, above=content["above"], statement=content["statement"], dtype=content["dtype"])


def _options(request: requests.Label | requests.EvaluateLabel) -> dict[str, Any]:
    """The options that change scores, by flag."""
    options = {requests.flag_of(name): plain_option(name, getattr(request, name)) for name in OPTIONS}
    return {**options, "a pair of texts": request.pair_field is not None}


def _read(path: str) -> Mapping[str, Any]:
    """The content of a file that `evaluate label` wrote. Raises UsageError for any other."""
    try:
        content = json.loads(read_text(path))
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise UsageError(
            "is not a guarantee",
            where=path,
            hint="`bertcli evaluate label checked.jsonl --guarantee 0.05 -o FILE` writes one",
        )
    return content
