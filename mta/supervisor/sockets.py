"""All sockets that the node listens on: inherited ones first, the rest is bound."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mta.errors import ConfigError
from mta.smtpd.bind import bind, bind_group
from mta.supervisor import activation

if TYPE_CHECKING:
    from mta.config.schema import Config

HTTP_MODE = 0o666  # of a Unix socket: whoever reaches it may read all figures


class Sockets(NamedTuple):
    """What is open."""

    listeners: list[list[socket.socket]]  # by listener, then worker
    http: socket.socket | None
    files: list[File]  # those of Unix sockets that we have bound


class File(NamedTuple):
    """A Unix socket's file, as it was made."""

    path: Path
    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> File:
        """The file that is there now."""
        found = os.lstat(path)
        return cls(Path(path), found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Remove it, unless another has taken its place or we may not: the next start can."""
        with contextlib.suppress(OSError):
            if self.of(str(self.path)) == self:
                self.path.unlink()


def open_all(config: Config, workers: int, owner: tuple[int, int] | None = None) -> Sockets:
    """Bind what was not inherited; ConfigError says what is in the way.

    `owner` (user and group by number) is to have the files of Unix sockets.
    """
    found = Sockets([], None, [])
    try:
        return _open(found, config, workers, owner)
    except BaseException:
        remove(found.files)
        raise


def remove(files: list[File]) -> None:
    """Remove the files of sockets at the end, while they are still open."""
    for file in files:
        file.remove()


def _open(found: Sockets, config: Config, workers: int, owner: tuple[int, int] | None) -> Sockets:
    specs = [listener.listen for listener in config.listener]
    given, http = activation.assign(activation.inherited(os.environ), specs, config.http.listen)
    for number, listener in enumerate(config.listener):
        path = listener.endpoint.path
        if number in given:  # one queue of connections, from which all workers accept
            found.listeners.append([given[number]] * workers)
        elif path:
            sock = bind(listener.listen, mode=int(listener.mode, 8), owner=owner)
            found.files.append(File.of(path))
            found.listeners.append([sock] * workers)
        else:
            found.listeners.append(bind_group(listener.listen, workers))
    if config.http.listen and http is None:
        try:
            http = bind(config.http.listen, mode=HTTP_MODE)
        except ConfigError as error:
            raise ConfigError(error.problem, key="http.listen", hint=error.hint) from None
        if config.http.listen.startswith("unix:"):
            found.files.append(File.of(config.http.listen.removeprefix("unix:")))
    return found._replace(http=http)
