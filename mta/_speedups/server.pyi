"""The SMTP server's state machine: octets in, events and replies out (RFC 5321)."""

from typing import Any, Literal

from typing_extensions import Buffer

from mta._speedups.envelope import Envelope
from mta._speedups.server_events import Closed, Command, Content, Data, Hello, Mail, Rcpt, Reset
from mta._speedups.server_options import ServerOptions
from mta._speedups.verdict import Refused, Verdict

# Kinds of events
NOTHING: int
HELLO: int
MAIL: int
RCPT: int
DATA: int
CONTENT: int
COMMAND: int
RESET: int
CLOSED: int

# Bits of `ServerCore.status`
WAITING: int
IN_CONTENT: int
WANTS_READ: int
HOLDS: int

class ServerCore:
    """One session. `mta/smtp/server.py` tells how to drive it."""

    options: ServerOptions
    errors: int
    """5xx replies sent, verdicts included."""
    messages: int
    """Contents accepted."""
    recipients: int
    """Recipients accepted in the open transaction."""
    extended: bool
    """Whether the client greeted with EHLO."""
    closing: bool
    """Close the connection when the output is sent; nothing more is parsed."""

    ahead: int
    """Octets of room in front of the transaction's body, for a header to come; settable until DATA
    is answered, 0 again behind the transaction."""

    # Instead of event objects, what the kind told last is about:
    envelope: Envelope
    """MAIL's and RCPT's."""
    name: str
    """HELLO's."""
    greets_extended: bool
    """HELLO's: it was EHLO."""
    flags: int
    """CONTENT's."""
    reset_by: Verdict | None
    """RESET's refusal; None for RSET."""

    def __init__(self, options: ServerOptions) -> None: ...
    @property
    def state(self) -> str:
        """One of `server_states.STATES`."""

    @property
    def waiting(self) -> bool:
        """Whether an event was made whose verdict is outstanding."""

    @property
    def wants_read(self) -> bool:
        """False while more than `pipeline_limit` octets are kept unparsed, and when closing."""

    @property
    def in_content(self) -> bool:
        """Whether content is being read."""

    @property
    def content_size(self) -> int:
        """Octets read of the content under way, those passed over included."""

    def held(self) -> int:
        """Octets of the content under way that are in memory; 0 once it is refused."""

    def greeting(self, reply: bytes | None = None) -> None:
        """Queue the 220, or `reply`. RuntimeError if the session has been greeted."""

    def refuse(self, reply: bytes) -> None:
        """Queue `reply` (4xx or 5xx) in the greeting's place, and close."""

    def shutdown(self, text: str = "Shutting down") -> None:
        """421 4.3.2 as soon as no transaction is open and no verdict outstanding."""

    def time_out(self, text: str = "Timeout, closing", enhanced: str = "4.4.2") -> None:
        """421 now, or behind the verdict that is outstanding."""

    def pending(self) -> bool:
        """Whether octets were fed that are not yet parsed."""

    def output(self) -> bytes:
        """The replies since the last call, to be sent in this order; b"" if there are none."""

    def refusals(self) -> list[Refused]:
        """The commands refused since the last call without an event: syntax, sequence, limits."""

    def feed(self, data: Buffer) -> None:
        """Take all of `data`, which may be reused at once."""

    def read(self, buffer: bytearray, n: int) -> int:
        """Take the first `n` octets of the buffer, as `feed`."""

    def status(self) -> int:
        """`waiting`, `in_content`, `wants_read` and whether anything is `held`, as bits."""

    def next_kind(self) -> int:
        """The kind of the next event; NOTHING while octets or a verdict are wanting."""

    def event(self, kind: int) -> Any:
        """The event whose kind `next_kind` has told, as an object; CONTENT's and COMMAND's once."""

    def body(self) -> bytes:
        """CONTENT's octets behind `ahead`, once."""

    def next_event(
        self,
    ) -> Hello | Mail | Rcpt | Data | Content | Command | Reset | Closed | None:
        """The next event; None while octets or a verdict are wanting."""

    def verdict(self, reply: bytes | None = None) -> None:
        """Answer the event taken last; None is the standard positive reply.

        A positive reply is 2xx (3xx for Data); 421 closes. RuntimeError without such an event,
        ValueError for what is no reply of the right kind.
        """

    def say(self, reply: bytes) -> None:
        """Queue a reply line, or several, to the Command in hand; it may take more than one call."""

    def proceed(
        self, what: Literal["command", "line", "reset", "start", "close"] = "command"
    ) -> None:
        """The Command taken last is answered. RuntimeError without one.

        Then comes the next command; or "line": the next line goes to the shell as it is (a step of
        an exchange); "reset": as behind RSET; "start": as behind the greeting; "close": the session is
        over.
        """

    def take_content(self, max_size: int, max_line: int) -> None:
        """The Command taken last is answered with 354: content comes, within these limits.

        Only where `commands` has "*". It ends in Content or, refused, in Reset; `proceed` answers.
        """

    def discard(self) -> None:
        """Forget the octets that are not yet parsed (RFC 3207 4.2)."""
