"""What all sessions of a listener share: settings, and the replies that depend on them."""

from collections.abc import Iterable
from typing import Literal

class ServerOptions:
    """Settings of a listener; a limit of 0 is no limit. ValueError for what cannot be used."""

    hostname: str
    banner: str
    max_size: int
    max_recipients: int
    max_command_line: int
    max_text_line: int
    max_errors: int
    max_messages: int
    pipeline_limit: int
    bare_newlines: Literal["reject", "fix", "keep"]
    keywords: tuple[str, ...]
    mail_parameters: frozenset[str]
    rcpt_parameters: frozenset[str]
    commands: frozenset[str]
    chunking: bool
    binarymime: bool
    smtputf8: bool
    bare_addresses: bool
    hidden: frozenset[str]
    hello: bytes
    """The standard reply to HELO."""
    extended: bytes
    """The standard reply to EHLO."""

    def __init__(
        self,
        hostname: str,
        *,
        banner: str = "ESMTP Mailrace",
        max_size: int = 50_000_000,
        max_recipients: int = 1000,
        max_command_line: int = 2048,
        max_text_line: int = 0,
        max_errors: int = 20,
        max_messages: int = 0,
        pipeline_limit: int = 65536,
        bare_newlines: Literal["reject", "fix", "keep"] | str = "reject",
        keywords: Iterable[str] = (),
        mail_parameters: Iterable[str] = frozenset(),
        rcpt_parameters: Iterable[str] = frozenset(),
        commands: Iterable[str] = frozenset(),
        chunking: bool = False,
        binarymime: bool = False,
        smtputf8: bool = False,
        bare_addresses: bool = False,
        hidden: Iterable[str] = frozenset(),
    ) -> None:
        """`hostname` and `banner` make the greeting.

        max_size: octets of a message. max_recipients: in one transaction. max_command_line,
        max_text_line: octets of a line, the former with its CRLF, the latter without.
        max_errors: since the last accepted message. max_messages: accepted on one connection.
        pipeline_limit: octets kept unparsed before `wants_read` turns False. bare_newlines: what
        becomes of a CR or LF alone ("keep": it is text of the message). keywords: further lines of
        the EHLO reply. mail_parameters, rcpt_parameters: keywords (upper case) that are handed on
        in an event's `params`. chunking, binarymime, smtputf8: offer these (RFC 3030, RFC 6531).
        bare_addresses: MAIL FROM:a@b and RCPT TO:a@b need no angle brackets.
        hidden: keywords left out of the EHLO reply though they are understood.
        commands: verbs (upper case) that the shell answers, each a Command event; "*": every line,
        where an LF alone ends one, and contents, faulty ones too, are answered like a Command.
        """
