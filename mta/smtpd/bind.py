"""Binding listening sockets, with errors that say what to do."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import NamedTuple

from mta.errors import ConfigError

BACKLOG = 4096  # connections the kernel keeps for us; it caps this at net.core.somaxconn
LONGEST_PATH = 107  # bytes of a Unix socket path (unix(7))


class Address(NamedTuple):
    """Where a listener listens."""

    family: socket.AddressFamily
    host: str  # IP address, or the path of a Unix socket
    port: int  # 0 for a Unix socket, or for any free port

    def __str__(self) -> str:
        if self.family == socket.AF_UNIX:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(spec: str) -> Address:
    """`192.0.2.1:25`, `[2001:db8::1]:25`, `localhost:2525` or `unix:/path`; else ConfigError."""
    if spec.startswith("unix:"):
        return Address(socket.AF_UNIX, _path(spec), 0)
    host, colon, port = spec.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise _error(spec, "a port from 1 to 65535 is missing")
    host = "127.0.0.1" if host == "localhost" else host
    for family, text in ((socket.AF_INET, host), (socket.AF_INET6, host[1:-1])):
        bracketed = host.startswith("[") and host.endswith("]")
        if bracketed == (family == socket.AF_INET6) and _is_address(family, text):
            return Address(family, text, int(port))
    raise _error(spec, f"{host!r} is not an IP address")


def _path(spec: str) -> str:
    path = spec.removeprefix("unix:")
    if not path.startswith("/"):
        raise _error(spec, "the path of a Unix socket must begin with /")
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise _error(spec, f"the path of a Unix socket has at most {LONGEST_PATH} bytes")
    return path


def _is_address(family: socket.AddressFamily, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except OSError:
        return False
    return True


def bind(
    spec: str,
    reuse_port: bool = False,
    *,
    backlog: int = BACKLOG,
    mode: int = 0o660,
    owner: tuple[int, int] | None = None,
) -> socket.socket:
    """A listening, non-blocking socket.

    `mode` and `owner` (user and group by number, None is who we are) are those of a Unix
    socket's file.
    """
    address = parse(spec)
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        if address.family == socket.AF_UNIX:
            _bind_unix(sock, address, mode, owner)
        else:
            _bind_tcp(sock, address, reuse_port)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise explain(address, error) from None
    except BaseException:
        sock.close()
        raise
    return sock


def bind_group(spec: str, count: int, *, backlog: int = BACKLOG) -> list[socket.socket]:
    """`count` sockets on one TCP address that share its connections, one for each worker.

    Refuses an address where another server listens, even one that shares its port; port 0
    picks one free port for all.
    """
    with bind(spec, backlog=1) as alone:
        host, port = alone.getsockname()[:2]
    fixed = str(Address(alone.family, host, port))
    return [bind(fixed, True, backlog=backlog) for _ in range(count)]


def _bind_tcp(sock: socket.socket, address: Address, reuse_port: bool) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if address.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address.host, address.port))


def _bind_unix(
    sock: socket.socket, address: Address, mode: int, owner: tuple[int, int] | None
) -> None:
    path = Path(address.host)
    if path.exists() or path.is_symlink():
        _clear(address, path)
    sock.bind(address.host)
    if owner is not None:
        os.chown(path, *owner, follow_symlinks=False)
    path.chmod(mode)  # before listen(): nobody has connected yet


def _clear(address: Address, path: Path) -> None:
    """Remove a socket file that nobody listens on."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise _error(str(address), "the path exists and is not a socket", "remove it first")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(address.host)
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "in use")


def explain(address: Address, error: OSError) -> ConfigError:
    """What the kernel's refusal means, and what to do."""
    where = str(address)
    if error.errno == errno.EADDRINUSE:
        owner = port_owner(address)
        by = f" by {owner}" if owner else ""
        return _error(where, f"already in use{by}", "stop that server or choose another address")
    if error.errno == errno.EADDRNOTAVAIL:
        return _error(where, "no interface of this machine has the address", "see `ip addr`")
    if error.errno in (errno.EACCES, errno.EPERM) and 0 < address.port < 1024:
        hint = "start as root, give CAP_NET_BIND_SERVICE, or choose a port above 1023"
        return _error(where, "ports below 1024 need a privilege", hint)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):  # of a Unix socket
        return _error(where, "its folder does not exist", "make it, or choose another path")
    return _error(where, error.strerror or str(error), "")


def _error(where: str, problem: str, hint: str | None = None) -> ConfigError:
    known = 'write "127.0.0.1:2525", "[::1]:2525" or "unix:/run/mailrace.sock"'
    return ConfigError(
        f"cannot listen on {where}: {problem}",
        key="listener.listen",
        hint=known if hint is None else hint,
    )


def port_owner(address: Address) -> str:
    """`NAME (pid N)` of the process that listens there, as far as /proc tells; else nothing."""
    inodes = _listening_inodes(address)
    if not inodes:
        return ""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(_link(fd) in inodes for fd in (folder / "fd").iterdir()):
                return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
        except OSError:
            continue  # another user's process, or one that has just ended
    return ""


def _link(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:  # closed meanwhile
        return ""


def _listening_inodes(address: Address) -> set[str]:
    """`socket:[INODE]` of the sockets that listen at the address."""
    found = set()
    if address.family == socket.AF_UNIX:
        for row in _rows("/proc/net/unix"):
            if row[-1] == address.host:
                found.add(f"socket:[{row[6]}]")
        return found
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in _rows(table):
            if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == address.port:
                found.add(f"socket:[{row[9]}]")
    return found


def _rows(path: str) -> list[list[str]]:
    try:
        lines = Path(path).read_text().splitlines()[1:]
    except OSError:
        return []
    return [line.split() for line in lines if line.strip()]
