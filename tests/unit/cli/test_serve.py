"""`mta serve`: each flag is the setting it stands for."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from mta.config import fields
from mta.config.schema import Config
from tests.unit.cli.conftest import Run

Call = dict[str, Any]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Call:
    """What the supervisor was called with."""
    call: Call = {}

    def serve(config: Config, path: Path | None, overrides: list[tuple[str, str]]) -> int:
        call.update(config=config, path=path, overrides=overrides)
        return 7

    package = types.ModuleType("mta.supervisor")
    package.master = types.SimpleNamespace(serve=serve)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mta.supervisor", package)
    return call


def flat(config: Config) -> dict[str, str]:
    """Every setting as text."""
    return {fields.join(p): fields.text(f, value) for p, f, value in fields.walk(config)}


@pytest.mark.parametrize(
    ("flags", "key", "value"),
    [
        (["--workers", "3"], "workers", "3"),
        (["--home", "/h"], "spool", '"/h/spool"'),
        (["--spool", "/s"], "spool", '"/s"'),
        (["--log-dir", "/l"], "log_dir", '"/l"'),
        (["--listen", "[::1]:25"], "listener.0.listen", '"[::1]:25"'),
        (["--listen", "h:1", "--listen", "h:2"], "listener.1.listen", '"h:2"'),
        (["--sessions", "40000"], "smtpd.max_sessions", "40000"),
        (["--max-connections", "9"], "delivery.max_connections", "9"),
        (["--connections-per-destination", "9"], "limits.site.default.connections", "9"),
        (["--messages-per-connection", "0"], "delivery.messages_per_connection", "0"),
        (["--rate", "100/s, burst=4"], "limits.site.default.rate", '"100/s, burst=4"'),
        (["--retry", "1m,5m"], "retry.schedule", '["1m", "5m"]'),
        (["--max-age", "2d"], "retry.max_age", '"2d"'),
        (["--outcome-interval", "20ms"], "delivery.outcome_interval", '"20ms"'),
        (["--memory", "500MB"], "memory.cap", '"500MB"'),
        (["-o", "smtpd.max_size=1MB"], "smtpd.max_size", '"1MB"'),
        (["-o", "dsn.from=a@b=c"], "dsn.from", '"a@b=c"'),
        (
            ["--listen", "h:1", "-o", "listener.0.add_headers=true"],
            "listener.0.add_headers",
            "true",
        ),
        (["--route", "*=127.0.0.1:2526"], "route.0.next_hop", '["127.0.0.1:2526"]'),
        (["--route", "a.b=[192.0.2.1]:25, h:26"], "route.0.next_hop", '["[192.0.2.1]:25", "h:26"]'),
        (["--route", "a=h", "--route", "*=i"], "route.1.match.domain", '"*"'),
    ],
)
def test_flags(run: Run, served: Call, flags: list[str], key: str, value: str) -> None:
    ran = run("serve", *flags)
    assert (ran.code, ran.err) == (7, "")
    assert flat(served["config"])[key] == value


def test_flags_count_before_the_file(run: Run, served: Call, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('workers = 1\n[[listener]]\nlisten = "h:1"\n[[route]]\nnext_hop = "x"\n')
    run("serve", "--config", path, "--workers", "2", "--listen", "h:2", "--route", "a=b")
    config: Config = served["config"]
    assert config.workers == 2
    assert [listener.listen for listener in config.listener] == ["h:2"]
    assert [route.next_hop for route in config.route] == [("b",), ("x",)]
    assert served["path"] == path
    assert ("workers", "2") in served["overrides"]


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--route", "nothing"], 2, "is not a route"),
        (["--route", "=h"], 2, "is not a route"),
        (["-o", "workers"], 2, "is not KEY=VALUE"),
        (
            ["-o", "wrokers=1"],
            2,
            "mta: command line: wrokers: is not a setting (did you mean workers?)",
        ),
        (["--listen", "25"], 2, 'command line: listener.0.listen: "25" is not an address'),
        (["--rate", "fast"], 2, 'limits.site.default.rate: "fast" is not a rate'),
        (["--config", "/none.toml"], 1, "/none.toml: cannot be read: No such file"),
    ],
)
def test_mistakes(run: Run, served: Call, flags: list[str], code: int, said: str) -> None:
    ran = run("serve", *flags)
    assert ran.code == code
    assert said in " ".join(ran.err.split())
    assert not served


def test_every_problem_is_printed(run: Run, served: Call) -> None:
    ran = run("serve", "-o", "aaa=1", "-o", "bbb=1")
    assert [line.split(": ")[2] for line in ran.err.splitlines()] == ["aaa", "bbb"]
