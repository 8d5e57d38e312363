"""Tables in LDAP directories, by ldap3."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

from mta.errors import ConfigError

SUCCESS, SIZE_LIMIT, NO_SUCH_OBJECT = 0, 4, 32  # RFC 4511 4.1.9


class Directory:
    """One connection a thread, bound when it is first used."""

    def __init__(
        self,
        url: str,
        base: str,
        filter: str,
        attribute: str,
        bind_dn: str,
        password_file: str,
        timeout: float,
    ) -> None:
        try:
            import ldap3
        except ImportError:
            raise ConfigError(
                "LDAP needs the package ldap3", hint="pip install 'mailrace[ldap]'"
            ) from None
        self._ldap3: Any = ldap3
        self._url, self._base, self._filter, self._attribute = url, base, filter, attribute
        self._bind_dn, self._password_file, self._timeout = bind_dn, password_file, timeout
        self._own = threading.local()

    def look(self, key: str) -> str | None:
        """The first value of the attribute in the first entry found."""
        connection = getattr(self._own, "connection", None)
        if connection is not None:
            try:
                return self._ask(connection, key)
            except Exception:  # noqa: BLE001 - it may have been closed meanwhile: once more
                self._own.connection = None
        connection = self._own.connection = self._connect()
        try:
            return self._ask(connection, key)
        except BaseException:
            self._own.connection = None
            raise

    def _connect(self) -> Any:
        ldap3 = self._ldap3
        password = None
        if self._password_file:
            password = Path(self._password_file).read_text(encoding="utf-8").rstrip("\r\n")
        server = ldap3.Server(self._url, get_info=ldap3.NONE, connect_timeout=self._timeout)
        return ldap3.Connection(
            server,
            user=self._bind_dn or None,
            password=password,
            client_strategy=ldap3.SAFE_SYNC,
            receive_timeout=math.ceil(self._timeout),  # a whole number for setsockopt
            read_only=True,
            auto_bind=True,
        )

    def _ask(self, connection: Any, key: str) -> str | None:
        from ldap3.utils.conv import escape_filter_chars

        wanted = self._filter.replace("{key}", escape_filter_chars(key))
        _, result, entries, _ = connection.search(
            self._base, wanted, attributes=[self._attribute], size_limit=1
        )
        if result["result"] not in (SUCCESS, SIZE_LIMIT, NO_SUCH_OBJECT):
            raise OSError(f"{result['description']} {result['message']}".strip())
        for entry in entries or ():
            for name, values in entry.get("raw_attributes", {}).items():
                if name.lower() == self._attribute.lower() and values:
                    value: bytes = values[0]
                    return value.decode("utf-8", "replace")
        return None
