"""Values of flags and arguments that are no settings."""

from __future__ import annotations

from mta.config.values import Endpoint
from mta.errors import ConfigError


def tcp_endpoint(text: str, key: str) -> Endpoint:
    """A host and a port; a ConfigError tells how an address is written."""
    try:
        found = Endpoint.parse(text)
    except ValueError as error:
        raise ConfigError(str(error), key=key) from error
    if found.path:
        raise ConfigError(f"{text} is no TCP address", key=key, hint="as 127.0.0.1:2525")
    return found
