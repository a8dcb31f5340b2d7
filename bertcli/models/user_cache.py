"""Files in the user's cache directory, named by the content they were made from.

A cached file is a line with a digest of the rest, then the content. A file that does not match its digest does not
count.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def cached_path(kind: str, name: str) -> Path:
    """Where a file of a kind has its place; for a user without a home directory, where no file can be."""
    root = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.devnull if root.startswith("~") else root) / "bertcli" / kind / name


def read_cached(path: Path) -> bytes | None:
    """The content of a cached file; None where there is none, or a damaged one."""
    try:
        written, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    return content if written == digest(content).encode() else None


def has_place(path: Path) -> bool:
    """Whether a cached file can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(path.parent, os.W_OK)


def write_cached(path: Path, content: bytes) -> bool:
    """Write a cached file, whole or not at all; False where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    except OSError:
        return False
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(digest(content).encode() + b"\n" + content)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return False
    return True


def digest(*parts: bytes) -> str:
    """32 hexadecimal digits that change with any of the parts."""
    import hashlib  # loads OpenSSL, which most runs do not need

    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()[:32]
