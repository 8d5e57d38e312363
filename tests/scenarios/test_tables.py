"""Lookup tables on real servers, and in a hook of a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mta.errors import TableError
from mta.hooks.tables import TableSpec, build
from mta.testing.clock import FakeClock
from mta.testing.remote import RemoteMX
from tests.peers.stores import Ldap, Redis
from tests.scenarios.test_hooks import Hooked, refusal
from tests.waiting import wait


def look(spec: TableSpec, *keys: str) -> list[str | None]:
    async def run() -> list[str | None]:
        tables = build({"t": spec}, FakeClock())
        try:
            return list(await asyncio.gather(*(tables["t"].get(key) for key in keys)))
        finally:
            await tables.close()

    return asyncio.run(run())


@pytest.mark.peer
def test_redis() -> None:
    with Redis() as peer:
        assert peer.ask("SET", "user:bob", "acme ü") == b"+OK\r\n"
        peer.ask("LPUSH", "user:list", "x")
        url = f"redis://127.0.0.1:{peer.port}/0"
        spec = TableSpec(kind="redis", url=url, key="user:{key}", connections=2)
        keys = [f"n{number}" for number in range(20)]
        assert look(spec, "bob", "al", *keys) == ["acme ü", None, *[None] * 20]
        with pytest.raises(TableError, match="table t: .*WRONGTYPE"):
            look(spec, "list")
    with pytest.raises(TableError, match="table t: ConnectionError"):
        look(spec, "bob")


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ldap(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    with Ldap() as peer:
        spec = TableSpec(
            kind="ldap", url=f"ldap://127.0.0.1:{peer.port}", base="dc=example", ttl=0.0,
            filter="(&(objectClass=person)(mail={key}))", attribute="DepartmentNumber",
            bind_dn="cn=admin,dc=example", password_file=str(secret), connections=2,
        )  # fmt: skip
        keys = ("bob@b.example", "b*b@b.example", "al@b.example", "*", "x)(mail=*", "no@b.example")
        assert look(spec, *keys) == ["acme", "acme", None, None, None, None]
        secret.write_text("wrong")
        with pytest.raises(TableError, match="table t: LDAPBindError"):
            look(spec, "bob@b.example")
        secret.write_text("secret")
        assert asyncio.run(across_a_restart(spec, peer)) == ["acme", "acme"]
    with pytest.raises(TableError, match="table t: LDAPSocketOpenError"):
        look(spec, "bob@b.example")


async def across_a_restart(spec: TableSpec, peer: Ldap) -> list[str | None]:
    """A look-up on a connection that the server has closed meanwhile is made once more."""
    tables = build({"t": spec}, FakeClock())
    first = await tables["t"].get("bob@b.example")
    await asyncio.to_thread(peer.stop)
    with pytest.raises(TableError):
        await tables["t"].get("bob@b.example")
    await asyncio.to_thread(peer.start)
    second = await tables["t"].get("bob@b.example")
    await tables.close()
    return [first, second]


def test_a_hook_asks_a_table(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("a@source.example acme\n")
    hooks = """
async def message_accepted(message):
    tenant = await tables["users"].get(message.sender)
    if tenant is None:
        return Refuse("who are you?")
    if tenant == "broken":
        await tables["lost"].get("x")
    return Accept(tenant=tenant)
"""
    with RemoteMX() as remote:
        server = Hooked(tmp_path / "home", remote, hooks)
        with server.file.open("a") as file:
            file.write(f'[table.users]\nkind = "file"\nfile = "{users}"\n')
        with server:
            server.send("r@b.example", sender="a@source.example")
            [record] = server.wait_records(1, "Reception")
            assert record["tenant"] == "acme"
            assert refusal(server) == "550 5.7.1 who are you?"
            users.write_text("s@source.example broken\n")
            failed = "451 4.3.0 Hook message_accepted failed"
            wait(lambda: refusal(server).startswith(failed), lambda: refusal(server))
            server.wait_said("TableError: table lost: there is no [table.NAME] of this name")
            text = server.file.read_text().replace('kind = "file"', 'kind = "cidr"')
            server.file.write_text(text)
            with pytest.raises(RuntimeError, match=r"users:1: table\.users: 's@source"):
                server.ask("reload")
