"""Commands that end in every way."""

from __future__ import annotations

import asyncio
import os
import pwd
import time
from pathlib import Path

import pytest

from mta.delivery.transports.pipe import CODES, KINDS, OUTPUT, Pipe
from mta.model import Kind, Outcome
from tests.unit.delivery.fakes import attempt
from tests.waiting import PATIENCE

SHELL = "/bin/sh"


def pipe(script: str, *arguments: str, timeout: float = PATIENCE, user: str = "") -> Pipe:
    return Pipe("p", [SHELL, "-c", script, "sh", *arguments], user=user, timeout=timeout)


def outcome(script: str, *arguments: str, body: bytes = b"X: y\r\n\r\nhi\r\n") -> Outcome:
    made = pipe(script, *arguments)
    [found] = asyncio.run(made.deliver(attempt("Ann@b.example", body=body)))
    return found


@pytest.mark.parametrize("code", [*CODES, 1, 63, 79, 255])
def test_exit_codes(code: int) -> None:
    found = outcome(f"cat > /dev/null; echo so; exit {code}")
    enhanced = CODES.get(code, "5.3.0")
    assert (found.enhanced, found.kind) == (enhanced, KINDS[enhanced[0]])
    assert found.text == ("so" if code == 0 else f"exit code {code}: so")


def test_the_output_may_name_the_status() -> None:
    found = outcome("echo 4.2.2 the mailbox is full >&2; exit 1")
    assert (found.kind, found.enhanced, found.text) == (
        Kind.DEFERRED, "4.2.2", "the mailbox is full",
    )  # fmt: skip
    assert outcome("echo 5.1.1; exit 75").text == "exit code 75"
    assert outcome("echo 4.2.2 but taken").kind == Kind.DELIVERED


def test_the_message_its_envelope_and_nothing_else(tmp_path: Path) -> None:
    outcome(f"cat > {tmp_path}/in; env | sort > {tmp_path}/env; echo \"$1\" > {tmp_path}/args",
            "{local}+{domain} {sender}")  # fmt: skip
    assert (tmp_path / "in").read_bytes() == (
        b"Return-Path: <a@x>\nDelivered-To: Ann@b.example\nX: y\n\nhi\n"
    )
    names = [line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()]
    assert set(names) - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        "PATH", "LANG", "SENDER", "RECIPIENT", "LOCAL", "DOMAIN", "TENANT", "CAMPAIGN",
        "MESSAGE_ID",
    }  # fmt: skip
    assert (tmp_path / "args").read_text() == "Ann+b.example a@x\n"


def test_no_shell_reads_an_address(tmp_path: Path) -> None:
    made = Pipe("p", ["/bin/echo", "{recipient}"], user="", timeout=PATIENCE)
    [found] = asyncio.run(made.deliver(attempt(f'"$(touch {tmp_path}/x);a b"@c')))
    assert found.text == f'"$(touch {tmp_path}/x);a b"@c'
    assert not (tmp_path / "x").exists()


def test_output_is_bounded_and_printable() -> None:
    found = outcome("head -c 3000000 /dev/zero | tr '\\0' x; printf 'a\\033[1mb\\n\\nc'")
    assert found.text == "x" * OUTPUT
    assert outcome("printf 'a\\033[1mb\\n\\nc\\377'").text == "a [1mb c�"


def test_a_program_that_does_not_read_decides_by_its_exit_code() -> None:
    big = b"x" * 5_000_000
    assert outcome("exit 0", body=big).kind == Kind.DELIVERED
    assert outcome("exec 0<&-; exit 75", body=big).kind == Kind.DEFERRED
    assert outcome("wc -c", body=big).text.startswith("50000")


def test_what_it_leaves_behind_does_not_hold_us() -> None:
    began = time.monotonic()
    assert outcome("sleep 60 & echo started").text == "started"
    assert time.monotonic() - began < 50


def test_ended_by_a_signal_or_by_time() -> None:
    found = outcome("kill -SEGV $$")
    assert (found.kind, found.text) == (Kind.DEFERRED, "ended by SIGSEGV")
    timeout, text = 0.1, ""
    while "begun" not in text:  # it may be stopped before it has said so
        timeout *= 2
        made = pipe("echo begun; sleep 600 & sleep 600", timeout=timeout)
        [found] = asyncio.run(made.deliver(attempt()))
        text = found.text.partition(f"stopped after {timeout:g} s")[2]
        assert (found.kind, text) in ((Kind.DEFERRED, ""), (Kind.DEFERRED, ": begun"))


def test_a_program_that_cannot_be_started_defers(tmp_path: Path) -> None:
    made = Pipe("p", [str(tmp_path / "none")], user="", timeout=PATIENCE)
    [found] = asyncio.run(made.deliver(attempt()))
    assert (found.kind, found.enhanced) == (Kind.DEFERRED, "4.3.5")
    assert found.text == f"cannot run {tmp_path}/none: No such file or directory"


def test_each_recipient_has_a_run_of_its_own() -> None:
    script = 'case "$1" in bad*) exit 67;; esac; echo "$1"'
    made = pipe(script, "{recipient}")
    found = asyncio.run(made.deliver(attempt("a@b", "bad@b", "-x@b", "c@b")))
    assert [o.text for o in found if o.kind == Kind.DELIVERED] == ["a@b", "c@b"]
    assert [o.enhanced for o in found] == ["2.0.0", "5.1.1", "5.1.3", "2.0.0"]


def test_a_dropped_attempt_is_killed_and_its_others_are_not_begun(tmp_path: Path) -> None:
    begun, fifo, mark = tmp_path / "begun", tmp_path / "fifo", tmp_path / "mark"
    os.mkfifo(begun)
    os.mkfifo(fifo)
    made = pipe(f"echo x >> {mark}; echo $$ > {begun}; cat {fifo}")

    async def scenario() -> int:
        task = asyncio.create_task(made.deliver(attempt("a@b", "c@b")))
        pid = int(await asyncio.to_thread(begun.read_text))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    pid = asyncio.run(scenario())
    made._threads.shutdown()  # ends only when its thread does
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert mark.read_text() == "x\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_as_another_user() -> None:
    made = pipe("id -u; id -g; id -G; echo $HOME", user="nobody")
    [found] = asyncio.run(made.deliver(attempt()))
    entry = pwd.getpwnam("nobody")
    groups = " ".join(map(str, os.getgrouplist("nobody", entry.pw_gid)))
    assert found.text == f"{entry.pw_uid} {entry.pw_gid} {groups} {entry.pw_dir}"
