"""Handing a message to the server: by SMTP, or into its pickup folder."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import smtplib
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mta.errors import MailraceError

EX_OK, EX_USAGE, EX_NOUSER, EX_UNAVAILABLE, EX_OSERR, EX_TEMPFAIL = 0, 64, 67, 69, 71, 75

CONFIG = "/etc/mailrace/mailrace.toml"
TIMEOUT = 60.0  # seconds for each reply
_BETWEEN_COMMAS = re.compile(r',((?:"(?:[^"\\]|\\.)*"|[^,])*)')


class SendmailError(MailraceError):
    """What went wrong, with the exit code (sysexits.h)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Mail:
    """A message that is ready to go, and what is asked of DSNs (RFC 3461)."""

    sender: str
    recipients: list[str]
    content: bytes
    notify: str = ""
    ret: str = ""
    envid: str = ""


def split_addresses(text: str) -> list[str]:
    """Addresses with commas between, each without blanks around; a quoted comma parts nothing."""
    return [part.strip() for part in _BETWEEN_COMMAS.findall(f",{text}")]


@dataclass
class Place:
    """Where the server is."""

    host: str = "127.0.0.1"
    port: int = 2525
    path: str = ""  # of a Unix socket
    pickup: Path = Path()

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


def place(server: str, home: str) -> Place:
    """By what is given, the environment or the server's configuration; else as it is installed."""
    from mta.config.home import default_home
    from mta.config.values import Endpoint

    given = server or os.environ.get("MTA_SERVER", "")
    home = home or os.environ.get("MTA_HOME", "")
    found = Place(pickup=Path(home or default_home()) / "pickup")
    config = os.environ.get("MTA_CONFIG") or CONFIG
    if os.access(config, os.R_OK):
        from mta.config.load import load

        settings = load(config, (), home or None, offline=True)
        found.pickup = Path(settings.pickup.folder)
        given = given or min((x.listen for x in settings.listener), key=_distance)
    if given:
        try:
            endpoint = Endpoint.parse(given)
        except ValueError as error:
            raise SendmailError(EX_USAGE, f"--server: {error}") from None
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        found.host = local.get(endpoint.host, endpoint.host)
        found.port, found.path = endpoint.port, endpoint.path
    return found


def control_socket(home: str) -> Path:
    """The server's control socket: of the home that is named, else as its configuration says."""
    from mta.config.home import absolute, default_home

    if not home and (named := os.environ.get("MTA_SOCKET")):
        return Path(named)
    home = home or os.environ.get("MTA_HOME", "")
    config = os.environ.get("MTA_CONFIG") or CONFIG
    if not home and os.access(config, os.R_OK):
        from mta.config.load import load

        return Path(load(config, offline=True).control.socket)
    return absolute(home or default_home()) / "control.sock"


def _distance(listen: str) -> int:
    """A Unix socket first, then loopback, then the rest."""
    return 0 if listen.startswith("unix:") else 1 if listen.startswith("127.") else 2


def connect(where: Place) -> socket.socket:
    """A connection to the server; OSError where there is none."""
    if not where.path:
        return socket.create_connection((where.host, where.port), TIMEOUT)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(TIMEOUT)
    try:
        sock.connect(where.path)
    except BaseException:
        sock.close()
        raise
    return sock


class Client(smtplib.SMTP):
    """smtplib over a connection that may be a Unix socket."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(local_hostname=socket.gethostname(), timeout=TIMEOUT)
        self.sock, self.file = sock, None
        code, text = self.getreply()
        if code != 220:
            raise smtplib.SMTPConnectError(code, text)


Say = Callable[[str], None]


def submit(sock: socket.socket, mail: Mail, say: Say) -> int:
    """Send over a connection; the exit code. Replies go to `say`, refusals to stderr."""
    try:
        client = Client(sock)
    except smtplib.SMTPConnectError as error:
        return _said("connect", (error.smtp_code, _bytes(error.smtp_error)), say)
    try:
        return _transact(client, mail, say)
    except smtplib.SMTPNotSupportedError:
        raise SendmailError(EX_UNAVAILABLE, "the server takes no addresses beyond ASCII") from None
    finally:
        with contextlib.suppress(smtplib.SMTPException, OSError):
            client.quit()  # what it answers changes nothing


def _transact(client: Client, mail: Mail, say: Say) -> int:
    client.ehlo_or_helo_if_needed()
    dsn = client.has_extn("dsn")
    wants = ["BODY=8BITMIME"] if not mail.content.isascii() else []
    if not all(address.isascii() for address in (mail.sender, *mail.recipients)):
        wants.append("SMTPUTF8")
    wants += [f"RET={mail.ret}"] if dsn and mail.ret else []
    wants += [f"ENVID={xtext(mail.envid)}"] if dsn and mail.envid else []
    code = _said(f"MAIL FROM:<{mail.sender}>", client.mail(mail.sender, wants), say)
    if code:
        return code
    notify = [f"NOTIFY={mail.notify}"] if dsn and mail.notify else []
    codes = [_said(f"RCPT TO:<{one}>", client.rcpt(one, notify), say) for one in mail.recipients]
    if all(codes):
        return max(codes)
    try:
        answer = client.data(mail.content)
    except smtplib.SMTPDataError as error:
        answer = error.smtp_code, _bytes(error.smtp_error)
    return _said("DATA", answer, say) or max(codes)


def xtext(text: str) -> str:
    """A value as RFC 3461 4 writes it."""
    return "".join(c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" for c in text)


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _said(command: str, reply: tuple[int, bytes], say: Say) -> int:
    """The exit code that a reply stands for, 0 if it is positive."""
    code, text = reply[0], " ".join(reply[1].decode("utf-8", "replace").split())
    say(f"> {command}\n< {code} {text}")
    if code < 400:
        return EX_OK
    complain(f"{command}: {code} {text}")
    if code < 500:
        return EX_TEMPFAIL
    return EX_NOUSER if text.startswith("5.1.") else EX_UNAVAILABLE


def drop(folder: Path, mail: Mail) -> None:
    """Write the message into the pickup folder, synced; OSError if that cannot be."""
    mine = [f" RET={mail.ret}"] if mail.ret else []
    mine += [f" ENVID={xtext(mail.envid)}"] if mail.envid else []
    theirs = f" NOTIFY={mail.notify}" if mail.notify else ""
    lines = [f"X-Sender: <{mail.sender}>{''.join(mine)}"]
    lines += [f"X-Receiver: <{one}>{theirs}" for one in mail.recipients]
    head = "".join(f"{line}\r\n" for line in lines).encode()
    name = f"{time.time_ns():x}-{os.getpid():x}-{secrets.token_hex(4)}"
    hidden = folder / f".{name}"
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        with open(descriptor, "wb") as file:
            file.write(head + mail.content)
            file.flush()
            os.fsync(descriptor)
        hidden.rename(folder / name)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
    # A folder where one may only drop cannot be opened; its own sync is then the disk's affair.
    with contextlib.suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def complain(text: str) -> None:
    """A line on standard error."""
    print(f"sendmail: {''.join(c if c.isprintable() else '?' for c in text)}", file=sys.stderr)
