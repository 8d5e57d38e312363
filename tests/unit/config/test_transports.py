"""Transports in the configuration, and what is said of mistakes in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mta.cli.settings import rows_of
from mta.config.load import examine

GOOD = """\
[[route]]
match = { domain = "a.example" }
transport = "dovecot"
[transport.dovecot]
kind = "lmtp"
address = ["unix:/run/lmtp", "127.0.0.1:24", "[::1]:24", "mail.example"]
[transport.box]
kind = "maildir"
path = "/var/mail/{tenant}/{domain}/{local}"
[transport.filter]
kind = "pipe"
command = ["/bin/cat", "-u", "{recipient}", "--from={sender}"]
timeout = "5s"
[transport.hook]
kind = "http"
url = "https://hooks.example/in"
format = "json"
token = "s3cret"
headers = { X-Key = "s3cret" }
[transport.nowhere]
kind = "discard"
[transport.archive]
kind = "file"
path = "/var/mail/archive"
append = false
"""


def test_every_kind_is_read_and_no_secret_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "mailrace.toml"
    path.write_text(GOOD)
    config, problems, _ = examine(path, (), "/h")
    assert not problems
    assert config is not None
    assert config.transport["hook"].token == "s3cret"
    shown = {row["key"]: row["value"] for row in rows_of(config)}
    assert shown["transport.hook.token"] == '"***"'
    assert shown["transport.hook.headers"] == '{ X-Key = "***" }'
    assert shown["transport.box.token"] == '""'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "kind: is missing"),
        ('kind = "ltmp"', 'kind: needs one of "lmtp", "maildir"'),
        ('kind = "lmtp"', "address: is missing: a lmtp transport needs it"),
        ('kind = "lmtp"\naddress = "unix:lmtp"', '"unix:lmtp" is not the address of a server'),
        ('kind = "lmtp"\naddress = "h:99999"', '"h:99999" is not the address of a server'),
        ('kind = "discard"\npath = "/x"',
         "path: is not an option of a discard transport (it takes no options)"),
        ('kind = "file"\npath = "/x"\nurl = "http://x"',
         "url: is not an option of a file transport (it takes path, append, timeout)"),
        ('kind = "maildir"\npath = "mail"', "path: is not an absolute path"),
        ('kind = "maildir"\npath = "/a/../{local}"', 'path: contains ".."'),
        ('kind = "maildir"\npath = "/a/{user}"', "path: {user} is not known (known are"),
        ('kind = "maildir"\npath = "/a/{recipient}"', "path: {recipient} is not known"),
        ('kind = "pipe"\ncommand = "cat"', '"cat" is not an absolute path'),
        ('kind = "pipe"\ncommand = "/bin/cat -u"',
         "/bin/cat -u cannot be run (write ['/bin/cat', '-u'] instead, no shell splits it)"),
        ('kind = "pipe"\ncommand = "/tmp"', "command.0: /tmp cannot be run"),
        ('kind = "pipe"\ncommand = ["/bin/cat", "{x}"]', "command.1: {x} is not known"),
        ('kind = "pipe"\ncommand = "/bin/cat"\nuser = "no-such"', 'there is no user "no-such"'),
        ('kind = "http"\nurl = "ftp://x"', '"ftp://x" is not a URL'),
        ('kind = "http"\nurl = "http://u:p@x/"', "url: has a user or password in it"),
        ('kind = "http"\nurl = "http://[::1/"', "is not a URL"),
        ('kind = "http"\nurl = "http://x"\nheaders = { "a b" = "c" }',
         'headers."a b": cannot be sent as a header field'),
        ('kind = "http"\nurl = "http://x"\nheaders = { a = "b\\r\\nc" }',
         "headers.a: cannot be sent as a header field"),
        ('kind = "http"\nurl = "http://x"\ntoken = "a b"', "token: has characters that no token"),
        ('kind = "http"\nurl = "http://x"\ntoken_file = "/no-such"',
         "token_file: /no-such cannot be read: No such file or directory"),
        ('kind = "http"\nurl = "http://x"\ntoken = "a"\ntoken_file = "/dev/null"',
         "token: cannot be combined with token_file"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "mailrace.toml"
    path.write_text(f"[transport.x]\n{text}\n")
    found = [str(error) for error in examine(path, (), "/h").problems]
    assert any("transport.x" in one and expected in one for one in found), found
    assert not any("u:p" in one for one in found if "password" not in one)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_server_that_gives_up_root_has_no_other_user(tmp_path: Path) -> None:
    path = tmp_path / "mailrace.toml"
    table = '[transport.x]\nkind = "pipe"\ncommand = "/bin/cat"\nuser = "nobody"\n'
    for server, expected in (("", 0), ("nobody", 0), ("daemon", 1)):
        path.write_text(f'user = "{server}"\n{table}')
        problems = examine(path, (), "/h").problems
        assert len(problems) == expected
    assert 'transport.x.user: the server becomes "daemon"' in str(problems[0])


def test_routes_to_transports(tmp_path: Path) -> None:
    path = tmp_path / "mailrace.toml"
    path.write_text(
        '[[route]]\ntransport = "boxx"\n[[route]]\ntransport = "box"\nnext_hop = "h:25"\n'
        '[transport.box]\nkind = "discard"\n'
    )
    found = [str(error).partition(": ")[2] for error in examine(path, (), "/h").problems]
    assert found == [
        'route.0.transport: there is no "boxx" (did you mean box?)',
        "route.1.next_hop: cannot be combined with transport (keep one of them)",
    ]
