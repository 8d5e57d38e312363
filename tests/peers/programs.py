"""Programs of others that the tests run: found, or the test is skipped (or fails, in CI)."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
UNPACKED = ("sbin", "bin", "libexec")  # below usr/ of a package unpacked with dpkg -x


def find(program: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The program's path: on PATH, in the system's folders, in MTA_PEERS_ROOT/root-*/usr/."""
    root = Path(environ.get("MTA_PEERS_ROOT", "/tmp/peers"))
    folders = [*environ.get("PATH", "").split(os.pathsep), *SYSTEM]
    folders += [str(top / "usr" / part) for top in sorted(root.glob("root-*")) for part in UNPACKED]
    return shutil.which(program, path=os.pathsep.join(folder for folder in folders if folder))


def require(program: str, environ: Mapping[str, str] = os.environ) -> str:
    """The program's path; without it the test is skipped, or fails if MTA_REQUIRE_PEERS=1."""
    path = find(program, environ)
    if path is None:
        lacking(f"{program} is not installed, on PATH or below MTA_PEERS_ROOT", environ)
    return path


def require_path(path: str, environ: Mapping[str, str] = os.environ) -> Path:
    """`path` as it is installed or unpacked: for what PATH does not lead to."""
    root = Path(environ.get("MTA_PEERS_ROOT", "/tmp/peers"))
    tops = (Path("/"), *sorted(root.glob("root-*")))
    found = [top / path for top in tops if (top / path).exists()]
    if not found:
        lacking(f"/{path} is neither installed nor below MTA_PEERS_ROOT", environ)
    return found[0]


def require_user(name: str, environ: Mapping[str, str] = os.environ) -> pwd.struct_passwd:
    """The user that a peer drops its privileges to; we must be root for that."""
    if os.getuid():
        lacking(f"only root can start a program that becomes {name}", environ)
    try:
        return pwd.getpwnam(name)
    except KeyError:
        lacking(f"there is no user {name}", environ)


def lacking(what: str, environ: Mapping[str, str] = os.environ) -> NoReturn:
    """Skip the test, or fail it if MTA_REQUIRE_PEERS=1."""
    if environ.get("MTA_REQUIRE_PEERS") == "1":
        pytest.fail(f"{what}, and MTA_REQUIRE_PEERS=1 asks for it")
    pytest.skip(what)
