"""All sockets that the node listens on: inherited ones first, the rest is bound."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from mta.errors import ConfigError
from mta.smtpd.bind import bind, bind_group
from mta.supervisor import activation

if TYPE_CHECKING:
    from mta.config.schema import Config


class Sockets(NamedTuple):
    """What is open."""

    listeners: list[list[socket.socket]]  # by listener, then worker
    http: socket.socket | None


def open_all(config: Config, workers: int) -> Sockets:
    """Bind what was not inherited; ConfigError says what is in the way."""
    specs = [listener.listen for listener in config.listener]
    given, http = activation.assign(activation.inherited(os.environ), specs, config.http.listen)
    listeners = []
    for number, listener in enumerate(config.listener):
        if number in given:  # one queue of connections, from which all workers accept
            listeners.append([given[number]] * workers)
        elif listener.endpoint.path:
            listeners.append([bind(listener.listen)] * workers)
        else:
            listeners.append(bind_group(listener.listen, workers))
    if config.http.listen and http is None:
        try:
            http = bind(config.http.listen)
        except ConfigError as error:
            raise ConfigError(error.problem, key="http.listen", hint=error.hint) from None
    return Sockets(listeners, http)
