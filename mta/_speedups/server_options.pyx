"""What all sessions of a listener share: settings, and the replies that depend on them."""

from mta._speedups.verdict cimport Verdict

from mta._speedups.verdict import Reason


cdef class ServerOptions:
    """What all sessions of a listener share."""

    def __init__(
        self, hostname, *, banner="ESMTP Mailrace", max_size=50_000_000, max_recipients=1000,
        max_command_line=2048, max_text_line=0, max_errors=20, max_messages=0,
        pipeline_limit=65536, bare_newlines="reject", keywords=(), mail_parameters=frozenset(),
        rcpt_parameters=frozenset(), commands=frozenset(),
        chunking=False, binarymime=False, smtputf8=False, bare_addresses=False,
        hidden=frozenset(),
    ):
        if bare_newlines not in ("reject", "fix", "keep"):
            raise ValueError(f"bare_newlines is {bare_newlines!r}; it is 'reject', 'fix' or 'keep'")
        if max_command_line < 512:  # RFC 5321 4.5.3.1.4
            raise ValueError(f"max_command_line is {max_command_line}; 512 is the least")
        if min(max_size, max_recipients, max_text_line, max_errors, max_messages) < 0:
            raise ValueError("a limit is negative; 0 is no limit")
        if binarymime and not chunking:
            raise ValueError("BINARYMIME cannot be offered without CHUNKING (RFC 3030 3)")
        for text in (hostname, banner, *keywords):
            if not (text and text.isascii() and text.isprintable()):
                raise ValueError(f"{text!r} cannot stand in a reply: printable ASCII is needed")
        self.hostname, self.banner = hostname, banner
        self.max_size, self.max_recipients = max_size, max_recipients
        self.max_command_line, self.max_text_line = max_command_line, max_text_line
        self.max_errors, self.max_messages = max_errors, max_messages
        self.pipeline_limit, self.bare_newlines = pipeline_limit, bare_newlines
        self.keywords = tuple(keywords)
        self.mail_parameters = frozenset(mail_parameters)
        self.rcpt_parameters = frozenset(rcpt_parameters)
        self.commands = frozenset(commands)
        self.chunking, self.binarymime, self.smtputf8 = chunking, binarymime, smtputf8
        self.bare_addresses, self.hidden = bare_addresses, frozenset(hidden)
        self.fix, self.keep = bare_newlines == "fix", bare_newlines == "keep"
        self.raw = "*" in self.commands
        self._write_replies()

    cdef _write_replies(self):
        """The replies that depend on the settings, once for all sessions."""
        size = f"SIZE {self.max_size}" if self.max_size else "SIZE"  # RFC 1870 4
        lines = [self.hostname, "PIPELINING", size, "8BITMIME", "ENHANCEDSTATUSCODES"]
        offered = {
            "CHUNKING": self.chunking, "BINARYMIME": self.binarymime, "SMTPUTF8": self.smtputf8
        }
        lines.extend(name for name, on in offered.items() if on)
        lines.extend(self.keywords)
        lines[1:] = [line for line in lines[1:] if line.partition(" ")[0] not in self.hidden]
        *first, last = lines
        self.extended = wire("".join(f"250-{line}\r\n" for line in first) + f"250 {last}")
        self.hello = wire(f"250 {self.hostname}")
        self.greeting = wire(f"220 {self.hostname} {self.banner}")
        self.oversize = Verdict(
            552, "5.3.4", f"The message is larger than {self.max_size} octets", Reason.TOO_LARGE
        )
        self.oversize_line = Verdict(
            500, "5.5.2", f"The command line is longer than {self.max_command_line} octets",
            Reason.SYNTAX,
        )
        self.crowded = Verdict(  # RFC 5321 4.5.3.1.10
            452, "4.5.3",
            f"Too many recipients: {self.max_recipients} are taken in one transaction",
            Reason.RECIPIENTS,
        )
        self.errors = wire(f"421 4.7.0 {self.hostname} Too many errors, closing")
        self.worn = wire(
            f"421 4.7.0 {self.hostname} {self.max_messages} messages on one connection are the "
            "limit, connect again"
        )


cdef bytes wire(str text):
    return text.encode("ascii") + b"\r\n"
