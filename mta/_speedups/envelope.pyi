"""MAIL and RCPT behind their verb: for the server core; nothing here is for Python."""

from mta._speedups.server_options import ServerOptions

class Envelope:
    """The transaction's parameters, and the last command's address."""

    def __init__(self, options: ServerOptions) -> None: ...
