"""`[table.NAME]`: each kind has options of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mta.config.load import examine

GOOD = """
[table.users]
kind = "file"
file = "{file}"

[table.db]
kind = "sql"
driver = "psycopg"
dsn = "dbname=mail"
query = "SELECT a FROM b WHERE c = %s"
arguments = {{ port = "5432" }}

[table.people]
kind = "ldap"
url = "ldap://127.0.0.1"
filter = "(mail={{key}})"
attribute = "cn"
password_file = "{file}"

[table.cache]
kind = "redis"
url = "redis://127.0.0.1:6379/0"
key = "user:{{key}}"
ttl = "0s"
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "mailrace.toml"
    file.write_text(text)
    return [str(error) for error in examine(file, (), tmp_path).problems]


def test_whole_tables(tmp_path: Path) -> None:
    (tmp_path / "users").touch()
    assert problems(tmp_path, GOOD.format(file=tmp_path / "users")) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "table.t.kind: is missing"),
        ('kind = "lists"', 'table.t.kind: needs one of "file"'),
        ('kind = "file"', "table.t.file: is missing: a file table needs it"),
        ('kind = "file"\nfile = "/nowhere/x"', "table.t.file: /nowhere/x cannot be read"),
        (
            'kind = "cidr"\nfile = "/nowhere/x"\nttl = "5s"',
            "table.t.ttl: is not an option of a cidr",
        ),
        (
            'kind = "redis"\nurl = "http://x"',
            'table.t.url: "http://x" must begin with one of redis',
        ),
        ('kind = "redis"\nurl = "redis://x"\nkey = "k"', 'table.t.key: "k" does not contain {key}'),
        ('kind = "ldap"\nurl = "ldap://x"\nattribute = "cn"', "table.t.filter: is missing"),
        ('kind = "sqlite"\nfile = "/nowhere/x"', "table.t.query: is missing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    found = problems(tmp_path, f"[table.t]\n{text}\n")
    assert any(told in line for line in found), found
