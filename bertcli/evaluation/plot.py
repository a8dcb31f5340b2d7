"""A report as a picture: a page of HTML that needs nothing else, or a PNG."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bertcli.errors import UsageError

if TYPE_CHECKING:
    from bertcli.evaluation.report import Report


def check_plot(path: str) -> None:
    """Raise UsageError for a suffix that names no picture, or one that cannot be drawn here."""
    form = _form(path)
    if form == ".png":
        from bertcli.evaluation.png import require_matplotlib

        require_matplotlib(path)
    elif form != ".html":
        raise UsageError("the suffix names no picture", where=path, hint="use .html or .png")


def drawn(report: Report, path: str) -> bytes:
    """The picture in the form that the suffix of `path` names."""
    if _form(path) == ".png":
        from bertcli.evaluation.png import image

        return image(report)
    from bertcli.evaluation.html import document

    return document(report).encode()


def _form(path: str) -> str:
    return os.path.splitext(path)[1].lower()
