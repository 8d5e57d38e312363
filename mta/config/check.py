"""Judges a complete configuration: what types cannot tell. Pure but for the machine's limits."""

from __future__ import annotations

import errno
import grp
import ipaddress
import pwd
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from mta.config import tables, transports, values
from mta.config.access import unreadable
from mta.config.convert import nearest
from mta.config.faults import fault
from mta.config.listener import Listener
from mta.config.schema import Config, Limit, Retry
from mta.config.values import Endpoint
from mta.errors import ConfigError

EXTENSIONS = (
    "PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME", "SMTPUTF8",
    "DSN", "LIMITS", "FUTURERELEASE", "MT-PRIORITY",
)  # fmt: skip
SOCKET_PATH = 107  # sun_path of Linux without its final NUL
_HOSTNAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?")
_FIELD_NAME = re.compile(r"[!-9;-~]+")  # RFC 5322 2.2
_HANDLER = re.compile(r"(/.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):[A-Za-z_]\w*")
_MODE = re.compile(r"0?[0-7]{3}")
_HOP = re.compile(r"(\[[^\[\]\s]+\]|[^\s\[\]:,]+|\[IPv6:[^\[\]\s]+\])(?::(\d{1,5}))?", re.I)


def problems(config: Config, *, offline: bool = False) -> list[ConfigError]:
    """Everything that would not work, each with its key; `offline`: on some other machine."""
    found: list[ConfigError] = []
    parts = (
        listeners, names, extensions, paths, memory, retries, routes, ways, sources, pools,
        delivery, nameservers, http, identity, handlers, hooks, lookups,
    )  # fmt: skip
    for part in parts:
        found.extend(error for error in part(config) if not (offline and error.local))
    return found


def listeners(config: Config) -> Iterator[ConfigError]:
    """Addresses that can be read and are there once, and their client networks."""
    if not config.listener:
        yield fault("is empty: no mail could come in", "listener")
    seen: dict[Endpoint, int] = {}
    for number, listener in enumerate(config.listener):
        try:
            endpoint = listener.endpoint
        except ValueError as error:
            yield fault(str(error), "listener", number, "listen")
            continue
        if len(endpoint.path.encode()) > SOCKET_PATH:
            yield fault(f"is longer than {SOCKET_PATH} octets", "listener", number, "listen")
        if endpoint in seen and (endpoint.port or endpoint.path):
            text = f"{endpoint} is already the address of listener.{seen[endpoint]}"
            yield fault(text, "listener", number, "listen")
        seen.setdefault(endpoint, number)
        yield from networks(listener, number)
        if not _MODE.fullmatch(listener.mode):
            yield fault(f'"{listener.mode}" is no file mode', "listener", number, "mode",
                        hint='write three digits from 0 to 7, as "0660"')  # fmt: skip
        if listener.handler and not _HANDLER.fullmatch(listener.handler):
            hint = "write it like package.module:Class or /etc/mailrace/policy.py:Class"
            yield fault(f'"{listener.handler}" is not a handler', "listener", number, "handler",
                        hint=hint)  # fmt: skip


def http(config: Config) -> Iterator[ConfigError]:
    """The address for monitoring: one that can be read and that no listener has."""
    if not config.http.listen:
        return
    try:
        endpoint = Endpoint.parse(config.http.listen)
    except ValueError as error:
        yield fault(str(error), "http", "listen")
        return
    taken = [listener.listen for listener in config.listener]
    if config.http.listen in taken and (endpoint.port or endpoint.path):
        number = taken.index(config.http.listen)
        yield fault(f"{endpoint} is already the address of listener.{number}", "http", "listen")


def identity(config: Config) -> Iterator[ConfigError]:
    """A user and a group that this machine has."""
    named = (
        ("user", config.user, pwd.getpwnam, pwd.getpwuid, "useradd --system --user-group"),
        ("group", config.group, grp.getgrnam, grp.getgrgid, "groupadd --system"),
    )
    for key, name, by_name, by_number, command in named:
        try:
            if name:
                by_number(int(name)) if name.isdecimal() else by_name(name)
        except (KeyError, OverflowError):
            hint = f"create it: {command} {name}"
            yield fault(f'this machine has no {key} "{name}"', key, hint=hint, local=True)


def handlers(config: Config) -> Iterator[ConfigError]:
    """Handler files that the server can read."""
    for number, listener in enumerate(config.listener):
        file = (listener.handler or "").rpartition(":")[0]
        if file.startswith("/") and (why := unreadable(file, config.user)):
            yield fault(f"{file} cannot be read: {why}", "listener", number, "handler",
                        local=True)  # fmt: skip


def hooks(config: Config) -> Iterator[ConfigError]:
    """A hook file that is there and that is Python; the rest is seen when it runs."""
    file = config.hooks.file
    if not file:
        return
    if why := unreadable(file, config.user):
        yield fault(f"{file} cannot be read: {why}", "hooks", "file", local=True)
        return
    try:
        compile(Path(file).read_bytes(), file, "exec")
    except OSError as error:
        yield fault(f"{file} cannot be read: {error.strerror}", "hooks", "file", local=True)
    except SyntaxError as error:
        yield fault(f"{file}:{error.lineno or 1}: not Python: {error.msg}", "hooks", "file")
    except ValueError as error:
        yield fault(f"{file} is not Python: {error}", "hooks", "file")


