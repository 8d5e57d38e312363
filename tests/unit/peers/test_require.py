from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.programs import require, require_path, require_user


def program(folder: Path, name: str) -> str:
    folder.mkdir(parents=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_on_path_comes_before_an_unpacked_one(tmp_path: Path) -> None:
    first = program(tmp_path / "bin", "mta-test-peer")
    program(tmp_path / "root-x/usr/sbin", "mta-test-peer")
    environ = {"PATH": str(tmp_path / "bin"), "MTA_PEERS_ROOT": str(tmp_path)}
    assert require("mta-test-peer", environ) == first


@pytest.mark.parametrize("part", ["sbin", "bin", "libexec"])
def test_unpacked_packages_are_searched(tmp_path: Path, part: str) -> None:
    path = program(tmp_path / "root-x/usr" / part, "mta-test-peer")
    assert require("mta-test-peer", {"MTA_PEERS_ROOT": str(tmp_path)}) == path


def test_a_missing_program_skips_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="mta-no-such-peer is not installed"):
        require("mta-no-such-peer", {"MTA_PEERS_ROOT": str(tmp_path)})


def test_a_missing_program_fails_where_peers_are_required(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="mta-no-such-peer"):
        require("mta-no-such-peer", {"MTA_PEERS_ROOT": str(tmp_path), "MTA_REQUIRE_PEERS": "1"})


def test_a_path_is_found_in_an_unpacked_package(tmp_path: Path) -> None:
    path = program(tmp_path / "root-x/usr/libexec/mta-test-peer", "daemon")
    environ = {"MTA_PEERS_ROOT": str(tmp_path)}
    assert str(require_path("usr/libexec/mta-test-peer/daemon", environ)) == path


def test_a_missing_path_skips_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="/usr/mta-no-such-peer is neither"):
        require_path("usr/mta-no-such-peer", {"MTA_PEERS_ROOT": str(tmp_path)})


def test_a_missing_user_skips_and_is_named() -> None:
    with pytest.raises(pytest.skip.Exception, match="mta-no-such-user"):
        require_user("mta-no-such-user", {})


def test_a_missing_user_fails_where_peers_are_required() -> None:
    with pytest.raises(pytest.fail.Exception, match="mta-no-such-user"):
        require_user("mta-no-such-user", {"MTA_REQUIRE_PEERS": "1"})
