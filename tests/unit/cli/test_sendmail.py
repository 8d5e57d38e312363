"""`sendmail`: its command line, the message it makes, and what its exit code says."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mta.cli import mailq, sendmail, submission
from mta.cli.sendmail import Options, compose, parse, read
from mta.cli.submission import Place, SendmailError
from mta.reception.pickup import parse as parse_drop
from mta.testing.remote import Manners, RemoteMX
from tests.unit.cli.conftest import Run, Server
from tests.waiting import PATIENCE


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("-t -i", Options(from_header=True, ignore_dots=True)),  # PHP
        ("-ti", Options(from_header=True, ignore_dots=True)),
        ("-oi a@b", Options(ignore_dots=True, recipients=["a@b"])),
        ("-i -- -odd@b", Options(ignore_dots=True, recipients=["-odd@b"])),  # mail(1)
        ("-i -f me@x a@b c@d", Options(ignore_dots=True, sender="me@x", recipients=["a@b", "c@d"])),
        ("-fme@x a", Options(sender="me@x", recipients=["a"])),
        ("-rme@x a", Options(sender="me@x", recipients=["a"])),
        ("-f <> a", Options(sender="", recipients=["a"])),
        ("-FCronDaemon -i -odi -oem -oi -t", Options(full_name="CronDaemon", ignore_dots=True,
                                                     from_header=True)),  # Debian's cron
        ("-i -FCronDaemon -B8BITMIME -oem root", Options(ignore_dots=True, full_name="CronDaemon",
                                                         recipients=["root"])),  # cronie
        ("-F Me -B 8BITMIME a", Options(full_name="Me", recipients=["a"])),
        ("-bm -v -m -n -U -G a", Options(verbose=True, recipients=["a"])),
        ("-N success,delay -R hdrs -V q1 a", Options(notify="SUCCESS,DELAY", ret="HDRS",
                                                     envid="q1", recipients=["a"])),
        ("-Ac -O DeliveryMode=b -L tag -X /log -p x -h 3 -C /c -d0.1 a", Options(recipients=["a"])),
        ("-bp", Options(mode="p")),
        ("-bs", Options(mode="s")),
        ("-bi", Options(mode="i")),
        ("-q30m", Options(mode="q")),
        ("--server 127.0.0.1:25 --home=/h a", Options(server="127.0.0.1:25", home="/h",
                                                      recipients=["a"])),
        ("-", Options(recipients=["-"])),
    ],
)  # fmt: skip
def test_command_lines(line: str, wanted: Options) -> None:
    assert parse(line.split()) == wanted


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-f", "-f needs a value"),
        ("-bd", "-bd is not offered"),
        ("-z a", "there is no option -z"),
        ("-tz", "there is no option -z"),
        ("--nonsense", "there is no option --nonsense"),
        ("--home", "--home needs a value"),
    ],
)
def test_mistakes(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sendmail.run(line.split()) == 64
    assert capsys.readouterr().err.startswith(f"sendmail: {said}")


@pytest.mark.parametrize(
    ("data", "dots", "taken"),
    [
        (b"a\n.\nb\n", False, b"a\n"),
        (b"a\r\n.\r\nb", False, b"a\r\n"),
        (b"a\n.", False, b"a\n"),
        (b"a\n..\n", False, b"a\n..\n"),
        (b"a\n.\nb\n", True, b"a\n.\nb\n"),
    ],
)
def test_a_lone_dot(data: bytes, dots: bool, taken: bytes) -> None:
    assert read(io.BytesIO(data), ignore_dots=dots) == taken


def composed(line: str, data: bytes) -> submission.Mail:
    return compose(parse(line.split()), data, "host.example")


def test_what_is_missing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sendmail, "user", lambda: ("joe", "Joe Doe"))
    mail = composed("root", b"hello: there\nworld\n")
    assert (mail.sender, mail.recipients) == ("joe@host.example", ["root@host.example"])
    head, _, body = mail.content.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"From: Joe Doe <joe@host.example>"
    assert [line.split(b":")[0] for line in lines[1:]] == [b"Date", b"Message-ID", b"hello"]
    assert body == b"world\r\n"
    assert composed("-F Ann -f a@b x", b"").content.startswith(b"From: Ann <a@b>\r\n")
    whole = b"From: x@y\r\nDate: d\r\nMessage-ID: <1@y>\r\n\r\nbody\r\n"
    assert composed("a@b", whole).content == whole


def test_a_body_without_a_header_is_a_body() -> None:
    mail = composed("a@b", b"just text\n")
    assert mail.content.endswith(b"\r\n\r\njust text\r\n")


def test_recipients_from_the_header() -> None:
    mail = composed("-t extra", b"To: a@b, root\nBcc: c@d\nFrom: x@y\n\n")
    assert mail.recipients == ["extra@host.example", "a@b", "root@host.example", "c@d"]
    assert b"Bcc" not in mail.content
    for line, data in (("-t", b"Subject: x\n\n"), ("", b"To: a@b\n\n")):
        with pytest.raises(SendmailError, match="no recipients") as error:
            composed(line, data)
        assert error.value.code == 64


class Ran:
    """`sendmail` in this process, against a scripted server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.monkeypatch, self.home = monkeypatch, tmp_path
        for name in ("MTA_SERVER", "MTA_CONFIG"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("MTA_HOME", str(tmp_path))
        monkeypatch.setattr(submission, "CONFIG", str(tmp_path / "none.toml"))
        monkeypatch.setattr(sendmail, "mail_name", lambda: "host.example")

    def __call__(self, line: str, data: bytes = b"Subject: s\n\nx\n", port: int = 1) -> int:
        self.monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        return sendmail.run(["--server", f"127.0.0.1:{port}", *line.split()])


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ran:
    return Ran(monkeypatch, tmp_path)


def test_mail_goes_to_the_server(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    manners = Manners(extensions=("8BITMIME", "DSN"))
    with RemoteMX(manners) as remote:
        line = "-v -i -f a@b.example -N never -R hdrs -V q=1 c@d.example e@f.example"
        assert ran(line, "Subject: s\n\n.ä\n.\n".encode(), remote.port) == 0
        [got] = remote.received
        assert (got.sender, got.recipients) == ("a@b.example", ["c@d.example", "e@f.example"])
        assert got.content.endswith("Subject: s\r\n\r\n.ä\r\n.\r\n".encode())
        commands = [c for c in remote.commands if c.upper().startswith(("MAIL", "RCPT"))]
        assert "RET=HDRS" in commands[0] and "ENVID=q+3D1" in commands[0]
        assert "8BITMIME" in commands[0].upper()
        assert all("NOTIFY=NEVER" in command for command in commands[1:])
    assert "> RCPT TO:<c@d.example>\n< 250" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("manners", "code"),
    [
        (Manners(rcpt=lambda r: "550 5.1.1 no such user"), 67),
        (Manners(rcpt=lambda r: "554 5.7.1 relaying denied"), 69),
        (Manners(rcpt=lambda r: "452 4.3.1 full"), 75),
        (Manners(rcpt=lambda r: "550 5.1.1 no" if r[0] == "c" else None), 67),
        (Manners(mail=lambda s: "550 5.7.1 not you"), 69),
        (Manners(data=lambda r: "451 4.3.0 later"), 75),
        (Manners(dot=lambda r: "554 5.6.0 no"), 69),
        (Manners(dot=lambda r: ""), 75),
        (Manners(banner="554 5.3.2 closed"), 69),
        (Manners(banner="421 4.3.2 later"), 75),
    ],
)
def test_exit_codes(
    ran: Ran, manners: Manners, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with RemoteMX(manners) as remote:
        assert ran("c@d.example e@f.example", port=remote.port) == code
    assert capsys.readouterr().err.startswith("sendmail: ")
    assert not (ran.home / "pickup").exists()


def test_addresses_that_are_none(ran: Ran) -> None:
    with RemoteMX() as remote:
        assert ran("-f a@b <c>d@e.example", port=remote.port) == 67
        assert ran("jörg@d.example", port=remote.port) == 69  # no SMTPUTF8 there
        assert not remote.received


def test_without_a_server_the_pickup_folder_takes_it(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    (ran.home / "pickup").mkdir()
    assert ran("-v -f a@b -N never c@d root", b"Subject: s\n\n.x\n") == 0
    assert "the message waits in" in capsys.readouterr().out
    [file] = (ran.home / "pickup").iterdir()
    drop = parse_drop(file.read_bytes(), "other")
    assert drop.sender.address == "a@b"
    assert [one.address for one in drop.recipients] == ["c@d", "root@host.example"]
    assert drop.recipients[0].params == {"NOTIFY": "NEVER"}
    assert drop.body.endswith(b"Subject: s\r\n\r\n.x\r\n")
    assert file.stat().st_mode & 0o137 == 0  # others read nothing


def test_neither_server_nor_folder(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("c@d") == 75
    said = capsys.readouterr().err
    assert "no server at 127.0.0.1:1" in said and "takes nothing: No such file" in said


def test_where_the_server_is(ran: Ran, tmp_path: Path) -> None:
    config = tmp_path / "m.toml"
    config.write_text(
        '[pickup]\nfolder = "/drop"\n[[listener]]\nlisten = "192.0.2.1:25"\n'
        '[[listener]]\nlisten = "127.0.0.1:26"\n'
    )
    assert submission.place("", "/h") == Place(pickup=Path("/h/pickup"))
    ran.monkeypatch.setenv("MTA_CONFIG", str(config))
    assert submission.place("", "") == Place("127.0.0.1", 26, pickup=Path("/drop"))
    config.write_text('[[listener]]\nlisten = "0.0.0.0:25"\n')
    found = submission.place("", "/h")
    assert (found.host, found.port, found.pickup) == ("127.0.0.1", 25, Path("/h/pickup"))
    config.write_text('[[listener]]\nlisten="127.0.0.1:2"\n[[listener]]\nlisten="unix:/run/s"\n')
    assert submission.place("", "").path == "/run/s"
    ran.monkeypatch.setenv("MTA_SERVER", "[::]:27")
    assert submission.place("", "").host == "::1"
    with pytest.raises(SendmailError):
        submission.place("nonsense", "")
    config.write_text("broken")
    assert ran("a@b") == 75  # what cannot be read now may be readable later: nothing is lost


def program(*words: str, name: str = "sendmail", **environ: str) -> list[str]:
    """A command line that calls the entry point by a name, as a link would."""
    code = "import sys; from mta.cli.sendmail import main; sys.argv = sys.argv[1:]; main()"
    return [sys.executable, "-c", code, f"/usr/sbin/{name}", *words]


def test_smtp_over_standard_input() -> None:
    with RemoteMX() as remote:
        command = program("-bs", "--server", f"127.0.0.1:{remote.port}")
        dialog = (
            b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nA: b\r\n\r\nx\r\n.\r\nQUIT\r\n"
        )
        ran = subprocess.run(command, input=dialog, capture_output=True, timeout=PATIENCE)
        assert ran.returncode == 0, ran.stderr
        codes = [line[:3] for line in ran.stdout.splitlines() if line[3:4] == b" "]
        assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"]
        assert remote.received[0].recipients == ["c@d"]


def test_smtp_without_a_server() -> None:
    command = program("-bs", "--server", "127.0.0.1:1")
    ran = subprocess.run(command, input=b"", capture_output=True, timeout=PATIENCE)
    assert (ran.returncode, ran.stdout[:4]) == (75, b"421 ")


def test_names_tell_what_it_is(tmp_path: Path) -> None:
    assert subprocess.run(program(name="newaliases"), timeout=PATIENCE).returncode == 0
    command = program("--home", str(tmp_path), name="mailq")
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 69 and "mailq: no server answers" in ran.stderr


@pytest.mark.parametrize("name", ["mailq", "mailrace-mailq"])
def test_mailq_by_name_finds_the_server_s_home(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    server.answer("queue.list", result=[])
    for variable in ("MTA_SOCKET", "MTA_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MTA_HOME", str(server.home))
    ran = subprocess.run(program(name=name), capture_output=True, text=True, timeout=PATIENCE)
    assert (ran.returncode, ran.stdout) == (0, "Mail queue is empty\n")


def test_the_control_socket_is_that_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("MTA_SOCKET", "MTA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    config = tmp_path / "m.toml"
    config.write_text('home = "/h"\n')
    monkeypatch.setenv("MTA_CONFIG", str(config))
    assert submission.control_socket("") == Path("/h/control.sock")
    assert submission.control_socket("/x") == Path("/x/control.sock")
    monkeypatch.setenv("MTA_SOCKET", "/s.sock")
    assert submission.control_socket("") == Path("/s.sock")


def test_it_starts_light() -> None:
    code = (
        "import sys; from mta.cli import sendmail; sendmail.parse(['-t'])\n"
        "print([n for n in ('typer', 'rich', 'msgspec', 'asyncio', 'rocksdict') "
        "if n in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def row(**values: Any) -> dict[str, Any]:
    base = {
        "id": "1" * 32, "size": 2048, "received": 1_767_225_600_000_000, "sender": "a@b",
        "recipient": "c@d", "state": "ready", "code": 0, "enhanced": "", "text": "",
    }  # fmt: skip
    return base | values


def test_mailq(run: Run, server: Server) -> None:
    rows = [
        row(),
        row(recipient="e@f", state="in flight"),
        row(id="2" * 32, state="held", sender="", code=451, enhanced="4.2.0", text="la\x1bter"),
    ]
    server.answer("queue.list", result=rows)
    ran = run("mailq", "--home", server.home)
    assert ran.code == 0
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert lines[1].startswith(f"{'1' * 32}* 2048 ") and lines[1].endswith(" a@b")
    assert lines[2:4] == ["c@d", "e@f"]
    assert lines[5].startswith(f"{'2' * 32}! 2048 ") and lines[5].endswith(" MAILER-DAEMON")
    assert lines[6] == "(451 4.2.0 la\\x1bter)"
    assert lines[-1] == "-- 4 Kbytes in 2 Requests."
    assert run("mailq", "--json", "--home", server.home).json == rows
    server.answer("queue.list", result=[])
    assert run("sendmail", "-bp", "--home", server.home).out == "Mail queue is empty\n"
    assert run("mailq", "--home", "/none").code == 69


def test_flush(run: Run, server: Server) -> None:
    server.answer("act", result={"act": 1})
    assert run("sendmail", "-q", "--home", server.home).code == 0
    assert server.requests == [{"op": "act", "args": {"verb": "flush", "select": {"all": True}}}]
    assert list(mailq.listing([])) == ["Mail queue is empty"]
