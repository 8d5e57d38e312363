"""Servers that lookup tables ask: Redis and OpenLDAP, unprivileged, on free ports of loopback."""

from __future__ import annotations

import socket
import subprocess

from tests.peers.process import PeerProcess
from tests.peers.programs import require
from tests.waiting import PATIENCE


class Redis(PeerProcess):
    """An empty Redis that keeps nothing."""

    name = "redis"

    def prepare(self) -> None:
        """Nothing is needed."""
        self._program = require("redis-server")

    def command(self) -> list[str]:
        """The server in the foreground."""
        return [
            self._program, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "",
            "--appendonly", "no", "--dir", str(self.folder), "--daemonize", "no",
        ]  # fmt: skip

    def _greets(self) -> bool:
        try:
            return self.ask("PING") == b"+PONG\r\n"
        except OSError:
            return False

    def ask(self, *words: str) -> bytes:
        """The answer to one command."""
        parts = [word.encode() for word in words]
        lines = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as sock:
            sock.sendall(b"*%d\r\n%b" % (len(parts), lines))
            return sock.recv(4096)


SLAPD = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {folder}/slapd.pid
database ldif
suffix "dc=example"
directory {folder}/data
rootdn "cn=admin,dc=example"
rootpw secret
access to * by dn.exact="cn=admin,dc=example" read by anonymous auth by * none
"""
PEOPLE = """\
dn: dc=example
objectClass: domain
dc: example

dn: cn=Bob (b),dc=example
objectClass: inetOrgPerson
cn: Bob (b)
sn: B
mail: bob@b.example
mail: b*b@b.example
departmentNumber: acme
departmentNumber: other

dn: cn=Al,dc=example
objectClass: inetOrgPerson
cn: Al
sn: A
mail: al@b.example
"""


class Ldap(PeerProcess):
    """An OpenLDAP with two people; only cn=admin,dc=example (password: secret) may read."""

    name = "slapd"

    def prepare(self) -> None:
        """Configuration and data."""
        self._program, add = require("slapd"), require("slapadd")
        (self.folder / "data").mkdir()
        self._config = self.folder / "slapd.conf"
        self._config.write_text(SLAPD.format(folder=self.folder))
        people = self.folder / "people.ldif"
        people.write_text(PEOPLE)
        words = [add, "-f", str(self._config), "-l", str(people)]
        subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE)

    def command(self) -> list[str]:
        """The server in the foreground (-d 0)."""
        url = f"ldap://127.0.0.1:{self.port}"
        return [self._program, "-f", str(self._config), "-h", url, "-d", "0"]

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE):
                return True
        except OSError:
            return False
