"""`sendmail` as programs call it: cron, mail(1), PHP, git. Light: it starts in a moment.

Mail goes to the server by SMTP; while no server answers, into the pickup folder, where it is synced
before this ends. Exit codes are those of sysexits.h.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import smtplib
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NoReturn

from mta.cli.submission import (
    EX_NOUSER,
    EX_OK,
    EX_OSERR,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
    Mail,
    Place,
    Say,
    SendmailError,
    complain,
    connect,
    control_socket,
    drop,
    place,
    split_addresses,
    submit,
)
from mta.errors import MailraceError

WITH_VALUE = set("AaBCDdEFfhLNOopqRrVX")  # the rest of the word, or the next word
ATTACHED = set("Aadoq")  # only the rest of the word
IGNORED = set("AaBCDdEGhLmnOpUX")  # of other mailers; they change nothing here


@dataclass
class Options:
    """A command line."""

    mode: str = "m"  # -b: m deliver, s speak SMTP, p list the queue, i aliases; q flush
    from_header: bool = False  # -t
    ignore_dots: bool = False  # -i, -oi
    sender: str | None = None  # -f, -r
    full_name: str = ""  # -F
    verbose: bool = False  # -v
    notify: str = ""  # -N
    ret: str = ""  # -R
    envid: str = ""  # -V
    server: str = ""  # --server
    home: str = ""  # --home
    recipients: list[str] = field(default_factory=list)


def parse(arguments: Sequence[str]) -> Options:
    """Options and recipients; words may cluster (`-ti`), values be attached (`-fme@here`)."""
    options, words = Options(), list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            options.recipients += words
            break
        if word.startswith("--"):
            _long(options, word, words)
        elif word.startswith("-") and len(word) > 1:
            _short(options, word[1:], words)
        else:
            options.recipients.append(word)
    return options


def _long(options: Options, word: str, words: list[str]) -> None:
    name, equals, value = word[2:].partition("=")
    if name not in ("server", "home"):
        raise SendmailError(EX_USAGE, f"there is no option --{name}")
    setattr(options, name, value if equals else _next(words, word))


def _short(options: Options, letters: str, words: list[str]) -> None:
    """The letters of one word."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter == "b":
            options.mode = _mode(letters)
            return
        if letter in WITH_VALUE:
            value = letters if letters or letter in ATTACHED else _next(words, f"-{letter}")
            _set(options, letter, value)
            return
        _switch(options, letter)


def _next(words: list[str], option: str) -> str:
    if not words:
        raise SendmailError(EX_USAGE, f"{option} needs a value")
    return words.pop(0)


def _mode(letters: str) -> str:
    if letters not in ("m", "s", "p", "i"):
        raise SendmailError(EX_USAGE, f"-b{letters} is not offered: -bm, -bs, -bp, -bi are")
    return letters


def _switch(options: Options, letter: str) -> None:
    if letter == "t":
        options.from_header = True
    elif letter == "i":
        options.ignore_dots = True
    elif letter == "v":
        options.verbose = True
    elif letter not in IGNORED:
        raise SendmailError(EX_USAGE, f"there is no option -{letter}")


def _set(options: Options, letter: str, value: str) -> None:
    if letter in "fr":
        options.sender = "" if value == "<>" else value
    elif letter == "F":
        options.full_name = value
    elif letter == "N":
        options.notify = value.upper()
    elif letter == "R":
        options.ret = value.upper()
    elif letter == "V":
        options.envid = value
    elif letter == "o" and value[:1] == "i":
        options.ignore_dots = True
    elif letter == "q":
        options.mode = "q"
    elif letter not in IGNORED | {"o"}:
        raise SendmailError(EX_USAGE, f"there is no option -{letter}")


# ---------------------------------------------------------------------- the message


def read(stream: BinaryIO, *, ignore_dots: bool) -> bytes:
    """Standard input up to its end, or to a line of one dot."""
    if ignore_dots:
        return stream.read()
    lines = []
    for line in stream:
        if line in (b".\n", b".\r\n", b"."):
            break
        lines.append(line)
    return b"".join(lines)


