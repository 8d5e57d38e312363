"""What is to be compiled is compiled, from the source that is here."""

import os
from importlib import import_module
from pathlib import Path

import pytest

import mta

ROOT = Path(mta.__file__).parent.parent
# A .pxd beside a .py or .pyx; those of `_speedups` alone may only share declarations.
SOURCES = sorted(
    source
    for pattern in ("*.pyx", "*.pxd")
    for path in (ROOT / "mta").rglob(pattern)
    for source in ([path] if pattern == "*.pyx" else [path.with_suffix(".py")])
    if source.exists()
)
TRIAL = os.environ.get("MTA_TRIAL")
# `tools/trial.py plain` runs the tests with the kernels of `_speedups` alone compiled
PLAIN = TRIAL == "plain"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_compiled_module_is_what_is_imported(source: Path) -> None:
    name = ".".join(source.relative_to(ROOT).with_suffix("").parts)
    loaded = Path(str(import_module(name).__file__))
    if PLAIN and (source.suffix == ".py" or source.parent.name != "_speedups"):
        assert loaded == source.with_suffix(".py"), f"{name} is compiled: this run proves nothing"
        return
    assert loaded.suffix == ".so", f"{name} runs uncompiled: make build"
    newest = max(
        path.stat().st_mtime for path in (source, source.with_suffix(".pxd")) if path.exists()
    )
    assert loaded.stat().st_mtime >= newest, f"{name} is older than its source: make build"
    checked = b"__ubsan_handle_" in loaded.read_bytes()
    assert checked == (TRIAL == "debug"), f"{name} is built for another purpose"
