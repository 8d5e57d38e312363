"""The tables whose options depend on their `kind`: transports, and lookup tables for hooks."""

from __future__ import annotations

from typing import Annotated, Literal

from mta.config.declare import Path, Seconds, Secret, Section, doc


class Transport(Section, frozen=True):
    """A way of delivery other than SMTP; limited as a site of its name."""

    kind: Annotated[
        Literal["lmtp", "maildir", "pipe", "http", "discard", "file"],
        doc("Kind of transport; each has its own options, marked below"),
    ]
    address: Annotated[
        tuple[str, ...],
        doc(
            "lmtp: servers, in order of preference: unix:/path or host:port (RFC 2033); "
            "default port: 24",
            unit="servers",
        ),
    ] = ()
    path: Annotated[
        Path,
        doc(
            "maildir: the folder; file: the mbox, or a folder of files. `{local}` (in "
            "lower case), `{domain}` and `{tenant}` are replaced by the recipient's. "
            "Created if missing"
        ),
    ] = ""
    append: Annotated[
        bool, doc("file: append to an mbox (RFC 4155); false = one file NAME.eml per message")
    ] = True
    command: Annotated[
        tuple[str, ...],
        doc(
            "pipe: program and arguments, run without a shell. It reads the message from "
            "standard input; its exit code is judged as in sysexits.h. `{recipient}`, "
            "`{sender}`, `{local}`, `{domain}`, `{tenant}` and `{id}` are replaced",
            unit="texts",
        ),
    ] = ()
    user: Annotated[
        str, doc("pipe: run as this user, if the server is root; default: the server's user")
    ] = ""
    url: Annotated[str, doc("http: URL to POST to", unit="URL")] = ""
    format: Annotated[
        Literal["raw", "json"],
        doc("http: `raw`, the message as it is, or `json`, a document with its decoded parts"),
    ] = "raw"
    token: Annotated[Secret, doc("http: bearer token (RFC 6750)")] = ""
    token_file: Annotated[
        Path, doc("http: file with the bearer token, read at start and reload")
    ] = ""
    headers: Annotated[dict[str, Secret], doc("http: additional header fields", unit="texts")] = {}
    timeout: Annotated[
        Seconds,
        doc(
            "Time allowed: pipe, for a run; http, for a request; file, for a lock on the mbox",
            ge=0.001,
        ),
    ] = 60.0


class Table(Section, frozen=True):
    """A lookup table for hooks: `await tables["NAME"].get(key)`."""

    kind: Annotated[
        Literal["file", "cidr", "regex", "sqlite", "sql", "ldap", "redis"],
        doc("Kind of table; each has its own options, marked below"),
    ]
    file: Annotated[
        Path,
        doc(
            "file: lines of `key value`; cidr: `192.0.2.0/24 value`; regex: "
            "`/expression/i value`; sqlite: the database. Read again when it changes"
        ),
    ] = ""
    query: Annotated[
        str,
        doc(
            "sqlite, sql: SELECT statement; the key is the driver's parameter (`?`, `%s`) or `:key`"
        ),
    ] = ""
    driver: Annotated[str, doc("sql: DB-API module, such as psycopg or pymysql")] = ""
    dsn: Annotated[str, doc("sql: first argument of the driver's connect()")] = ""
    arguments: Annotated[
        dict[str, str],
        doc("sql: keyword arguments of the driver's connect(); digits are passed as a number"),
    ] = {}
    url: Annotated[str, doc("ldap: ldap://host or ldaps://host; redis: redis://host:6379/0")] = ""
    key: Annotated[str, doc("redis: key to GET; `{key}` is replaced by the key looked up")] = (
        "{key}"
    )
    base: Annotated[str, doc("ldap: search base")] = ""
    filter: Annotated[str, doc("ldap: search filter, such as (mail={key})")] = ""
    attribute: Annotated[str, doc("ldap: attribute whose first value is returned")] = ""
    bind_dn: Annotated[str, doc("ldap: DN to bind as; default: anonymous")] = ""
    password_file: Annotated[Path, doc("ldap: file with the password")] = ""
    ttl: Annotated[Seconds, doc("Cache answers for this long, also that there is none", ge=0)] = (
        60.0
    )
    size: Annotated[int, doc("Most answers to cache, per worker", ge=1)] = 10_000
    timeout: Annotated[Seconds, doc("Time allowed for an answer", ge=0.001)] = 3.0
    connections: Annotated[int, doc("Most concurrent lookups, per worker", ge=1, le=1000)] = 4
