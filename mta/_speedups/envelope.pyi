"""MAIL and RCPT behind their verb, for the server core."""

from mta._speedups.server_options import ServerOptions

class Envelope:
    """The transaction's parameters, and the last command's address."""

    address: str
    params: dict[str, str | None] | None
    """Those of the last command that the shell judges."""
    size: int
    """Declared by SIZE of MAIL; 0: it was not."""
    declared: int
    """mta.model.Flag, by BODY and SMTPUTF8 of MAIL."""

    def __init__(self, options: ServerOptions) -> None: ...
