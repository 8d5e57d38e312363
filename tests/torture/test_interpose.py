"""The interposed library sees every file call, fails those that it is told to, and no others."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.torture import interpose
from tests.torture.interpose import CREATED, FAIL, SHORT, Control, Fault, compiler
from tests.torture.rig import Rig
from tests.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(compiler() is None, reason="gcc is not installed")


@pytest.fixture
def control(folder: Path) -> Iterator[Control]:
    (folder / "home" / "spool").mkdir(parents=True)
    with closing(Control(folder, 1000, 1 << 20)) as made:
        yield made


def tried(control: Control, home: Path, code: str) -> str:
    """What a Python program below the library prints; it is in the spool's folder."""
    program = f"import os, sys\nos.chdir({str(home)!r})\nhome = {str(home)!r}\n{code}"
    environment = os.environ | dict(control.environment(home))
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    return found.stdout.strip() or found.stderr.strip()


WRITE = """
file = os.open(home + "/spool/a", os.O_RDWR | os.O_CREAT)
for at in range(4):
    try:
        print(os.pwrite(file, b"octets", at * 10), end=" ")
    except OSError as error:
        print(error.errno, end=" ")
"""


def test_one_call_fails_or_all_from_one_on(control: Control, folder: Path) -> None:
    home = folder / "home"
    fault = Fault(FAIL, errno.ENOSPC, ("spool",), ("write",), first=2, last=2)
    control.arm(fault)
    assert tried(control, home, WRITE) == "6 28 6 6"
    assert control.disarm() == [f"write of {home}/spool/a"]
    assert (control.counted, control.failed) == (4, 1)
    control.arm(fault._replace(last=interpose.FOREVER))
    assert tried(control, home, WRITE) == "6 28 28 28"
    control.arm(fault._replace(areas=("log", "state")))
    assert tried(control, home, WRITE) == "6 6 6 6"
    control.arm(fault._replace(kind=SHORT))
    assert tried(control, home, WRITE) == "6 3 6 6"
    control.disarm()
    assert tried(control, home, WRITE) == "6 6 6 6"
    assert control.counts()["spool", "write"] == 20


def test_a_share_of_the_calls_fails(control: Control, folder: Path) -> None:
    control.arm(Fault(operations=("write",), percent=30), seed=3)
    said = tried(control, folder / "home", WRITE.replace("range(4)", "range(100)"))
    assert 15 < said.split().count("5") < 45


def test_the_journal_tells_what_was_done(control: Control, folder: Path) -> None:
    control.keep_journal(True)
    tried(control, folder / "home", """
os.mkdir(home + "/spool/b")
file = os.open(home + "/spool/b/c", os.O_RDWR | os.O_CREAT)
os.write(file, b"one")
os.write(file, b"two")
os.pwritev(file, [b"x" * 5, bytes(3)], 10)
os.pwrite(file, bytes(4096), 4096)
os.ftruncate(file, 9000)
os.fdatasync(file)
os.rename(home + "/spool/b/c", home + "/spool/b/d")
os.unlink(home + "/spool/b/d")
""")  # fmt: skip
    notes = [(note.kind, note.a, note.b) for note in control.notes()]
    assert notes == [
        (interpose.MADE, 0, 0),
        (interpose.OPENED, CREATED, 0),
        (interpose.WRITTEN, 0, 3),
        (interpose.WRITTEN, 3, 3),
        (interpose.WRITTEN, 10, 8),
        (interpose.ZEROED, 4096, 4096),
        (interpose.CUT_TO, 9000, 0),
        (interpose.SYNCED, 7, 1),
        (interpose.RENAMED, 0, 0),
        (interpose.UNLINKED, 0, 0),
    ]
    named = [note for note in control.notes() if note.kind == interpose.RENAMED]
    assert [path[-9:] for path in named[0].paths] == ["spool/b/c", "spool/b/d"]
    assert [note.data for note in control.notes()][2:5] == [b"one", b"two", b"xxxxx\0\0\0"]


def test_syncs_that_do_nothing(control: Control, folder: Path) -> None:
    control.keep_journal(True)
    control.lie()
    tried(control, folder / "home", 'os.fsync(os.open(home + "/spool/a", os.O_CREAT))')
    assert [note.kind for note in control.notes()] == [interpose.OPENED]


CALLS = {  # of the kernel, by what they are counted as
    "write": ("write", "pwrite64", "writev", "pwritev", "pwritev2"),
    "sync": ("fsync", "fdatasync", "sync_file_range", "msync"),
    "rename": ("rename", "renameat", "renameat2", "link", "linkat"),
    "unlink": ("unlink", "unlinkat", "rmdir"),
    "truncate": ("ftruncate", "truncate"),
    "allocate": ("fallocate",),
    "mkdir": ("mkdir", "mkdirat"),
    "statfs": ("statfs", "fstatfs"),
    "none": ("sendfile", "copy_file_range", "splice", "io_uring_setup", "io_uring_enter"),
}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_call_of_a_server_is_missed(folder: Path) -> None:
    home, trace = folder / "home", folder / "trace"
    names = ",".join(name for group in CALLS.values() for name in group) + ",mmap"
    with closing(Control(folder)) as control, Rig(folder, 1) as rig:
        preload = control.environment(home)
        given = [part for key, value in preload.items() for part in ("-E", f"{key}={value}")]
        rig.server.wrapper = ["strace", "-D", "-f", "-y", "-qq", "-e", f"trace={names}", "-e",
                              "signal=none", "-o", str(trace), *given]  # fmt: skip
        rig.server.start()
        rig.injector.send(5, 60)
        rig.drain()
        rig.server.stop()
        counted = Counter[str]()
        for (_, operation), count in control.counts().items():
            counted[operation] += count
    wait(lambda: all(traced(trace, home, n) == counted[n] for n in CALLS),
         lambda: {n: (traced(trace, home, n), counted[n]) for n in CALLS})  # fmt: skip
    shared = [line for line in lines(trace, home) if re.search("PROT_WRITE.*MAP_SHARED", line)]
    assert [line for line in shared if "state.db-shm" not in line] == []  # no data of SQLite


def lines(trace: Path, home: Path) -> list[str]:
    return [line for line in trace.read_text(errors="replace").splitlines() if str(home) in line]


def traced(trace: Path, home: Path, operation: str) -> int:
    names = (re.match(r"\d+ +(\w+)\(", line) for line in lines(trace, home))
    return sum(name is not None and name[1] in CALLS[operation] for name in names)
