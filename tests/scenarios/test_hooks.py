"""Hooks of a file: each is asked where it should be, and a failing one defers and is named."""

from __future__ import annotations

import json
import signal
import smtplib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mta.testing.remote import Manners, RemoteMX
from tests.scenarios.server import Server
from tests.waiting import PATIENCE, wait

FILE = """\
[[listener]]
listen = "127.0.0.1:{port}"
control_headers = true

[[route]]
next_hop = "[127.0.0.1]:{remote}"

[retry]
schedule = ["{retry}"]

[retry.slow]
schedule = ["30m"]

[source.ip1]
address = "127.0.0.2"

[hooks]
file = "{hooks}"
timeout = "{timeout}"
"""
HEAD = """\
import asyncio, json, time
from mta.hooks import *
"""


class Hooked(Server):
    """A server with a hook file."""

    def __init__(self, home: Path, remote: RemoteMX, hooks: str, retry: str = "1s",
                 timeout: str = f"{PATIENCE:g}s", **named: Any):  # fmt: skip
        super().__init__(home, **named)
        home.mkdir(parents=True)
        self.script = home / "hooks.py"
        self.events = home / "events"
        self.write(hooks)
        self.file = home / "mailrace.toml"
        self.file.write_text(
            FILE.format(
                port=self.port, remote=remote.port, hooks=self.script, retry=retry, timeout=timeout
            )
        )

    def write(self, hooks: str) -> None:
        new = self.script.with_suffix(".new")
        new.write_text(HEAD + hooks)
        new.replace(self.script)

    def command(self) -> list[str]:
        command = super().command()
        at = command.index("--listen")
        return [*command[:at], *command[at + 2 :], "--config", str(self.file)]


def refusal(server: Server, *recipients: str, body: str = "Subject: x\r\n\r\nhi\r\n") -> str:
    client = smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE)
    with client, pytest.raises(smtplib.SMTPDataError) as caught:
        client.sendmail("s@source.example", recipients or ("r@b.example",), body)
    error = caught.value.smtp_error
    return f"{caught.value.smtp_code} {error.decode() if isinstance(error, bytes) else error}"


def test_message_accepted_refuses_and_alters(tmp_path: Path) -> None:
    hooks = """
async def message_accepted(message):
    if message.header("Subject") == "spam":
        return Refuse("no spam here", 554, "5.7.9")
    await asyncio.sleep(0)
    if "vip@b.example" in message.recipients:
        return Accept(tenant="vip", campaign="c1", pool="ip1", klass=Class.TRANSACTIONAL,
                      set_headers={"X-Seen": f"{message.tenant}/{message.peer_name}"},
                      remove_headers=("X-Secret",))
"""
    with RemoteMX() as remote, Hooked(tmp_path / "home", remote, hooks) as server:
        assert refusal(server, body="Subject: spam\r\n\r\nhi\r\n") == "554 5.7.9 no spam here"
        body = "X-Tenant: t\r\nX-Secret: s\r\nSubject: x\r\nMessage-ID: <1@x>\r\n\r\nhi\r\n"
        server.send("vip@b.example", body=body)
        server.send("plain@b.example", body=body)
        first, second = remote.wait(2)
        assert first.content.split(b"\r\n", 3)[3] == (
            b"X-Seen: t/client.example\r\nSubject: x\r\nMessage-ID: <1@x>\r\n\r\nhi\r\n"
        )
        assert first.client == "127.0.0.2"
        assert b"X-Secret: s" in second.content
        vip, plain = server.wait_records(2, "Reception")
        assert (vip["tenant"], vip["campaign"], vip["pool"]) == ("vip", "c1", "ip1")
        assert vip["class"] == "transactional"
        assert plain["tenant"] == "t"
        [rejected] = server.wait_records(1, "Rejection")
        assert rejected["reason"] == "hook message_accepted"
        assert rejected["code"] == 554


