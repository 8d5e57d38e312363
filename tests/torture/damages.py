"""The kinds of files in a server's home, what can be done to them, and what comes of that: a table.

A home with a kind of file that `KINDS` does not know fails the run: whoever adds one says here what
becomes of the mail when it is damaged.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PIECE = 4096  # octets
SHARD = r"spool/shard-\d{4}"
LOG = r"log/shard-\d{4}"
FAMILY = re.compile(rb"name(default|bodies|messages|index)")  # among a table's properties

# What comes of a damage, before an operator does anything and, behind the comma, after it.
OUTCOMES = {
    "-": "cannot be done, or changes nothing",
    "nothing": "all mail goes its way, nothing is said",
    "check": "all mail goes its way; `mta spool check` alone tells which records are gone",
    "said": "all mail goes its way; a line at the start, or an alarm, tells",
    "bounced": "mail whose content is gone ends in a Bounce, its sender is told, what is left lies"
    " in `corrupt/`; an alarm tells; all other mail goes its way",
    "waits": "what cannot be read stays queued, an alarm tells, all other mail goes its way; after"
    " `mta spool repair` all of it does",
    "refused": "the shard is refused and not touched, the others serve; after `mta spool repair`"
    " all mail goes its way",
    "put back": "the shards are refused, or the contents wait, until what was exchanged is put"
    " back; then all mail goes its way",
    "lost": "the shard serves what it has; each recipient that is gone is recorded as Lost, and the"
    " node is not ready before `mta spool accept-loss`",
    "held": "mail is taken and none is sent, as nobody knows what operators had held, and an alarm"
    " tells; after `mta queue release --all` all goes its way",
}


# What may come of some mail beside that, by the type of its last record.
MORE = {"Bounce": "some bounced", "Lost": "some lost", "Removed": "some removed"}


class Kind(NamedTuple):
    """A kind of file or folder: which paths below the home it has, and what comes of its damage."""

    name: str
    pattern: str
    outcomes: tuple[str, ...]  # in the order of `DAMAGES`
    family: str = ""  # of a table: whose rows it has
    place: int = -1  # among the files of its folder, by name; 0: not the last one
    folder: bool = False


R, N, B = "refused", "nothing", "refused, some bounced"
W = "refused, some bounced, some lost"
KINDS = (
    Kind("`CURRENT`", SHARD + "/CURRENT", (R, R, R, R, R, R, "-", "-")),
    Kind("`MANIFEST`", SHARD + r"/MANIFEST-\d+", (R, R, R, R, R, R, R, "-")),
    Kind(
        "write-ahead log", SHARD + r"/\d+\.log", ("lost", "lost", W, W, W, "lost", "put back", "-")
    ),
    Kind("table of records", SHARD + r"/\d+\.sst", (R, R, R, R, R, R, R, "-"), "messages"),
    Kind("table of the index", SHARD + r"/\d+\.sst", (R, R, R, R, R, R, R, "-"), "index"),
    Kind(
        "table of small contents",
        SHARD + r"/\d+\.sst",
        (B, B, "waits, some bounced", "waits, some bounced", B, B, B, "-"),
        "bodies",
    ),
    Kind("table of the shard's state", SHARD + r"/\d+\.sst", (R, R, R, R, R, R, R, "-"), "default"),
    Kind("`OPTIONS`", SHARD + r"/OPTIONS-\d+", (N, N, N, N, N, N, N, "-")),
    Kind("`IDENTITY`", SHARD + "/IDENTITY", (N, N, N, N, N, N, N, "-")),
    Kind(
        "`rocksdict-config.json`", SHARD + r"/rocksdict-config\.json", (N, N, N, N, N, N, "-", "-")
    ),
    Kind("RocksDB's `LOG`", SHARD + r"/LOG(\.old\.\d+)?", (N, N, N, N, N, N, N, "-")),
    Kind(
        "locks",
        rf"lock|(spool|log)/lock|{SHARD}/(LOCK|shard\.lock)|{LOG}/log\.lock",
        (N, N, N, N, N, N, N, "-"),
    ),
    Kind(
        "segment of contents",
        SHARD + r"/bodies/\d{10}\.bodies",
        (B, B, "bounced", "bounced", "bounced", B, "put back", "-"),
    ),
    Kind("ballast", SHARD + r"/ballast/\d\d", (N, N, N, "-", "-", N, "-", "-")),
    Kind(
        "log, last segment",
        LOG + r"/\d{8}\.zst",
        ("said", "said", "check", "check", "said", "said", "said", "-"),
    ),
    Kind(
        "log, earlier segment",
        LOG + r"/\d{8}\.zst",
        ("check", "check", "check", "check", "check", "check", N, "-"),
        place=0,
    ),
    Kind("`losses.json`", LOG + r"/losses\.json", ("-", "-", "-", "-", "-", "-", "-", "-")),
    Kind("`state.db`", r"state\.db", (N, "held", N, N, N, N, "-", "-")),
    Kind("`state.db-wal`", r"state\.db-wal", (N, N, N, N, N, N, "-", "-")),
    Kind("`state.db-shm`", r"state\.db-shm", (N, N, N, N, N, N, "-", "-")),
    Kind(
        "folder `bodies`",
        SHARD + "/bodies",
        ("-", "-", "-", "-", "-", B, "put back", R),
        folder=True,
    ),
    Kind(
        "folder of a shard",
        SHARD,
        ("-", "-", "-", "-", "-", "lost", "put back", "lost"),
        folder=True,
    ),
    Kind(
        "folder of a shard's log",
        LOG,
        ("-", "-", "-", "-", "-", "said", "said", "said"),
        folder=True,
    ),
)
UNTOUCHED = (
    "control.sock",
    "spool",
    "log",
    r"spool/shard-\d{4}/ballast",
    "pickup(/bad)?",
)  # sockets and folders


def emptied(path: Path, other: Path) -> None:
    """Nothing is left in it."""
    path.write_bytes(b"")


def halved(path: Path, other: Path) -> None:
    """It ends half-way."""
    with path.open("r+b") as file:
        file.truncate(used(path) // 2)


def flipped(path: Path, other: Path) -> None:
    """One bit at a quarter of it, where a table has its rows, is another one."""
    at = used(path) // 4
    with path.open("r+b") as file:
        file.seek(at)
        octet = file.read(1)[0]
        file.seek(at)
        file.write(bytes((octet ^ 0x10,)))


def hollow(path: Path, other: Path) -> None:
    """The middle fifth is zeros."""
    size = used(path)
    _zero(path, size * 2 // 5, size * 3 // 5)


def blank(path: Path, other: Path) -> None:
    """The last fifth is zeros."""
    size = used(path)
    _zero(path, size * 4 // 5, size)


def removed(path: Path, other: Path) -> None:
    """It is gone."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def exchanged(path: Path, other: Path) -> None:
    """It and another shard's change places."""
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    other.rename(path)
    aside.rename(other)


