"""Programs of others that the tests run: found, or the test is skipped (or fails, in CI)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

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
    if path is not None:
        return path
    missing = f"{program} is not installed, on PATH or below MTA_PEERS_ROOT"
    if environ.get("MTA_REQUIRE_PEERS") == "1":
        pytest.fail(f"{missing}, and MTA_REQUIRE_PEERS=1 asks for it")
    pytest.skip(missing)
