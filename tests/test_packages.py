"""What packages, compiled modules and classes say of themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = [path.relative_to(ROOT) for path in sorted(ROOT.glob("mta/**/*.py"))]
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]
COMPILED = [path for path in MODULES if (ROOT / path).with_suffix(".pxd").exists()]


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.parent))
def test_a_package_says_what_it_is_for(path: Path) -> None:
    first = (ast.get_docstring(ast.parse((ROOT / path).read_text())) or "").partition("\n")[0]
    assert first.endswith(".") and len(first.split()) > 3


@pytest.mark.parametrize("path", COMPILED, ids=str)
def test_a_compiled_module_says_so_in_its_first_line(path: Path) -> None:
    assert "compiled" in (ROOT / path).read_text().partition("\n")[0].lower()


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_class_states_its_contract(path: Path) -> None:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ClassDef):
            assert "see the module" not in (ast.get_docstring(node) or "").lower(), node.name
