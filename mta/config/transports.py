"""Judges `[transport.NAME]`: which options a kind needs and takes, and whether they can work."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from mta.config import fields
from mta.config.access import unreadable
from mta.config.faults import fault
from mta.config.kinds import Transport
from mta.errors import ConfigError

# What each kind takes; what it needs comes first.
OPTIONS = {
    "lmtp": ("address",),
    "maildir": ("path",),
    "pipe": ("command", "user", "timeout"),
    "http": ("url", "format", "token", "token_file", "headers", "timeout"),
    "discard": (),
    "file": ("path", "append", "timeout"),
}
NEEDED = {kind: options[0] for kind, options in OPTIONS.items() if options}
IN_PATHS = ("local", "domain", "tenant")
IN_ARGUMENTS = ("recipient", "sender", *IN_PATHS, "id")

_PLACE = re.compile(r"\{([^{}]*)\}")
_ADDRESS = re.compile(r"unix:/.+|(\[[^\[\]\s]+\]|[^\s\[\]:,/]+)(?::(\d{1,5}))?")
_TOKEN = re.compile(r"[!-~]+")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_FIELD_VALUE = re.compile(r"[\t -~]*")


def problems(name: str, transport: Transport, server: str) -> Iterator[ConfigError]:
    """All of one transport; `server` is the user that the server becomes, "" for none."""
    kind, path = transport.kind, ("transport", name)
    for field in fields.fields(Transport).values():
        value = getattr(transport, field.attribute)
        if field.name == "kind" or field.name in OPTIONS[kind] or value == field.default:
            continue
        hint = f"it takes {', '.join(OPTIONS[kind])}" if OPTIONS[kind] else "it takes no options"
        yield fault(f"is not an option of a {kind} transport", *path, field.name, hint=hint)
    if kind in NEEDED and not getattr(transport, NEEDED[kind]):
        yield fault(f"is missing: a {kind} transport needs it", *path, NEEDED[kind])
        return
    checks = {"lmtp": lmtp, "maildir": folder, "file": folder, "pipe": pipe}
    if kind in checks:
        yield from checks[kind](transport, path)
    elif kind == "http":
        yield from http(transport, path, server)
    if transport.user:
        yield from user(transport.user, server, (*path, "user"))


def lmtp(transport: Transport, path: fields.Path) -> Iterator[ConfigError]:
    """Servers that can be read."""
    for place, text in enumerate(transport.address):
        match = _ADDRESS.fullmatch(text)
        if match is None or (match[2] and not 0 < int(match[2]) < 65536):
            yield fault(f'"{text}" is not the address of a server', *path, "address", place,
                        hint="write it like unix:/run/dovecot/lmtp or 127.0.0.1:24")  # fmt: skip


def folder(transport: Transport, path: fields.Path) -> Iterator[ConfigError]:
    """A path from the root, with known places to fill in."""
    if not Path(transport.path).is_absolute():
        yield fault("is not an absolute path", *path, "path", hint="begin it with /")
    if ".." in transport.path.split("/"):
        yield fault('contains ".."', *path, "path")
    yield from places(transport.path, IN_PATHS, (*path, "path"))


def places(text: str, known: tuple[str, ...], path: fields.Path) -> Iterator[ConfigError]:
    """Only names that can be filled in stand in braces."""
    for name in _PLACE.findall(text):
        if name not in known:
            hint = "known are " + ", ".join(f"{{{one}}}" for one in known)
            yield fault(f"{{{name}}} is not known", *path, hint=hint)


def pipe(transport: Transport, path: fields.Path) -> Iterator[ConfigError]:
    """A program that can be run, by a user that can be had."""
    program = transport.command[0]
    where = (*path, "command", "0")
    if not Path(program).is_absolute():
        yield fault(f'"{program}" is not an absolute path', *where, hint="begin it with /")
    elif not os.access(program, os.X_OK) or Path(program).is_dir():
        blank = " " in program
        hint = f"write {program.split()} instead, no shell splits it" if blank else ""
        yield fault(f"{program} cannot be run", *where, hint=hint, local=True)
    for place, text in enumerate(transport.command):
        yield from places(text, IN_ARGUMENTS, (*path, "command", str(place)))


def user(name: str, server: str, path: fields.Path) -> Iterator[ConfigError]:
    """A user of this machine that the server may become."""
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        yield fault(f'there is no user "{name}" here', *path, local=True)
        return
    if os.geteuid() not in (0, uid):
        yield fault(f'only root can run commands as "{name}"', *path, local=True)
    elif server and server != name:
        yield fault(f'the server becomes "{server}", which cannot run commands as another', *path,
                    hint="without the setting user it stays root")  # fmt: skip


def http(transport: Transport, path: fields.Path, server: str) -> Iterator[ConfigError]:
    """A URL to post to, header fields that can be sent, and one token."""
    try:
        url = urlsplit(transport.url)
        fine = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        fine = False
    if not fine or not transport.url.isprintable() or " " in transport.url:
        yield fault(f'"{transport.url}" is not a URL', *path, "url",
                    hint="write it like https://hooks.example.com/mail")  # fmt: skip
    elif url.username or url.password:
        yield fault("has a user or password in it", *path, "url",
                    hint="URLs are shown: use headers or token")  # fmt: skip
    for name, value in transport.headers.items():
        if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            yield fault("cannot be sent as a header field", *path, "headers", name)
    if transport.token and transport.token_file:
        yield fault("cannot be combined with token_file", *path, "token", hint="keep one of them")
    if transport.token_file and (denied := unreadable(transport.token_file, server)):
        yield fault(f"{transport.token_file} cannot be read: {denied}", *path, "token_file",
                    local=True)  # fmt: skip
        return
    try:
        if not _TOKEN.fullmatch(bearer(transport) or "x"):
            key = "token_file" if transport.token_file else "token"
            yield fault("has characters that no token has", *path, key)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a text"
        yield fault(f"{transport.token_file} cannot be read: {why}", *path, "token_file",
                    local=True)  # fmt: skip


def bearer(transport: Transport) -> str:
    """The bearer token, from its file where one is named; OSError, UnicodeDecodeError."""
    if not transport.token_file:
        return transport.token
    with open(transport.token_file, encoding="utf-8") as file:
        return file.read().strip()


def identity(transport: Transport) -> tuple[object, ...]:
    """All that tells whether a transport is still the same: options, and the token of a file."""
    return (*msgspec.structs.astuple(transport), bearer(transport))
