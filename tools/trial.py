"""Runs tests on a copy of the tree that is built another way: `trial.py WAY [pytest arguments]`.
`trial.py WAY --build` makes the copy alone and prints its folder.

debug: every compiled module with bounds checks, overflow checks and C assertions, and with gcc's
undefined-behaviour sanitizer, which ends the process at the first finding.
plain: the kernels of `_speedups` as they are built here, and no Python module compiled: what each
has in its `.pxd` must mean the same. For a kernel elsewhere, which reads C fields of such modules,
its twin stands in.
points: the same, and each comment `# point: NAME` is a place where the process can be made to die
(tests/torture/points.py). The copy is build/WAY; what the tree has built stays as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
PARTS = ("mta", "bench", "tests", "tools", "docs", "packaging")
SEGMENTS = (
    Path("mta/spool/options.py"),
    b"segment_bytes: int = 64 << 20",
    b"segment_bytes: int = 1 << 20",
)
SKIPPED = {"__pycache__", ".hypothesis", ".pytest_cache"}
BUILT = {".so", ".c", ".pyc"}


def sources() -> Iterator[Path]:
    """Every file of the tree that is not built, relative to it."""
    yield from (path.relative_to(ROOT) for path in ROOT.glob("*") if path.is_file())
    for part in PARTS:
        for path in (ROOT / part).rglob("*"):
            place = path.relative_to(ROOT)
            if path.is_file() and path.suffix not in BUILT and not SKIPPED & set(place.parts):
                yield place


def copy(to: Path, changed: Callable[[Path, bytes], bytes]) -> None:
    """Bring a copy up to date: new times where a file differs, gone what is gone."""
    wanted = set(sources())
    for place in wanted:
        ours, its = ROOT / place, to / place
        content = changed(place, ours.read_bytes())
        if not its.exists() or its.read_bytes() != content:
            its.parent.mkdir(parents=True, exist_ok=True)
            its.write_bytes(content)  # newer than what was built of it
            its.chmod(ours.stat().st_mode)
    for part in PARTS:
        for path in list((to / part).rglob("*")):
            kept = path.is_dir() or path.suffix in BUILT or path.relative_to(to) in wanted
            if not kept or path.suffix == ".so" and not source_of(path):
                path.unlink()


def as_it_is(place: Path, content: bytes) -> bytes:
    """A file is copied unchanged."""
    return content


def with_points(place: Path, content: bytes) -> bytes:
    """A module of the package with calls where its marks are, and with small segments."""
    if place.parts[0] != "mta" or place.suffix != ".py":
        return content
    if place == SEGMENTS[0]:
        assert SEGMENTS[1] in content, "it says how large segments are"
        content = content.replace(*SEGMENTS[1:])
    from tests.torture import points

    return points.MARK.sub(points.CALL, content.decode()).encode()


def source_of(library: Path) -> Path | None:
    """What a compiled module is made of; None if that is gone."""
    stem = library.with_name(library.name.partition(".")[0])
    compiled = stem.with_suffix(".pxd").exists() and stem.with_suffix(".py").exists()
    kernel = stem.with_suffix(".pyx")
    return kernel if kernel.exists() else stem.with_suffix(".py") if compiled else None


def build_debug(to: Path) -> None:
    """Compile all of it with every check there is."""
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=to, check=True, env={**os.environ, "MTA_DEBUG_BUILD": "1"},
    )  # fmt: skip


def build_plain(to: Path) -> None:
    """Take the kernels over, and nothing else that is compiled."""
    from tests.reference import TWINS

    for library in (to / "mta").rglob("*.so"):
        library.unlink()
    for source in (ROOT / "mta").rglob("*.pyx"):
        place = source.relative_to(ROOT)
        if source.parent.name != "_speedups":
            text = f"from tests.reference.{TWINS[source.stem][0]} import *  # noqa: F403\n"
            (to / place).with_suffix(".py").write_text(text)
            continue
        for library in source.parent.glob(f"{source.stem}.*.so"):
            shutil.copy2(library, to / library.relative_to(ROOT))
            os.utime(to / library.relative_to(ROOT))


WAYS: dict[str, tuple[Callable[[Path], None], Callable[[Path, bytes], bytes]]] = {
    "debug": (build_debug, as_it_is),
    "plain": (build_plain, as_it_is),
    "points": (build_plain, with_points),
}


def make(way: str) -> Path:
    """The copy, up to date."""
    to = ROOT / "build" / way
    to.mkdir(parents=True, exist_ok=True)
    build, changed = WAYS[way]
    copy(to, changed)
    build(to)
    return to


def main() -> int:
    """Copy, build, test; pytest's exit code."""
    way, arguments = sys.argv[1], sys.argv[2:]
    to = make(way)
    if arguments == ["--build"]:
        print(to)
        return 0
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(to), "MTA_TRIAL": way}
    return subprocess.run(command, cwd=to, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