@pytest.mark.parametrize(
    ("hook", "told"),
    [
        ("async def message_accepted(m):\n    raise ValueError('boom')",
         "hook message_accepted failed: ValueError: boom ({path}:4)"),
        ("def message_accepted(m):\n    time.sleep(1.5)", "no answer within 1 s"),
        ("async def message_accepted(m):\n    await asyncio.sleep(20)", "no answer within 1 s"),
        ("def message_accepted(m):\n    return 'ok'", "it answered str, not Accept, Refuse"),
        ("def message_accepted(m):\n    return Accept(set_headers={'A': 'b\\r\\nC: d'})",
         "ValueError: A: printable ASCII"),
        ("def message_accepted(m):\n    raise SystemExit(3)", "SystemExit: 3"),
    ],
)  # fmt: skip
def test_a_failing_hook_defers_at_reception(tmp_path: Path, hook: str, told: str) -> None:
    timeout = {"timeout": "1s"} if "no answer" in told else {}
    with RemoteMX() as remote, Hooked(tmp_path / "home", remote, hook, **timeout) as server:
        answer = refusal(server)
        assert answer == "451 4.3.0 Hook message_accepted failed, try again later"
        server.wait_said(told.format(path=server.script))
        [rejected] = server.wait_records(1, "Rejection")
        assert rejected["reason"] == "hook message_accepted"


def test_other_mail_flows_while_a_hook_runs(tmp_path: Path) -> None:
    go = tmp_path / "go"
    hooks = f"""
import os.path
async def message_accepted(message):
    while message.header("Subject") == "slow" and not os.path.exists({str(go)!r}):
        await asyncio.sleep(0.02)
"""
    with RemoteMX() as remote, Hooked(tmp_path / "home", remote, hooks) as server:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
            client.ehlo("c.example")
            client.mail("s@source.example")
            client.rcpt("slow@b.example")
            client.docmd("DATA")
            client.send("Subject: slow\r\n\r\nhi\r\n.\r\n")
            for number in range(5):
                server.send(f"quick{number}@b.example")
            remote.wait(5)
            go.touch()
            assert client.getreply()[0] == 250
        got = remote.wait(6)
        assert got[-1].recipients == ["slow@b.example"]


def test_queue_settings(tmp_path: Path) -> None:
    hooks = """
def queue_settings(queue):
    if queue.domain == "short.example":
        return QueueSettings(max_age=2.0)
    if queue.name == "c:t@long.example":
        return QueueSettings(schedule=(7200.0,), jitter=0.0)
    if queue.domain == "bad.example":
        return QueueSettings(jitter=3.0)
"""
    manners = Manners(rcpt=lambda recipient: "450 4.2.0 later")
    with RemoteMX(manners) as remote, Hooked(tmp_path / "home", remote, hooks) as server:
        server.send("r@short.example")
        server.send("r@long.example", body="X-Tenant: t\r\nX-Campaign: c\r\n\r\nhi\r\n")
        server.send("r@usual.example")
        assert refusal(server, "r@bad.example").startswith("451 4.3.0 Hook queue_settings failed")
        server.wait_said("jitter = 3: it is a part of the delay")
        [expired] = server.wait_records(1, "Expiration")
        assert expired["recipient"] == "r@short.example"
        failures: dict[str, dict[str, Any]] = {}

        def both_deferred() -> bool:
            failures.update((r["recipient"], r) for r in server.records("TransientFailure"))
            return {"r@long.example", "r@usual.example"} <= set(failures)

        wait(both_deferred, lambda: failures)
        long, usual = failures["r@long.example"], failures["r@usual.example"]
        assert long["next_attempt"] - long["time"] == pytest.approx(7.2e9, rel=1e-3)
        assert usual["next_attempt"] - usual["time"] < 2e6


def test_a_queue_has_a_rate_over_all_workers(tmp_path: Path) -> None:
    hooks = """
def queue_settings(queue):
    if queue.domain == "slow.example":
        return QueueSettings(rate="1/h, burst=2")
    if queue.domain == "bad.example":
        return QueueSettings(rate="many")
"""
    with RemoteMX() as remote, Hooked(tmp_path / "home", remote, hooks, workers=2) as server:
        for number in range(10):
            server.send(f"r{number}@slow.example", body="X-Campaign: slow\r\n\r\nhi\r\n")
            server.send(f"r{number}@quick.example")
        got = Counter(m.recipients[0].partition("@")[2] for m in remote.wait(12))
        assert got == {"quick.example": 10, "slow.example": 2}
        assert len(server.ask("queue.list", limit=100)) == 8
        assert refusal(server, "r@bad.example").startswith("451 4.3.0 Hook queue_settings")
        server.wait_said('"many" is not a rate')