def older(path: Path, other: Path) -> None:
    """An older copy, `other`, is in its place."""
    removed(path, other)
    shutil.copytree(other, path)


DAMAGES: dict[str, Callable[[Path, Path], None]] = {
    "emptied": emptied, "cut in half": halved, "a bit flipped": flipped,
    "zeros in the middle": hollow, "zeros at the end": blank, "removed": removed,
    "exchanged": exchanged, "an older copy": older,
}  # fmt: skip
WHOLE = ("removed", "exchanged", "an older copy")  # what can be done to a folder


def used(path: Path) -> int:
    """Octets up to the last that is not zero."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while size:
            start = max(0, size - PIECE)
            file.seek(start)
            piece = file.read(size - start).rstrip(b"\0")
            if piece:
                return start + len(piece)
            size = start
    return 0


def _zero(path: Path, start: int, end: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(end - start))


def fits(outcome: str, expected: str) -> bool:
    """Whether what came is what the table says; less may be lost or bounced than it allows for."""
    word, *more = outcome.split(", ")
    known, *allowed = expected.split(", ")
    return word == known and set(more) <= set(allowed)


def unknown(home: Path) -> list[str]:
    """What a home has and `KINDS` does not know."""
    patterns = [*(kind.pattern for kind in KINDS), *UNTOUCHED]
    paths = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    return [path for path in paths if not any(re.fullmatch(one, path) for one in patterns)]


def found(home: Path, kind: Kind) -> list[Path]:
    """Of each shard that has any the file of a kind that has most in it, relative to the home."""
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(_matching(home, kind)):
        by_folder.setdefault(path.parent, []).append(path)
    if kind.folder:
        return sorted(path.relative_to(home) for paths in by_folder.values() for path in paths)
    groups = list(by_folder.values())
    if kind.name.startswith("log, "):
        groups = [paths[1:-1] if kind.place == 0 else paths[-1:] for paths in groups]
    return sorted(max(paths, key=used).relative_to(home) for paths in groups if paths)


def _matching(home: Path, kind: Kind) -> Iterator[Path]:
    for path in home.rglob("*"):
        if not re.fullmatch(kind.pattern, str(path.relative_to(home))):
            continue
        if path.is_dir() != kind.folder or not (kind.folder or path.is_file()):
            continue
        if kind.family:
            name = FAMILY.search(path.read_bytes())
            if name is None or name[1].decode() != kind.family:
                continue
        yield path
