"""`mta config`."""

from __future__ import annotations

import pwd
import re
from pathlib import Path

import msgspec
import pytest

from mta.cli import reference
from mta.config import fields
from mta.config.access import unreadable
from mta.config.load import load, to_json
from tests.unit.cli.conftest import Run, Server


def test_init_writes_a_file_that_is_fine(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    assert run("config", "init", path).code == 0
    assert load(path, home=tmp_path) == load(None, home=tmp_path)
    ran = run("config", "init", path)
    assert (ran.code, ran.err) == (1, f"mta: {path}: already exists (--force replaces it)\n")
    assert run("config", "init", path, "--force", "--json").json == {"file": str(path)}
    assert "cannot be written" in run("config", "init", tmp_path / "no" / "m.toml").err


def test_the_template_without_its_comment_marks_is_the_default(tmp_path: Path) -> None:
    text = re.sub(r"^# (\[|[a-z0-9_]+ = )", r"\1", reference.template(), flags=re.M)
    text = re.sub(
        r"^(home|spool|log_dir|hostname|socket|from|postmaster) = .*\n", "", text, flags=re.M
    )
    text = re.sub(r"^(initial|factor|max_interval) = .*\n", "", text, flags=re.M)
    path = tmp_path / "m.toml"
    before, header, table = text.partition("[table.NAME]\n")
    text = before + header + table.replace('file = ""', f'file = "{path}"', 1)  # it needs one
    path.write_text(text)
    found, usual = load(path, home=tmp_path), load(None, home=tmp_path)
    for name in (
        "smtpd",
        "delivery",
        "memory",
        "log",
        "dns",
        "disk",
        "listener",
        "control_headers",
    ):
        assert getattr(found, name) == getattr(usual, name), name
    assert list(found.tenant) == ["NAME"]
    assert len(found.route) == 1


def test_check(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("[smtpd]\nmax_sise = 3\n")
    ran = run("config", "check", path)
    said = f"{path}:2: smtpd.max_sise: is not a setting (did you mean max_size?)"
    assert (ran.code, ran.out) == (1, said + "\n")
    assert run("config", "check", path, "--json").json == {
        "ok": False,
        "problems": [
            {"where": f"{path}:2", "key": "smtpd.max_sise", "problem": "is not a setting",
             "hint": "did you mean max_size?"}
        ],
    }  # fmt: skip
    path.write_text("")
    assert run("config", "check", path).out == f"{path} is fine\n"
    assert run("config", "check", "-o", "workers=x", "--json").json["ok"] is False


def test_show_tells_where_a_setting_was_given(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('[smtpd]\nmax_size = "1MB"\n[retry]\nschedule = ["1m"]\n')
    ran = run("config", "show", "-c", path, "--changed", "-o", "workers=3")
    assert ran.out.splitlines() == [
        "workers = 3  # command line",
        f'smtpd.max_size = "1MB"  # {path}:2',
        f'retry.schedule = ["1m"]  # {path}:4',
    ]
    rows = run("config", "show", "-c", path, "--json").json
    keys = [row["key"] for row in rows]
    assert "delivery.overlap" in keys and "retry.initial" not in keys
    assert run("config", "show", "-o", "workers=x").err.startswith("mta: command line: workers: ")


def test_show_can_be_given_back(run: Run, tmp_path: Path) -> None:
    ran = run("config", "show", "--home", tmp_path)
    flags = [text for line in ran.out.splitlines() for text in ("-o", line.split("  #")[0])]
    again = run("config", "show", "--changed", *flags)
    assert len(again.out.splitlines()) == len(ran.out.splitlines())


def test_show_running(run: Run, server: Server) -> None:
    config = load(None, [("workers", "1"), ("smtpd.max_size", "1MB")], server.home)
    server.answer("config.show", result=msgspec.json.decode(to_json(config)))
    ran = run("config", "show", "--running", "--changed", "--home", server.home)
    assert 'smtpd.max_size = "1MB"  # running server' in ran.out.splitlines()
    assert "overlap" not in ran.out


def test_reload(run: Run, server: Server) -> None:
    server.answer("reload", result={"restart": ["workers"]})
    ran = run("config", "reload", "--home", server.home)
    assert ran.out == "reloaded\nrestart to apply workers\n"
    server.answer("reload", error="m.toml:2: smtpd.x: is not a setting")
    assert run("config", "reload", "--home", server.home).code == 1


def test_reference_as_json_has_every_setting(run: Run) -> None:
    rows = run("config", "reference", "--json").json
    assert [row["key"] for row in rows] == [fields.join(path) for path, _ in fields.settings()]
    assert all(row["meaning"] and row["takes"] for row in rows)


def test_init_to_a_pipe_is_toml_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("config", "init").out == reference.template() == run("config", "init", "-").out
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "wrote mailrace.toml" in run("config", "init").out
    assert run("config", "init", "-c", tmp_path / "o.toml").code == 0
    assert (tmp_path / "o.toml").exists()


def test_file_and_option_name_the_same(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("workers = 3\n")
    assert run("config", "check", "-c", path).out == f"{path} is fine\n"
    assert run("config", "show", path, "--changed").out == f"workers = 3  # {path}:1\n"
    assert run("config", "show", path, "-c", tmp_path / "x").code == 2


MISSING = """
user = "nobody-of-that-name"
group = "nobody-of-that-name"
[[listener]]
listen = "127.0.0.1:0"
handler = "/none/policy.py:Policy"
[transport.t]
kind = "http"
url = "http://127.0.0.1/"
token_file = "/none/token"
[table.x]
kind = "file"
file = "/none/table"
"""


def test_check_finds_what_the_machine_lacks(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(MISSING)
    rows = run("config", "check", path, "--json").json["problems"]
    assert {row["key"] for row in rows} == {
        "user", "group", "listener.0.handler", "transport.t.token_file", "table.x.file"
    }  # fmt: skip
    assert run("config", "check", path, "--offline").out == f"{path} is fine\n"
    assert run("config", "show", path).code == 0


def test_readable_is_judged_for_the_server_s_user(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    assert unreadable(str(token), "") == ""
    assert unreadable(str(tmp_path), "") == "it is not a file"
    token.chmod(0o600)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    other = pwd.struct_passwd(("other", "x", 54321, 54321, "", "/", "/bin/sh"))
    monkeypatch.setattr("pwd.getpwnam", lambda name: other)
    monkeypatch.setattr("os.getgrouplist", lambda name, gid: [gid])
    assert "user other has no right to" in unreadable(str(token), "other")


def test_a_list_s_key_names_its_index(run: Run) -> None:
    ran = run("serve", "-o", "listener.listen=x")
    assert "(write listener.0 for the first, up to listener.1 for a new one)" in ran.err
