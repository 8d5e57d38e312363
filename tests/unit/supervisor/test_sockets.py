"""The files of Unix sockets: permissions, owner, and their end."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest

from mta.config.load import load
from mta.errors import ConfigError
from mta.supervisor.sockets import Sockets, open_all, remove


def opened(
    folder: Path, *settings: tuple[str, str], owner: tuple[int, int] | None = None
) -> Sockets:
    given = [("listener.0.listen", f"unix:{folder}/mail"), *settings]
    return open_all(load(None, given, folder), 2, owner)


def close(sockets: Sockets) -> None:
    for sock in {sock for row in sockets.listeners for sock in row}:
        sock.close()


@pytest.mark.parametrize(
    ("settings", "mode"), [([], 0o660), ([("listener.0.mode", "0666")], 0o666)]
)
def test_a_socket_file_has_its_mode_and_goes_at_the_end(
    tmp_path: Path, settings: list[tuple[str, str]], mode: int
) -> None:
    sockets, path = opened(tmp_path, *settings), tmp_path / "mail"
    assert path.stat().st_mode & 0o777 == mode
    remove(sockets.files)
    assert not path.exists()
    remove(sockets.files)  # it has gone already
    close(sockets)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_socket_file_belongs_to_the_user_that_the_server_becomes(tmp_path: Path) -> None:
    sockets = opened(tmp_path, owner=(12345, 12346))
    status = (tmp_path / "mail").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 12346, 0o660)
    close(sockets)


def test_the_file_of_another_server_stays(tmp_path: Path) -> None:
    sockets, path = opened(tmp_path), tmp_path / "mail"
    path.rename(tmp_path / "old")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        remove(sockets.files)
        assert path.exists()
    close(sockets)


def test_no_file_is_left_where_another_address_cannot_be_had(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="already in use"):
            opened(tmp_path, ("listener.1.listen", f"127.0.0.1:{port}"))
    assert not (tmp_path / "mail").exists()
