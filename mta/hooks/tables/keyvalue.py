"""Tables in Redis or Valkey, by redis-py's asyncio client."""

from __future__ import annotations

from typing import Any

from mta.errors import ConfigError


class Redis:
    """GET of a key; a source for `CachedTable`."""

    def __init__(self, url: str, key: str, connections: int, timeout: float) -> None:
        try:
            from redis.asyncio import BlockingConnectionPool
            from redis.asyncio import Redis as Client
        except ImportError:
            raise ConfigError(
                "Redis needs the package redis", hint="pip install 'mailrace[redis]'"
            ) from None
        self._key = key
        try:
            pool = BlockingConnectionPool.from_url(
                url, max_connections=connections, timeout=timeout, decode_responses=True,
                socket_timeout=timeout, socket_connect_timeout=timeout,
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(str(error), key="url") from None
        self._client: Any = Client.from_pool(pool)

    async def look(self, key: str) -> str | None:
        """The value of the key as the pattern makes it."""
        value: str | None = await self._client.get(self._key.replace("{key}", key))
        return value

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()