def test_choose_route(tmp_path: Path) -> None:
    hooks = """
CALLS = open({calls!r}, "a", buffering=1)
async def choose_route(destination):
    CALLS.write(destination.domain + "\\n")
    if destination.domain == "other.example":
        return RouteChoice(next_hop="[127.0.0.1]:{port}", pool="ip1")
    if destination.domain == "slow.example":
        return RouteChoice(next_hop="[127.0.0.1]:1", retry="slow")
    if destination.domain == "bad.example":
        return RouteChoice(next_hop="[not")
"""
    with RemoteMX() as remote, RemoteMX() as other:
        calls = tmp_path / "calls"
        hooks = hooks.format(port=other.port, calls=str(calls))
        with Hooked(tmp_path / "home", remote, hooks) as server:
            for number in range(5):
                server.send(f"r{number}@other.example")
                server.send(f"r{number}@usual.example")
            assert {m.client for m in other.wait(5)} == {"127.0.0.2"}
            assert {m.client for m in remote.wait(5)} == {"127.0.0.1"}
            assert sorted(calls.read_text().split()) == ["other.example", "usual.example"]
            server.send("r@slow.example")
            [failed] = server.wait_records(1, "TransientFailure")
            assert failed["next_attempt"] - failed["time"] > 1.5e9
            assert refusal(server, "r@bad.example").startswith("451 4.3.0 Hook choose_route")
            # What comes from the spool is asked for too, and deferred if the hook fails.
            server.stop()
            server.write("def choose_route(d):\n    raise RuntimeError('gone')\n")
            server.start()
            server.ask("act", verb="flush", select={"domain": "slow.example"})
            failed = server.wait_records(2, "TransientFailure")[1]
            assert (failed["enhanced"], failed["command"]) == ("4.3.0", "hook")
            assert failed["text"].startswith("hook choose_route failed: RuntimeError: gone")


def test_before_attempt(tmp_path: Path) -> None:
    hooks = """
def before_attempt(attempt):
    kind = attempt.recipients[0].partition("@")[0]
    if kind == "skip" and time.time() * 1e6 - attempt.received_us < 1.5e6:
        return Skip(1.0)
    if kind == "defer" and not attempt.attempts:
        return Defer("not yet", 450, "4.7.5")
    if kind == "bounce":
        return Bounce("never")
    if kind == "raise" and not attempt.attempts:
        raise KeyError("x")
    if kind == "alter":
        return Go(set_headers={"X-Id": attempt.id, ".Dot": "x"}, remove_headers=("Subject",))
"""
    with RemoteMX() as remote, Hooked(tmp_path / "home", remote, hooks) as server:
        ids = {k: server.send(f"{k}@b.example")
               for k in ("skip", "defer", "bounce", "raise", "alter", "go")}  # fmt: skip
        got = {m.recipients[0].partition("@")[0]: m for m in remote.wait(6)}  # the DSN too
        assert f"X-Id: {ids['alter']}\r\n.Dot: x\r\n".encode() in got["alter"].content
        assert b"Subject" not in got["alter"].content
        assert b"Subject: scenario" in got["go"].content
        assert b"never" in got["sender"].content
        server.wait_records(6, "Delivery")
        failures = {r["recipient"]: r for r in server.records("TransientFailure")}
        assert set(failures) == {"defer@b.example", "raise@b.example"}
        deferred = failures["defer@b.example"]
        assert (deferred["code"], deferred["enhanced"]) == (450, "4.7.5")
        assert deferred["text"] == "not yet"
        assert failures["raise@b.example"]["text"].startswith("hook before_attempt failed: Key")
        [bounced] = server.records("Bounce")
        assert (bounced["text"], bounced["recipient"]) == ("never", "bounce@b.example")
        skipped = [r for r in server.records() if r.get("recipient") == "skip@b.example"]
        assert [r["type"] for r in skipped] == ["Delivery"]
        assert skipped[0]["attempts"] == 1


