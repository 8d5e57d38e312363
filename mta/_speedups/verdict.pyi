"""What is decided of a command or a message, as a value, and the reply that says so."""

from enum import StrEnum
from typing import NamedTuple

class Reason(StrEnum):
    """Why something is refused: the `reason` of a Rejection. Hooks and members have others."""

    ADDRESS = "address"
    AUTHENTICATION = "authentication"
    BARE_NEWLINE = "bare newline"
    COMMIT_FAILED = "commit failed"
    CONTENT = "content"
    ERRORS = "errors"
    HANDLER = "handler"
    LOOP = "loop"
    NO_ROOM = "no room"
    PARAMETER = "parameter"
    PIPELINING = "pipelining"
    POLICY_FAILED = "policy failed"
    RECIPIENTS = "too many recipients"
    RELAYING_DENIED = "relaying denied"
    SEQUENCE = "sequence"
    SESSIONS = "too many sessions"
    STOPPING = "stopping"
    SYNTAX = "syntax"
    TOO_LARGE = "too large"
    UNKNOWN = "unknown"

class Verdict:
    """What is decided: a reply code, its enhanced code ("" for none) and text, and why.

    ValueError for a code that is no reply's, or an enhanced code of another class.
    """

    code: int
    enhanced: str
    text: str
    """Its lines end in line feeds."""
    reason: Reason | str
    """Why it refuses; "" where it does not."""

    def __init__(
        self, code: int, enhanced: str, text: str, reason: Reason | str = ""
    ) -> None: ...
    def __hash__(self) -> int: ...
    @property
    def refuses(self) -> bool:
        """Whether the code is 4xx or 5xx."""

    @property
    def temporary(self) -> bool:
        """Whether the code is 4xx: a later try may be accepted."""

    @property
    def line(self) -> str:
        """The text on one line."""

    def reply(self) -> bytes:
        """The whole reply, ready to send; of `ACCEPTED` and `UNKNOWN` it is not to be used."""

def rendered(code: int, enhanced: str, text: str) -> bytes:
    """A reply of one or more lines; `enhanced` may be "" (greeting, EHLO, 354).

    A line feed in `text` begins a new line, a line too long is broken at a blank, and what is not
    printable ASCII becomes "?". ValueError for a code or enhanced code that is none.
    """

def given(reply: bytes, reason: Reason | str = "") -> Verdict:
    """The verdict of somebody else's whole, well-formed reply, which is kept as it is."""

def queued(digits: bytes) -> Verdict:
    """A message is stored under the id of these digits."""

class Refused(NamedTuple):
    """A command that was refused before anybody was asked."""

    command: str  # its verb, "" for a line that is none
    verdict: Verdict

ACCEPTED: Verdict
"""The standard positive reply of the command in hand."""

UNKNOWN: Verdict
"""Nobody knows whether the message is stored: no reply may say so, the connection has to end."""