def lookups(config: Config) -> Iterator[ConfigError]:
    """Tables that are whole."""
    for name, table in config.table.items():
        yield from tables.problems(name, table, config.user)


def networks(listener: Listener, number: int) -> Iterator[ConfigError]:
    """Client networks that can be read."""
    lists = ("relay_from", "proxy_from", "xclient_from")
    for key, place, text in ((k, *one) for k in lists for one in enumerate(getattr(listener, k))):
        if text == "unix":
            continue
        path = ("listener", number, key, place)
        try:
            ipaddress.ip_network(text)
        except ValueError:
            try:
                hint = f"did you mean {ipaddress.ip_network(text, strict=False)}?"
            except ValueError:
                hint = "write it like 10.0.0.0/8, 2001:db8::/32 or unix"
            yield fault(f'"{text}" is not a network', *path, hint=hint)


def names(config: Config) -> Iterator[ConfigError]:
    """Host name, DSN addresses and control headers."""
    if not _HOSTNAME.fullmatch(config.hostname) or len(config.hostname) > 255:
        yield fault(f'"{config.hostname}" is not a host name', "hostname",
                    hint="write it like mx1.example.com")  # fmt: skip
    for key, address in (("from", config.dsn.sender), ("postmaster", config.dsn.postmaster)):
        if not re.fullmatch(r"[^\s@<>]+@[^\s@<>]+", address):
            yield fault(f'"{address}" is not an address', "dsn", key)
    seen: dict[str, str] = {}
    headers = config.control_headers
    for kind in ("tenant", "campaign", "pool", "class"):
        for place, name in enumerate(getattr(headers, "klass" if kind == "class" else kind)):
            path = ("control_headers", kind, place)
            if not _FIELD_NAME.fullmatch(name):
                yield fault(f'"{name}" is not the name of a header field', *path)
            if seen.setdefault(name.lower(), kind) != kind:
                yield fault(f'"{name}" already names the {seen[name.lower()]}', *path)


def extensions(config: Config) -> Iterator[ConfigError]:
    """Names of extensions that exist, and priorities that leave room for normal mail."""
    for place, name in enumerate(config.smtpd.disable):
        if name.upper() not in EXTENSIONS:
            yield fault(f'"{name}" is not an extension', "smtpd", "disable", place,
                        hint=nearest(name, map(str.lower, EXTENSIONS)))  # fmt: skip
    if config.smtpd.priority_bulk >= config.smtpd.priority_transactional:
        yield fault("is not below smtpd.priority_transactional", "smtpd", "priority_bulk")


def paths(config: Config) -> Iterator[ConfigError]:
    """Folders and the control socket."""
    if config.spool == config.log_dir:
        yield fault("is the folder of the spool", "log_dir", hint="give each its own")
    if config.pickup.folder in (config.spool, config.log_dir, config.home):
        yield fault("is a folder of the server itself", "pickup", "folder",
                    hint="give it its own")  # fmt: skip
    length = len(config.control.socket.encode())
    if length > SOCKET_PATH:
        yield fault(
            f"{config.control.socket} has {length} octets, a Unix socket takes {SOCKET_PATH}",
            "control", "socket", hint="choose a shorter home or a shorter path",
        )  # fmt: skip
    if config.shards < config.workers:
        yield fault(f"{config.shards} are too few", "shards",
                    hint=f"each of the {config.workers} workers needs one")  # fmt: skip


def memory(config: Config) -> Iterator[ConfigError]:
    """Parts that fit under the cap."""
    cap = config.memory.cap
    text = f"is more than memory.cap, {values.size_text(cap)}"
    if config.queue.body_memory > cap:
        yield fault(text, "queue", "body_memory", hint="lower it or raise memory.cap")
    if config.largest <= cap and config.largest > config.queue.body_memory:
        size = values.size_text(config.largest)
        yield fault(f"is less than the largest message, {size}", "queue", "body_memory",
                    hint="raise it or memory.cap, or lower smtpd.max_size")  # fmt: skip
    if config.smtpd.max_size > cap:
        yield fault(text, "smtpd", "max_size", hint="lower it or raise memory.cap")
    for number, listener in enumerate(config.listener):
        if listener.max_size and listener.max_size > cap:
            yield fault(text, "listener", number, "max_size")


def retries(config: Config) -> Iterator[ConfigError]:
    """Schedules that mean something."""
    tables: list[tuple[tuple[str, ...], Retry]] = [(("retry",), config.retry)]
    tables += [(("retry", name), table) for name, table in config.retry.named.items()]
    for path, table in tables:
        for place, wait in enumerate(table.schedule):
            if wait < 1:
                yield fault("is too small: 1s is the least", *path, "schedule", place)
        if not table.schedule and table.max_interval < table.initial:
            yield fault("is less than initial", *path, "max_interval")


