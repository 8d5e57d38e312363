"""What the server core tells its shell. All but Reset and Closed await a verdict."""

from mta._speedups.verdict import Verdict

class Hello:
    """EHLO or HELO; ends an open transaction when it is answered positively."""

    name: str
    extended: bool

class Mail:
    """MAIL: the reverse-path ("" is the null sender) and the declared size (0: none).

    body8, binary and utf8: BODY=8BITMIME, BODY=BINARYMIME, SMTPUTF8.
    """

    sender: str
    size: int
    body8: bool
    binary: bool
    utf8: bool
    params: dict[str, str | None] | None

class Rcpt:
    """RCPT: a forward-path; "postmaster" may lack a domain (RFC 5321 4.5.1)."""

    recipient: str
    params: dict[str, str | None] | None

class Data:
    """DATA, or the first BDAT of a message: may the content come?"""

class Content:
    """The whole message, unstuffed; `flags` are mta.model.Flag. A positive verdict means stored."""

    body: bytes
    flags: int
    size: int

class Command:
    """A line that `ServerOptions.commands` leaves to the shell, or that `proceed("line")` asked for.

    `verb` is upper case, "" for a line asked for or without an ASCII verb; `line` has no line end,
    None stands for one that was too long. Answered by `say` and `proceed`, not by a verdict.
    """

    verb: str
    line: bytes | None

class Reset:
    """The transaction, if one was open, is over; nothing to answer.

    `refusal` is None for RSET, else what refused the content (too large, a bare newline).
    """

    refusal: Verdict | None

class Closed:
    """The session is over: close when the output is sent. Told once."""
