"""The SMTP client's state machine; mta/smtp/client.py has the theory of operation."""

from collections.abc import Iterable
from typing import Any

Result = tuple[int, str, str, str]
"""Code, enhanced code, text, and the command that the reply answered."""

Buffer = bytes | bytearray | memoryview

class LocalProtocolError(Exception):
    """The caller did what the session's state does not allow: an error of ours."""

class ClientOptions:
    """What all sessions of a path share."""

    ehlo_name: str
    """Our name in EHLO."""
    pipelining: bool
    """Group commands where the server offers PIPELINING."""
    overlap: bool
    """Send the next envelope with the final dot."""
    lmtp: bool
    """Speak LMTP (RFC 2033): LHLO, and after the dot a reply for each recipient accepted."""

    chunking: str
    """When content leaves by BDAT: "never", "needed" for BINARYMIME, "always" where the server has
    CHUNKING, "eager" with its envelope, before any reply to it."""
    disable: frozenset[str]
    """EHLO keywords (upper case) of servers that are passed over."""

    def __init__(
        self,
        ehlo_name: str,
        *,
        pipelining: bool = True,
        overlap: bool = True,
        chunking: str = "needed",
        disable: Iterable[str] = (),
        lmtp: bool = False,
    ) -> None:
        """ValueError if the name cannot be sent or a word is none of those that are known."""

class Transaction:
    """One message to some recipients; the core fills in `results`."""

    sender: str
    recipients: list[str]
    body: bytes
    """The content, lines ended by CRLF, not dot-stuffed; a final CRLF is added if it lacks one."""
    flags: int
    """`mta.model.Flag` bits: EIGHT_BIT, DOT_LINES, SMTPUTF8 and BINARYMIME matter here."""
    tag: Any
    """The caller's own."""
    results: list[Result]
    """One for each recipient, in order; an entry is None until decided.

    Code 0 stands for no reply: with the command "unattempted" nothing was decided, with another
    one the connection broke, timed out or spoke nonsense there, and the text says how.
    """
    ahead: bool
    """It left with the final dot of the transaction before it."""

    def __init__(
        self,
        sender: str,
        recipients: list[str],
        body: bytes,
        flags: int = 0,
        tag: Any = None,
        mail_params: bytes = b"",
        rcpt_params: list[bytes] | None = None,
    ) -> None:
        """Parameters are given as they are sent, each behind a blank; `rcpt_params` by recipient."""
    def forget_body(self) -> None:
        """The content has left: let its memory go."""

    @property
    def size(self) -> int:
        """Octets of the body."""

class ClientCore:
    """One SMTP session from the greeting to its end: replies in, commands and events out."""

    options: ClientOptions
    capabilities: int
    """Bits of `KEYWORDS`; 0 after HELO."""
    size_limit: int
    """Octets that the server takes (RFC 1870), 0 for no limit."""
    limits: dict[str, int]
    """What LIMITS announced (RFC 9422): MAILMAX, RCPTMAX, RCPTDOMAINMAX."""
    transactions: int
    """Transactions to whose MAIL the server has replied."""
    replies: int
    """Whole replies read: what moves a deadline."""
    failure: Result | None
    """Why the session ended; None while it lasts, after QUIT, and if it was closed while idle."""
    overlap_failed: bool
    """The server lost what was sent ahead, or was slow to answer: no overlap with this host."""
    idle: bool
    """A transaction or QUIT may be given."""
    overlap_ok: bool
    """`send_content` may be given the next transaction."""
    deadline_kind: int
    """Which time-out is running (RFC 5321 4.5.3.2): a place in `KIND_NAMES`, 0 for none."""

    def __init__(self, options: ClientOptions) -> None: ...
    @property
    def state(self) -> str:
        """What it waits for, one of `STATE_NAMES`."""

    @property
    def closed(self) -> bool:
        """The session has ended; feed does nothing more."""

    @property
    def takes_binary(self) -> bool:
        """Whether BINARYMIME content can be sent (RFC 3030)."""

    @property
    def in_flight(self) -> int:
        """Transactions given and not ended: 0, 1 or 2."""

    @property
    def last_reply(self) -> tuple[int, str, str]:
        """Code, enhanced code and text of the last reply; code 0 before the first."""

    def feed(self, data: Buffer, size: int = -1) -> None:
        """Take the first `size` octets of `data` (all by default); nothing of it is kept."""

    def event(self) -> int:
        """As `next_event`, but 0 for none: without an object, for the compiled shell."""

    def next_event(self) -> int | None:
        """The next event, None if there is none; DONE comes first, until all are taken."""

    def take_done(self) -> Transaction:
        """The transaction that ended first, with all its results."""

    def submit(self, transaction: Transaction) -> None:
        """Begin a transaction, only while idle.

        One that the server could only refuse (SIZE, 8BITMIME, an address that cannot be sent)
        ends at once without a word to it.
        """

    def send_content(self, next_one: Transaction | None = None) -> None:
        """After CONTENT_WANTED: send content and final dot, and the envelope of the next one."""

    def awaiting(self) -> Transaction | None:
        """The transaction whose content was sent and whose reply has not come."""

    def output(self) -> list[bytes]:
        """What is to be written, in order; each buffer is given once."""

    def quit(self) -> None:
        """Say QUIT, only while idle."""

    def overlap_off(self) -> None:
        """Send nothing ahead from here on; what is under way stays.

        While a MAIL that was sent ahead has no reply it sets `overlap_failed`.
        """

    def connection_lost(self, reason: str = "") -> None:
        """The connection is gone: decide what is under way and close."""

    def time_out(self) -> None:
        """The time of `deadline_kind` is over: decide what is under way and close."""

def transitions() -> dict[str, tuple[str, str, str, str]]:
    """State to the names of the actions of a 2xx, 3xx, 4xx and 5xx reply."""
