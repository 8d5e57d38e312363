"""The compiled modules keep to the layers that import-linter cannot see in them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path.relative_to(ROOT) for suffix in ("pyx", "pxd") for path in ROOT.glob(f"mta/**/*.{suffix}")
)
IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w., ]+))", re.M)
LAYERS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
RANK = {
    name: rank
    for rank, layer in enumerate(reversed(LAYERS[0]["layers"]))
    for name in re.findall(r"\w+", layer)
}
FORBIDDEN = {"asyncio", "socket", "ssl", "select", "uvloop", "time"}


def imported(path: Path) -> set[str]:
    """The modules that one source names in import and cimport lines."""
    found: set[str] = set()
    for single, several in IMPORT.findall((ROOT / path).read_text()):
        found.update(name.split(" as ")[0].strip() for name in (single or several).split(","))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_compiled_module_imports(path: Path) -> None:
    names, own = imported(path), path.parts[1].split(".")[0]
    assert not {name.split(".")[0] for name in names} & FORBIDDEN
    ours = {name.split(".")[1] for name in names if name.startswith("mta.")} - {own}
    above = {name for name in ours if RANK[name] >= RANK[own]}
    assert not above, f"{path} reaches up into {above}"


@pytest.mark.parametrize("package", ["smtp"])
def test_sans_io_package(package: str) -> None:
    for path in (ROOT / "mta" / package).glob("**/*.py"):
        names = {name.split(".")[0] for name in imported(path.relative_to(ROOT))}
        assert not names & FORBIDDEN, path


def test_only_the_room_of_its_api_needs_aiosmtpd() -> None:
    """The bench compares with it; `mta.smtpd` imports that room when a name of it is asked for."""
    users = {
        path.relative_to(ROOT / "mta").parent.as_posix()
        for path in ROOT.glob("mta/**/*.py")
        if {name.partition(".")[0] for name in imported(path.relative_to(ROOT))} & {"aiosmtpd"}
    }
    assert users == {"smtpd/aiosmtpd_compat"}
