"""Whether the server's user can read a file, whoever asks."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path


def unreadable(path: str, user: str) -> str:
    """Why `user` ("" for whoever runs this) cannot read a file, or ""."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return "it is not a file"
        who = _entry(user)
        if os.geteuid() != 0 or who is None or who.pw_uid == 0:
            return "" if os.access(path, os.R_OK) else "Permission denied"
        groups = set(os.getgrouplist(who.pw_name, who.pw_gid))
        real = Path(path).resolve()
        for part, bit in ((real, 4), *((folder, 1) for folder in real.parents)):
            if not _may(part.stat(), who.pw_uid, groups, bit):
                return f"user {who.pw_name} has no right to {part}"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _entry(user: str) -> pwd.struct_passwd | None:
    """The user by name or number; one that does not exist is a problem of its own."""
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        return None


def _may(status: os.stat_result, uid: int, groups: set[int], bit: int) -> bool:
    """Whether the mode grants `bit` (4 read, 1 search): owner, else group, else others."""
    shift = 6 if status.st_uid == uid else 3 if status.st_gid in groups else 0
    return bool(status.st_mode >> shift & bit)
