"""Figures of this very process, from /proc."""

from __future__ import annotations

import os
import subprocess
import sys

from mta.loadgen.usage import cpu_seconds, pss_bytes, tree
from tests.waiting import PATIENCE


def test_own_figures() -> None:
    used = sum(os.times()[:4])
    assert abs(cpu_seconds(os.getpid()) - used) < 0.2
    assert pss_bytes(os.getpid()) > 5_000_000


def test_children_belong_to_the_tree() -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert child.pid in tree(os.getpid())
        assert child.stdin is not None
        child.stdin.close()
        child.wait(PATIENCE)
    assert child.pid not in tree(os.getpid())


def test_a_process_that_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait(PATIENCE)
    assert cpu_seconds(child.pid) == 0
    assert pss_bytes(child.pid) == 0