def test_after_attempt(tmp_path: Path) -> None:
    hooks = """
OUT = open({out!r}, "a", buffering=1)
async def after_attempt(attempt):
    OUT.write(f"{{attempt.recipient}} {{attempt.kind}} {{attempt.code}} {{attempt.attempts}}\\n")
    if attempt.text == "gone" and attempt.attempts == 1:
        return Defer("once more")
    if attempt.text == "full":
        return Bounce("full is full")
    if attempt.text == "odd" and attempt.attempts == 1:
        raise RuntimeError("boom")
    if attempt.recipient == "sent@b.example":
        return Defer("again!")
"""
    answers = {"gone": "550 5.1.1 gone", "full": "452 4.2.2 full", "odd": "550 5.0.0 odd"}
    manners = Manners(rcpt=lambda recipient: answers.get(recipient.partition("@")[0]))
    out = tmp_path / "out"
    hooks = hooks.format(out=str(out))
    with RemoteMX(manners) as remote, Hooked(tmp_path / "home", remote, hooks) as server:
        names = [f"{n}@b.example" for n in ("gone", "full", "odd", "sent", "sent2")]
        server.send(*names, sender="")
        server.wait_records(3, "Bounce")
        remote.wait(1)
        by = {}
        for record in server.wait_records(2, "Delivery") and server.records():
            if "recipient" in record:
                by.setdefault(record["recipient"].partition("@")[0], []).append(record)
        assert [r["type"] for r in by["gone"]] == ["TransientFailure", "Bounce"]
        assert by["gone"][0]["text"] == "once more"
        assert [(r["type"], r["text"]) for r in by["full"]] == [("Bounce", "full is full")]
        assert [r["type"] for r in by["odd"]] == ["TransientFailure", "Bounce"]
        assert by["odd"][0]["text"].startswith("hook after_attempt failed: RuntimeError: boom")
        assert by["odd"][0]["text"].endswith("the answer was: 550 5.0.0 odd")
        assert [r["type"] for r in by["sent"]] == ["Delivery"]
        server.wait_said("a delivery cannot be changed")
        assert len(remote.received) == 1
        told = sorted(out.read_text().splitlines())
        assert told.count("sent@b.example delivered 250 1") == 1
        assert "gone@b.example bounced 550 2" in told


def test_every_record_is_an_event_and_a_restart_goes_on(tmp_path: Path) -> None:
    hooks = """
OUT = open({out!r}, "a", buffering=1)
def event(record):
    if record.get("recipient") == "boom@b.example":
        raise ValueError(record["type"])
    OUT.write(json.dumps(record) + "\\n")
"""
    out = tmp_path / "out"
    out.touch()

    def wait_events(count: int) -> list[dict[str, Any]]:
        wait(lambda: out.read_bytes().count(b"\n") >= count, out.read_text)
        return [json.loads(line) for line in out.read_text().splitlines()]

    hooks = hooks.format(out=str(out))
    with RemoteMX() as remote, Hooked(tmp_path / "home", remote, hooks) as server:
        server.send("boom@b.example")
        server.send("one@b.example")
        events = wait_events(3)
        assert sorted(e["type"] for e in events) == ["Delivery", "Reception", "Reception"]
        server.wait_said("hook event failed: ValueError: Delivery")
        server.stop()
        # What is logged while the server is down, or before the hook is back, is not lost.
        server.start()
        server.send("two@b.example")
        events = wait_events(5)
        assert len(events) == 5
        assert [e for e in server.records() if e.get("recipient") != "boom@b.example"] == events


def test_a_changed_file_is_used_and_a_broken_one_is_not(tmp_path: Path) -> None:
    refuse = "def message_accepted(m):\n    return Refuse('{}')\n"
    with RemoteMX() as remote:
        server = Hooked(tmp_path / "home", remote, refuse.format("one"), workers=2)
        with server:
            assert refusal(server) == "550 5.7.1 one"
            server.write(refuse.format("two"))
            server.wait_said("hooks reloaded from")
            assert {refusal(server) for _ in range(6)} == {"550 5.7.1 two"}
            for broken, told in (
                ("def message_accepted(m:\n", f"{server.script}:3: not Python"),
                ("x = y\n", f"{server.script}:3: NameError: name 'y' is not defined"),
                ("def mesage_accepted(m): ...\n",
                 f"{server.script}:3: mesage_accepted: is no hook (did you mean message_accepted"),
                ("def message_accepted(): ...\n", "cannot be called with one argument"),
            ):  # fmt: skip
                server.write(broken)
                server.wait_said(f"the old ones stay: {told}" if "/" in told else told)
                assert refusal(server) == "550 5.7.1 two"
            assert server.process is not None
            server.process.send_signal(signal.SIGHUP)
            server.wait_said("reload refused, the old settings stay:")
            server.write(refuse.format("three"))
            server.process.send_signal(signal.SIGHUP)
            server.wait_said("\nreloaded")
            assert {refusal(server) for _ in range(6)} == {"550 5.7.1 three"}
            # Without a file hooks are gone, and nothing is left in the way.
            server.file.write_text(server.file.read_text().partition("[hooks]")[0])
            server.ask("reload")
            server.send("r@b.example")
            remote.wait(1)


def test_a_broken_file_ends_the_start(tmp_path: Path) -> None:
    with RemoteMX() as remote:
        server = Hooked(tmp_path / "home", remote, "import nothing_of_this_name\n")
        with pytest.raises(AssertionError, match=r"hooks\.py:3: ModuleNotFoundError"):
            server.start()
