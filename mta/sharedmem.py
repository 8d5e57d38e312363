"""The node's shared table in a memfd: the supervisor creates it, workers map the descriptor.

Passed by descriptor, as a name under /dev/shm would outlive a crash and
`multiprocessing.shared_memory` unlinks it when one user exits.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets

from mta._speedups.sharedtable import SharedTable, format_table, table_size
from mta.errors import MailraceError

CAPACITY = 65536  # names with a slot of their own: 4 MB with up to 9 workers
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def create(capacity: int = CAPACITY, workers: int = 1) -> tuple[int, SharedTable]:
    """A new table and its descriptor, close-on-exec, to be passed to workers and closed by us."""
    fd = os.memfd_create("mailrace-shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, table_size(capacity, workers))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)  # a shrunk map would kill all with SIGBUS
        view = mmap.mmap(fd, 0)
        format_table(view, capacity, workers, secrets.randbits(64))
    except BaseException:
        os.close(fd)
        raise
    return fd, SharedTable(view, workers)


def attach(fd: int, workers: int = 0) -> SharedTable:
    """Map the table behind a descriptor, which may be closed afterwards."""
    try:
        return SharedTable(mmap.mmap(fd, 0), workers)
    except (OSError, ValueError) as error:
        raise MailraceError(f"descriptor {fd} holds no shared table: {error}") from error