def routes(config: Config) -> Iterator[ConfigError]:
    """Next hops that can be read and retry names that exist."""
    for number, route in enumerate(config.route):
        for place, hop in enumerate(route.next_hop):
            match = _HOP.fullmatch(hop)
            if match is None or (match[2] and not 0 < int(match[2]) < 65536):
                hint = "write it like [192.0.2.1]:25, [2001:db8::1]:25 or mail.example.net:25"
                yield fault(f'"{hop}" is not a next hop', "route", number, "next_hop", place,
                            hint=hint)  # fmt: skip
        if route.retry and route.retry not in config.retry.named:
            hint = nearest(route.retry, config.retry.named) or f"add a table [retry.{route.retry}]"
            yield fault(f'there is no "{route.retry}"', "route", number, "retry", hint=hint)


def ways(config: Config) -> Iterator[ConfigError]:
    """Transports that can work, and routes to those that exist."""
    for name, transport in config.transport.items():
        yield from transports.problems(name, transport, config.user)
    for number, route in enumerate(config.route):
        name = route.transport
        if not name:
            continue
        if name not in config.transport:
            hint = nearest(name, config.transport) or f"add a table [transport.{name}]"
            yield fault(f'there is no "{name}"', "route", number, "transport", hint=hint)
        for key in ("next_hop", "pool"):
            if getattr(route, key):
                yield fault(
                    "cannot be combined with transport",
                    "route",
                    number,
                    key,
                    hint="keep one of them",
                )


def sources(config: Config) -> Iterator[ConfigError]:
    """Addresses that this machine has, at most one a family, and names for EHLO."""
    for name, source in config.source.items():
        families = set()
        for place, text in enumerate(source.address):
            path = ("source", name, "address", place)
            try:
                version = ipaddress.ip_address(text).version
            except ValueError:
                yield fault(f'"{text}" is not an IP address', *path,
                            hint="write it like 192.0.2.10 or 2001:db8::10")  # fmt: skip
                continue
            if version in families:
                yield fault(f"is the second IPv{version} address", *path,
                            hint="make it a source of its own, and a pool of both")  # fmt: skip
            families.add(version)
            why = _unusable(text)
            if why:
                yield fault(f"{text} cannot be sent from: {why}", *path, local=True,
                            hint="`ip -brief address` lists what this machine has")  # fmt: skip
        if source.ehlo and not _HOSTNAME.fullmatch(source.ehlo):
            yield fault(f'"{source.ehlo}" is not a host name', "source", name, "ehlo")


def _unusable(address: str) -> str:
    """Why no connection can be made from a local address, or ""."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind((address, 0))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return "this machine does not have it"
        return error.strerror or str(error)
    return ""


def pools(config: Config) -> Iterator[ConfigError]:
    """Pools of sources that exist, and names of pools that exist."""
    for name, pool in config.pool.items():
        if not pool.sources:
            yield fault("is empty", "pool", name, "sources", hint="name a source and its weight")
        for source in pool.sources:
            if source not in config.source:
                hint = nearest(source, config.source) or f"add a table [source.{source}]"
                yield fault(f'there is no source "{source}"', "pool", name, "sources", source,
                            hint=hint)  # fmt: skip
    known = config.pool.keys() | config.source.keys()
    named = [(("route", str(n), "pool"), route.pool) for n, route in enumerate(config.route)]
    for path, name in [*named, (("delivery", "default_pool"), config.delivery.default_pool)]:
        if name and name not in known:
            yield fault(f'there is no pool "{name}"', *path,
                        hint=nearest(name, known) or f"add a table [pool.{name}]")  # fmt: skip


def delivery(config: Config) -> Iterator[ConfigError]:
    """A way to connect at all, and limits that can be reached."""
    if not config.delivery.ipv4 and not config.delivery.ipv6:
        yield fault("and ipv6 are both off: nothing could be delivered", "delivery", "ipv4")
    most = config.delivery.max_connections
    for name, limit in config.limits.site.items():
        yield from site(name, limit, most)


def site(name: str, limit: Limit, most: int) -> Iterator[ConfigError]:
    """A site's limit that is under the node's."""
    if isinstance(limit.connections, int) and limit.connections > most and name != "default":
        yield fault(f"is more than delivery.max_connections, {most}", "limits", "site", name,
                    "connections")  # fmt: skip


def nameservers(config: Config) -> Iterator[ConfigError]:
    """Addresses of name servers: an IP address, with a port or without."""
    for place, text in enumerate(config.dns.nameservers):
        host = text
        try:
            ipaddress.ip_address(text)
            continue
        except ValueError:
            pass
        try:
            host = Endpoint.parse(text).host
            ipaddress.ip_address(host)
        except ValueError:
            yield fault(f'"{text}" is not the address of a name server', "dns", "nameservers",
                        place, hint="write it like 192.0.2.53 or 127.0.0.1:5353")  # fmt: skip
