"""Each kernel has a plain twin and a test that compares both over arbitrary input."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from tests.reference import TWINS

TESTS = Path(__file__).parent.parent.parent
KERNELS = sorted(path.stem for path in (TESTS.parent / "mta").rglob("*.pyx"))


def imported(path: Path) -> set[str]:
    """Every module, and every name of a module, that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{one.name}" for one in node.names} | {str(node.module)}
    return found


def test_every_kernel_has_a_twin_and_no_twin_is_left_over() -> None:
    assert sorted(TWINS) == KERNELS


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_twin_is_compared_over_arbitrary_input(kernel: str) -> None:
    twin, file = TWINS[kernel]
    path = TESTS / file
    modules = imported(path)
    assert f"tests.reference.{twin}" in modules, f"{file} does not use the twin of {kernel}"
    assert any(one.startswith("hypothesis") for one in modules), f"{file} has no hypothesis test"
    assert any(one.startswith("mta.") for one in modules), f"{file} compares nothing of ours"


@pytest.mark.parametrize("twin", sorted({twin for twin, _ in TWINS.values()}))
def test_a_twin_is_plain_and_uses_no_kernel(twin: str) -> None:
    path = Path(str(import_module(f"tests.reference.{twin}").__file__))
    assert path.suffix == ".py"
    assert not [one for one in imported(path) if one.startswith("mta._speedups")]
