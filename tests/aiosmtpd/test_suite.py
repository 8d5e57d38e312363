"""aiosmtpd's own suite with our SMTP and controllers in place of theirs.

Most of its time it waits; where each run can have a network of its own, several run at once.

Its sdist is looked for in MTA_PEERS_ROOT/aiosmtpd, where `.ci/run` puts it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.peers.programs import lacking
from tests.waiting import PATIENCE

HERE, ROOT = Path(__file__).parent, Path(__file__).parent.parent.parent
VERSION = "1.4.6"
SHA256 = "5a811826e1a5a06c25ebc3e6c4a704613eb9a1bcf6b78428fbe865f4f6c9a4b8"
TESTS = 557  # in all of the suite
ALONE = ("test_main.py", "test_server.py")  # those that wait longest

CRASH = "test_smtp.py::TestClientCrash::"
WRITER = "watches `_writer`, the stream of their implementation"
TASK = "waits for `_handler_coroutine` on a transport that is a mock"
PATCHED = "patches a global of their module"
NOT_OURS = {
    "test_smtp.py::TestProtocol::test_honors_mail_delimiters": TASK,
    "test_smtp.py::TestProtocol::test_empty_email": TASK,
    "test_smtp.py::TestSMTPWithController::test_long_line_leak": PATCHED,
    "test_server.py::TestFactory::test_factory_none": PATCHED,
    "test_server.py::TestFactory::test_noexc_smtpd_missing": PATCHED,
    CRASH + "test_connection_reset_during_DATA": WRITER,
    CRASH + "test_connection_reset_during_command": WRITER,
    CRASH + "test_connection_reset_in_long_command": WRITER,
    CRASH + "test_close_in_command": WRITER,
    CRASH + "test_close_in_command_2": WRITER,
    CRASH + "test_close_in_long_command": WRITER,
    CRASH + "test_close_in_data": WRITER,
    CRASH + "test_sockclose_after_helo": WRITER,
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The unpacked sdist."""
    archive = Path(os.environ.get("MTA_PEERS_ROOT", "/tmp/peers"), "aiosmtpd")
    archive /= f"aiosmtpd-{VERSION}.tar.gz"
    if not archive.exists():
        lacking(f"the sdist of aiosmtpd {VERSION} is not at {archive}")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path / f"aiosmtpd-{VERSION}"


def own_network() -> list[str]:
    """The suite wants port 8025: a network of its own has it free, where we may make one."""
    if os.geteuid() or not (shutil.which("unshare") and shutil.which("ip")):
        return []
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        return []
    return ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def command(suite: Path, report: Path, files: list[Path]) -> list[str]:
    """pytest on some of its files."""
    tests = suite / "aiosmtpd" / "tests"
    return [
        *own_network(), sys.executable, "-m", "pytest", *map(str, files), f"--junitxml={report}",
        "-c", str(HERE / "suite.ini"), f"--rootdir={tests}", "-p", "tests.aiosmtpd.plugin",
        "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:benchmark",
        "-o", "faulthandler_timeout=300", *(f"--deselect={name}" for name in NOT_OURS),
    ]  # fmt: skip


def parts(suite: Path) -> list[list[Path]]:
    """Its files, by the run that they belong to."""
    files = sorted((suite / "aiosmtpd" / "tests").glob("test_*.py"))
    if not own_network():
        return [files]
    rest = [file for file in files if file.name not in ALONE]
    return [rest, *([file] for file in files if file.name in ALONE)]


@pytest.mark.peer
def test_their_suite_passes_on_our_classes(suite: Path, tmp_path: Path) -> None:
    assert version("aiosmtpd") == VERSION
    environ = {**os.environ, "MTA_AIOSMTPD_SUITE": str(suite), "PYTHONPATH": str(ROOT)}
    environ.pop("PYTEST_ADDOPTS", None)

    def run(number: int, files: list[Path]) -> Counter[str]:
        report = tmp_path / f"report-{number}.xml"
        done = subprocess.run(
            command(suite, report, files),
            cwd=suite, env=environ, timeout=PATIENCE * 5, text=True, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        counts = ET.parse(report).getroot()[0].attrib
        return Counter({name: int(counts[name]) for name in ("tests", "skipped")})

    runs = parts(suite)
    with ThreadPoolExecutor(len(runs)) as pool:
        counts = sum(pool.map(run, range(len(runs)), runs), Counter())
    assert (counts["tests"], counts["skipped"]) == (TESTS - len(NOT_OURS), 0)


def test_what_is_left_out_is_documented() -> None:
    text = (ROOT / "docs" / "aiosmtpd.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `test_")]
    assert rows == [f"| `{name}` | {reason} |" for name, reason in NOT_OURS.items()]
