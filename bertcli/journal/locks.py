"""A lock on an open file, released when the process ends."""

from __future__ import annotations

import ctypes
import errno
import fcntl

MOST_TRIES = 20


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock on a file; False where another process has it.

    A file system without locks gives it to everybody. Python's own `fcntl.flock` asks again for ever where a call is
    interrupted (EINTR), as some network file systems answer each; here it is asked a bounded number of times.
    """
    flock = ctypes.CDLL(None, use_errno=True).flock
    for _ in range(MOST_TRIES):
        if flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB) == 0:
            return True
        if ctypes.get_errno() != errno.EINTR:
            break
    return ctypes.get_errno() not in (errno.EWOULDBLOCK, errno.EACCES)