def mail_name() -> str:
    """The domain of local users: /etc/mailname, else the machine's name."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if name := Path("/etc/mailname").read_text(encoding="ascii").strip():
            return name
    return socket.gethostname()


def user() -> tuple[str, str]:
    """Login and full name of whoever runs this."""
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return str(os.getuid()), ""
    return entry.pw_name, entry.pw_gecos.partition(",")[0].replace("&", entry.pw_name.title())


def compose(options: Options, data: bytes, domain: str) -> Mail:
    """Envelope and content; From, Date and Message-ID are added where they are missing."""
    from mta.reception import envelope

    content = envelope.with_crlf(data)
    words = [one for text in options.recipients for one in split_addresses(text)]
    recipients = [complete(one, domain) for one in words if one]
    login, gecos = user()
    sender = complete(login if options.sender is None else options.sender, domain)
    if options.from_header:
        found = envelope.extract(content, domain)
        content, recipients = found.content, [*recipients, *found.recipients]
    if not recipients:
        where = "in To, Cc or Bcc" if options.from_header else "on the command line; or use -t"
        raise SendmailError(EX_USAGE, f"no recipients {where}")
    names = {one.name: one for one in envelope.header(content)}
    end = max((one.end for one in names.values()), default=0)
    if content[end : end + 2] != b"\r\n":
        content = content[:end] + b"\r\n" + content[end:]
    added = _missing(set(names), sender or complete(login, domain), options.full_name or gecos)
    recipients = list(dict.fromkeys(recipients))
    return Mail(sender, recipients, added + content, options.notify, options.ret, options.envid)


def complete(address: str, domain: str) -> str:
    """An address without angle brackets, a local one with its domain; "" stays."""
    address = address.strip()
    if address[:1] == "<" and address[-1:] == ">":
        address = address[1:-1]
    return f"{address}@{domain}" if address and "@" not in address else address


def _missing(names: set[bytes], sender: str, full_name: str) -> bytes:
    from email.utils import formataddr, formatdate, make_msgid

    lines = []
    if b"from" not in names:
        name = " ".join(full_name.split())
        lines.append(f"From: {formataddr((name, sender)) if sender.isascii() else sender}")
    if b"date" not in names:
        lines.append(f"Date: {formatdate(localtime=True)}")
    if b"message-id" not in names:
        lines.append(f"Message-ID: {make_msgid(domain=sender.rpartition('@')[2] or None)}")
    return "".join(f"{line}\r\n" for line in lines).encode()


# ---------------------------------------------------------------------- the program


def deliver(options: Options) -> int:
    """Read a message and hand it on."""
    mail = compose(options, read(sys.stdin.buffer, ignore_dots=options.ignore_dots), mail_name())
    say: Say = print if options.verbose else lambda text: None
    where = place(options.server, options.home)
    for address in (mail.sender, *mail.recipients):
        if any(c in "<>\r\n" or c <= " " for c in address):
            raise SendmailError(EX_NOUSER, f"{address!r} is no address")
    try:
        sock = connect(where)
    except OSError as error:
        return _drop(where, mail, error, say)
    try:
        return submit(sock, mail, say)
    except (smtplib.SMTPException, OSError) as error:
        raise SendmailError(EX_TEMPFAIL, f"the server broke off: {error}") from None


def _drop(where: Place, mail: Mail, reason: OSError, say: Say) -> int:
    try:
        drop(where.pickup, mail)
    except OSError as error:
        raise SendmailError(
            EX_TEMPFAIL,
            f"no server at {where} ({reason.strerror or reason}), and the pickup folder"
            f" {where.pickup} takes nothing: {error.strerror}",
        ) from None
    say(f"no server at {where}: the message waits in {where.pickup}")
    return EX_OK


def speak(options: Options) -> int:
    """-bs: SMTP on standard input and output, carried to the server and back."""
    import select

    try:
        sock = connect(place(options.server, options.home))
    except OSError:
        os.write(1, b"421 4.3.2 the mail server is not running, try again later\r\n")
        return EX_TEMPFAIL
    sources = [sock.fileno(), 0]
    with sock:
        while True:
            ready, _, _ = select.select(sources, [], [])
            if sock.fileno() in ready:
                data = sock.recv(65536)
                if not data:
                    return EX_OK
                _write_all(1, data)
            if 0 in ready:
                data = os.read(0, 65536)
                if data:
                    sock.sendall(data)
                else:
                    sources.remove(0)
                    sock.shutdown(socket.SHUT_WR)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def flush(options: Options) -> int:
    """-q: try what waits now."""
    from mta.cli import control

    control.ask(control_socket(options.home), "act", verb="flush", select={"all": True})
    return EX_OK


def run(arguments: Sequence[str]) -> int:
    """The whole program; the exit code."""
    options = Options()
    try:
        options = parse(arguments)
        if options.mode == "p":
            from mta.cli import mailq

            return mailq.show(None, control_socket(options.home))
        if options.mode == "i":
            return EX_OK  # there are no aliases whose tables could be old
        work = {"m": deliver, "s": speak, "q": flush}[options.mode]
        return work(options)
    except SendmailError as error:
        complain(str(error))
        return error.code
    except MailraceError as error:  # a message is kept by its sender, who is to try again
        complain(str(error))
        return EX_TEMPFAIL if options.mode in "ms" else EX_UNAVAILABLE
    except BrokenPipeError:
        return EX_OSERR


def main() -> NoReturn:
    """Entry point of `mailrace-sendmail`, which may also be called mailq or newaliases."""
    name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    mode = {"mailq": ["-bp"], "mailrace-mailq": ["-bp"], "newaliases": ["-bi"]}.get(name, [])
    sys.exit(run([*mode, *arguments]))
