"""Delivery to a command's standard input: one run for each recipient, without a shell.

The exit code is read as sysexits.h has it. Its output goes into the outcome's text; if it
begins with an enhanced status code, that counts (as Postfix has it). A run that takes too long,
dies of a signal or cannot be started defers.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import selectors
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from mta.delivery.transports import disk, templates
from mta.model import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mta.delivery.feeder import Attempt
    from mta.model import Recipient

OUTPUT = 1024  # octets of a run's output that are kept
PIECE = 65536
PATH = "/usr/local/bin:/usr/bin:/bin"

# Exit code to enhanced code, as Postfix has them (sysexits.h); any other is 5.3.0.
CODES = {
    0: "2.0.0",
    64: "5.3.0",  # EX_USAGE
    65: "5.6.0",  # EX_DATAERR
    66: "5.3.0",  # EX_NOINPUT
    67: "5.1.1",  # EX_NOUSER
    68: "5.1.2",  # EX_NOHOST
    69: "5.3.0",  # EX_UNAVAILABLE
    70: "5.3.0",  # EX_SOFTWARE
    71: "4.3.0",  # EX_OSERR
    72: "5.3.0",  # EX_OSFILE
    73: "5.2.0",  # EX_CANTCREAT
    74: "5.3.0",  # EX_IOERR
    75: "4.3.0",  # EX_TEMPFAIL
    76: "5.5.0",  # EX_PROTOCOL
    77: "5.7.0",  # EX_NOPERM
    78: "5.3.5",  # EX_CONFIG
    126: "4.3.5",  # of env and shells: the program cannot be run
    127: "4.3.5",  # there is no such program
}
KINDS = {"2": Kind.DELIVERED, "4": Kind.DEFERRED, "5": Kind.BOUNCED}
_STATUS = re.compile(r"([45]\.\d{1,3}\.\d{1,3})(?:\s+|$)")


class Ended(NamedTuple):
    """How a run ended."""

    code: int  # exit code; negative: the signal
    output: str
    late: bool  # killed as its time was over


class Pipe(disk.Blocking):
    """Runs a command for each message; its exit code is the outcome."""

    def __init__(self, name: str, command: Sequence[str], *, user: str, timeout: float) -> None:
        """Run as `user` if given; KeyError if there is none of this name."""
        super().__init__("pipe", name)
        self._command, self._user, self._timeout = tuple(command), user, timeout
        self._environment = {"PATH": PATH, "LANG": "C.UTF-8"}
        self._as: dict[str, Any] = {}
        if user:
            entry = pwd.getpwnam(user)
            groups = os.getgrouplist(user, entry.pw_gid)
            self._environment |= {"HOME": entry.pw_dir, "USER": user, "LOGNAME": user}
            if entry.pw_uid != os.geteuid():
                self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}

    def __repr__(self) -> str:
        return f"<Pipe {self._command[0]}>"

    async def deliver(self, attempt: Attempt) -> list[Outcome]:
        """One outcome for each recipient; what runs is killed if we are cancelled."""
        watch = Watch()
        try:
            return await self.in_thread(self._handle, attempt, watch)
        except asyncio.CancelledError:
            watch.drop()
            raise

    def _handle(self, attempt: Attempt, watch: Watch) -> list[Outcome]:
        """One run for each recipient, one after the other."""
        content = disk.unix(attempt.body)
        return [self._one(attempt, recipient, content, watch) for recipient in attempt.recipients]

    def _one(self, attempt: Attempt, recipient: Recipient, content: bytes, watch: Watch) -> Outcome:
        if watch.dropped:
            return Outcome(Kind.DEFERRED, 0, "4.3.0", "dropped before it was run", self.kind)
        found = templates.values(attempt.message, recipient)
        data = disk.trace(attempt.message, [recipient], b"\n") + content
        try:
            arguments = [templates.argument(part, found) for part in self._command]
            environment = {**_environment(attempt, found), **self._environment}
            return self._outcome(self._run(arguments, environment, data, watch))
        except templates.UnsafeError as error:
            return error.outcome(self.kind)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            why = getattr(error, "strerror", None) or str(error)
            as_user = f" as {self._user}" if self._user else ""
            text = f"cannot run {self._command[0]}{as_user}: {why}"
            return Outcome(Kind.DEFERRED, 0, "4.3.5", text, self.kind)

    def _outcome(self, ended: Ended) -> Outcome:
        code, output, late = ended
        if late:
            text = f"stopped after {self._timeout:g} s"
            return self._said("4.3.0", text, output)
        if code < 0:
            name = signal.Signals(-code).name
            return self._said("4.3.0", f"ended by {name}", output)
        status = _STATUS.match(output)
        if code and status:
            return self._said(status[1], output[status.end() :] or f"exit code {code}", "")
        return self._said(CODES.get(code, "5.3.0"), f"exit code {code}" if code else "", output)

    def _said(self, enhanced: str, text: str, output: str) -> Outcome:
        both = ": ".join(part for part in (text, output) if part)
        return Outcome(KINDS[enhanced[0]], 0, enhanced, both or "taken", self.kind)

    def _run(
        self, arguments: list[str], environment: dict[str, str], data: bytes, watch: Watch
    ) -> Ended:
        run = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,  # so that all that it starts can be killed with it
            **self._as,
        )
        watch.begin(run)
        try:
            output, late = converse(run, data, self._timeout)
        finally:
            watch.end()
        return Ended(run.wait(), output, late)


class Watch:
    """Which run an attempt has now, told by its thread, for the loop that may drop it."""

    def __init__(self) -> None:
        self._run: subprocess.Popen[bytes] | None = None
        self.dropped = False

    def begin(self, run: subprocess.Popen[bytes]) -> None:
        """A run was started; it ends at once if the attempt was dropped before."""
        self._run = run
        if self.dropped:
            _kill(run)

    def end(self) -> None:
        """The run is over."""
        self._run = None

    def drop(self) -> None:
        """Nobody waits for the attempt any more."""
        self.dropped = True
        run = self._run
        if run is not None:
            _kill(run)


def _environment(attempt: Attempt, found: dict[str, str]) -> dict[str, str]:
    """What a run finds about its message, beside its arguments."""
    about = {name.upper(): found[name] for name in ("recipient", "sender", "local", "domain")}
    message = attempt.message
    return about | {
        "TENANT": message.tenant, "CAMPAIGN": message.campaign, "MESSAGE_ID": found["id"],
    }  # fmt: skip


def _kill(run: subprocess.Popen[bytes]) -> None:
    """End a run and whatever it has started."""
    try:
        os.killpg(run.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended in this moment


class _Talk:
    """One run's input and output while it lives."""

    def __init__(self, run: subprocess.Popen[bytes], data: bytes) -> None:
        assert run.stdin is not None
        assert run.stdout is not None
        self.stdin, self.stdout = run.stdin, run.stdout
        self.left, self.output = memoryview(data), b""
        self.selector = selectors.DefaultSelector()
        for stream, events in ((run.stdin, selectors.EVENT_WRITE), (run.stdout, 1)):
            os.set_blocking(stream.fileno(), False)
            self.selector.register(stream, events)

    def write(self) -> None:
        """As much as it takes; a program may end without reading all, its exit code decides."""
        try:
            self.left = self.left[os.write(self.stdin.fileno(), self.left[:PIECE]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.left = self.left[:0]
        if not self.left:
            self.selector.unregister(self.stdin)
            self.stdin.close()

    def read(self) -> None:
        """What it says; the first `OUTPUT` octets are kept."""
        try:
            piece = os.read(self.stdout.fileno(), PIECE)
        except BlockingIOError:
            return
        if piece:
            self.output = (self.output + piece)[:OUTPUT]
        else:
            self.selector.unregister(self.stdout)

    def close(self) -> None:
        """Close what is open."""
        self.selector.close()
        self.stdin.close()
        self.stdout.close()


def converse(run: subprocess.Popen[bytes], data: bytes, timeout: float) -> tuple[str, bool]:
    """Give `data`, take the output until the process ends; True if it had to be killed.

    Its end counts, not that of its output: something that it left behind may hold that open.
    """
    talk, until, late = _Talk(run, data), time.monotonic() + timeout, False
    process = os.pidfd_open(run.pid)
    try:
        talk.selector.register(process, selectors.EVENT_READ)
        ended = False
        while not ended:
            wait = until - time.monotonic()
            if wait <= 0 and not late:
                late = True
                _kill(run)
            ready = {key.fileobj for key, _ in talk.selector.select(None if late else wait)}
            if talk.stdin in ready:
                talk.write()
            if talk.stdout in ready:
                talk.read()
            ended = process in ready
        if talk.stdout in talk.selector.get_map():
            talk.read()
    finally:
        talk.close()
        os.close(process)
    text = "".join(c if c.isprintable() else " " for c in talk.output.decode("utf-8", "replace"))
    return " ".join(text.split()), late
