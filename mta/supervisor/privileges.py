"""Becoming an ordinary user: as root only folders are made and addresses bound.

What lies in folders of that user is touched with its rights from the first moment, so a link that
it placed there leads root nowhere.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import mta
from mta.errors import ConfigError, MailraceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

UMASK = 0o027
OWN_FILES = frozenset(("lock", "state.db"))


class Identity(NamedTuple):
    """Whom to become."""

    name: str
    uid: int
    gid: int
    home: str


def identity(user: str, group: str) -> Identity | None:
    """Whom the settings name; None when nobody is to be become. ConfigError if that cannot be."""
    if not user:
        if group:
            raise ConfigError("says nothing without `user`", key="group")
        return None
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        hint = f"create it: useradd --system --user-group --no-create-home {user}"
        raise ConfigError(f"there is no user {user!r}", key="user", hint=hint) from None
    found = Identity(entry.pw_name, entry.pw_uid, _gid(group, entry.pw_gid), entry.pw_dir)
    if os.geteuid() == 0:
        return found if found.uid else None
    if (os.geteuid(), os.getegid()) != (found.uid, found.gid):
        me = pwd.getpwuid(os.geteuid()).pw_name
        hint = "start it as root, or leave `user` and `group` out"
        raise ConfigError(f"only root can become {found.name}, this is {me}", key="user", hint=hint)
    return None


def _gid(group: str, default: int) -> int:
    if not group:
        return default
    try:
        entry = grp.getgrgid(int(group)) if group.isdecimal() else grp.getgrnam(group)
    except KeyError:
        hint = f"create it: groupadd --system {group}"
        raise ConfigError(f"there is no group {group!r}", key="group", hint=hint) from None
    return entry.gr_gid


def make_folders(folders: Iterable[Path], owner: Identity) -> None:
    """Make those that only root can make, for `owner`; what exists stays as it is."""
    for folder in folders:
        if folder.exists() or _owned(folder.parent, owner):
            continue
        try:
            folder.mkdir(parents=True, mode=0o750)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise MailraceError(f"cannot make {folder}: {error.strerror}") from None
        try:
            os.fchown(descriptor, owner.uid, owner.gid)
        finally:
            os.close(descriptor)


def _owned(folder: Path, owner: Identity) -> bool:
    """Whether `owner` can make what is below with its own rights."""
    return folder.exists() and folder.stat().st_uid == owner.uid


@contextlib.contextmanager
def acting_as(who: Identity | None) -> Iterator[None]:
    """Files are touched with the rights of `who` inside; with ours if it is None."""
    if who is None:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups(os.getgrouplist(who.name, who.gid))
    os.setegid(who.gid)
    os.seteuid(who.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def check_access(who: Identity, folders: Iterable[Path]) -> None:
    """MailraceError where `who` could not work; call it while `acting_as` them."""
    for needed in (Path(sys.executable), Path(mta.__file__)):
        if not os.access(needed, os.R_OK, effective_ids=True):
            raise MailraceError(
                f"user {who.name} may not read {needed}: install Mailrace where it may"
            )
    for folder in folders:
        inside = folder.iterdir() if folder.is_dir() and _usable(folder) else ()
        for path in (folder, *inside):
            if not _usable(path):
                raise MailraceError(
                    f"user {who.name} may not write in {path}: chown -R {who.name}: {folder}"
                )


def _usable(path: Path) -> bool:
    """Whether we may write there; what is not the server's own does not matter."""
    if path.is_symlink() or not (path.is_dir() or path.name in OWN_FILES):
        return True
    mode = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
    return os.access(path, mode, effective_ids=True)


def drop(who: Identity | None) -> None:
    """Become `who` for good, with no way back and no privilege left."""
    if who is None:
        return
    os.initgroups(who.name, who.gid)
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    os.umask(UMASK)
    os.environ.update(HOME=who.home, USER=who.name, LOGNAME=who.name)
    for regain in (os.setuid, os.setgid):
        try:
            regain(0)
        except PermissionError:
            continue
        raise MailraceError("the privileges of root could not be given up")
