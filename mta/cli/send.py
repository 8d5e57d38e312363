"""`mta send`: one message by SMTP, followed to its end if asked."""

from __future__ import annotations

import re
import smtplib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mta.cli.common import Home, Json, Socket, control_socket, plain, print_line
from mta.cli.submission import split_addresses
from mta.errors import ControlError, MailraceError

QUEUED = re.compile(r"queued as ([0-9a-f]{32})")
INSTALLED = "127.0.0.1:2525"
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
HEADER_LINE = re.compile(rb"[!-9;-~]+:|From ")
FAILED, TIMED_OUT = 1, 3
FINAL_FAILURES = frozenset(("Bounce", "Expiration", "AdminBounce", "Removed"))


def register(app: typer.Typer) -> None:
    """Add `send` to the application."""
    app.command("send")(send)


def send(
    to: Annotated[
        list[str],
        typer.Option(
            metavar="ADDRESS", help="Recipient, or several separated by commas; may be repeated"
        ),
    ],
    sender: Annotated[
        str | None, typer.Option("--from", help="Envelope sender ('' = null sender); default: you")
    ] = None,
    subject: Annotated[str, typer.Option(help="Subject")] = "Test",
    body: Annotated[str | None, typer.Option(help="Text; default: standard input")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Send this message with its header (.eml); - = standard input"),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Server to send to; default: the one that runs in this home, else 127.0.0.1:2525",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the final record of each recipient")
    ] = False,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Wait at most this long")] = "60s",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print the SMTP dialog")] = False,
    home: Home = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Send a message. With --wait, print each reply of the remote server until it is done with.

    Exits with 0 if it was delivered (without --wait: accepted), 1 if it failed, 3 if time ran out.
    """
    from mta.config.flags import tcp_endpoint

    out = Output(json=json, verbose=verbose)
    sender = _myself() if sender is None else sender
    to = [one for text in to for one in split_addresses(text)]
    _check(sender, to)
    content = _content(sender, to, subject, body, file)
    seconds, control = _duration(timeout), control_socket(home, socket)
    endpoint = tcp_endpoint(server or _listens(control), "--server")
    id, refused = _submit(endpoint[:2], sender, to, content, out)
    if not id:
        raise typer.Exit(FAILED)
    out.queued(id, len(to) - refused)
    code = _follow(id, control, seconds, out) if wait else 0
    raise typer.Exit(FAILED if refused else code)


class Output:
    """What is said of the way of the message."""

    def __init__(self, *, json: bool, verbose: bool) -> None:
        self._json, self._verbose = json, verbose
        self._began = time.monotonic()

    def dialog(self, command: str, code: int, text: bytes) -> None:
        """One command and its reply."""
        shown = text.decode("utf-8", "replace")
        if self._json:
            print_line({"command": command, "code": code, "text": shown})
        elif self._verbose:
            print(f"> {command}")
            for line in shown.split("\n"):
                print(f"< {code} {plain(line)}")

    def refused(self, command: str, code: int, text: bytes) -> None:
        """The server said no."""
        shown = text.decode("utf-8", "replace").replace("\n", " ")
        print(f"mta send: refused at {command}: {code} {plain(shown)}", file=sys.stderr)

    def queued(self, id: str, recipients: int) -> None:
        """The server has the message."""
        if self._json:
            print_line({"id": id, "recipients": recipients})
        else:
            print(f"queued as {id}, {recipients} recipient(s)")

    def record(self, record: dict[str, Any]) -> None:
        """One record of the message's log."""
        if self._json:
            print_line(record)
            return
        elapsed = time.monotonic() - self._began
        print(f"{elapsed:7.2f} s  {plain(told(record))}", flush=True)

    def timed_out(self, id: str, seconds: float) -> None:
        """No final record came."""
        print(
            f"mta send: {id} has not ended after {seconds:g} s; `mta queue show {id}` tells more",
            file=sys.stderr,
        )


def told(record: dict[str, Any]) -> str:
    """A record in a line: what happened to whom, where, the remote's words, and what is next."""
    whom = record.get("recipient") or ", ".join(record.get("recipients", ()))
    line = f"{record['type']:<16} {whom}"
    if record["type"] == "Reception":
        return f"{line}, {record.get('size', 0):,} octets"
    if peer := record.get("peer_name") or record.get("site"):
        line += f" at {peer}"
    fields = ("code", "enhanced", "text")
    if reply := " ".join(str(record[key]) for key in fields if record.get(key)):
        line += f": {reply}"
    if record.get("next_attempt"):
        line += f"; next attempt in {(record['next_attempt'] - record['time']) / 1e6:.1f} s"
    return line


def _myself() -> str:
    """The user at this machine, as sender."""
    from getpass import getuser
    from socket import gethostname

    return f"{getuser()}@{gethostname()}"


def _check(sender: str, to: list[str]) -> None:
    """A usage error for what would break a command line; the server judges the rest."""
    if not all(to):
        raise typer.BadParameter("an address is missing beside a comma", param_hint="--to")
    for option, address in (("--from", sender), *(("--to", one) for one in to)):
        if not address.isprintable() or "<" in address or ">" in address:
            raise typer.BadParameter(
                f"{plain(address)!r} is no address: write user@example.com", param_hint=option
            )


def _listens(control: Path) -> str:
    """Where the server that has this control socket takes mail; as installed if there is none."""
    from mta.cli.control import ask
    from mta.config.values import Endpoint

    try:
        listeners = ask(control, "config.show")["listener"]
    except ControlError:
        return INSTALLED
    for listener in listeners:
        endpoint = Endpoint.parse(listener["listen"])
        if not endpoint.path and not listener["proxy_from"]:
            return str(endpoint._replace(host=LOOPBACK.get(endpoint.host, endpoint.host)))
    return INSTALLED


def _duration(text: str) -> float:
    from mta.config.values import duration
    from mta.errors import ConfigError

    try:
        return duration(text)
    except ValueError as error:
        raise ConfigError(str(error), key="--timeout", hint="as 30s or 5m") from error


def _content(
    sender: str, to: list[str], subject: str, body: str | None, file: Path | None
) -> bytes:
    """The message, CRLF line ends."""
    if file is not None:
        if body is not None:
            raise typer.BadParameter("give --body or --file, not both", param_hint="--file")
        return _read(file)
    if body is None:
        if sys.stdin.isatty():
            print("Type the text, end with Ctrl-D:", file=sys.stderr)
        body = sys.stdin.buffer.read().decode("utf-8", "replace")
    return compose(sender, to, _readable(subject), _readable(body))


def _readable(text: str) -> str:
    """An argument without the octets that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _read(file: Path) -> bytes:
    """A message from a file, its line ends mended."""
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise MailraceError(f"cannot read {file}: {error.strerror}") from error
    if not HEADER_LINE.match(data):
        raise MailraceError(f"{file} does not begin with a header field, so it is not a message")
    return re.sub(rb"\r\n|\r|\n", b"\r\n", data)


def compose(sender: str, to: list[str], subject: str, body: str) -> bytes:
    """A small text message (RFC 5322)."""
    from email.message import EmailMessage
    from email.policy import SMTP, SMTPUTF8
    from email.utils import localtime, make_msgid

    ascii = all(address.isascii() for address in (sender, *to))
    message = EmailMessage(policy=SMTP if ascii else SMTPUTF8)
    message["From"], message["To"] = sender or "<>", ", ".join(to)
    message["Subject"], message["Date"] = " ".join(subject.split()), localtime()
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "localhost")
    message.set_content(body)
    return message.as_bytes()


def _submit(
    server: tuple[str, int], sender: str, to: list[str], content: bytes, out: Output
) -> tuple[str, int]:
    """Send; the queue id, or "" if nothing was taken, and how many recipients were refused."""
    from socket import gethostname

    try:
        with smtplib.SMTP(*server, local_hostname=gethostname(), timeout=60) as client:
            return _transact(client, sender, to, content, out)
    except smtplib.SMTPResponseException as error:
        reply = error.smtp_error
        out.refused("greeting", error.smtp_code, reply if isinstance(reply, bytes) else b"")
        return "", 0
    except smtplib.SMTPNotSupportedError:
        raise MailraceError("the server takes no addresses beyond ASCII (SMTPUTF8)") from None
    except (OSError, smtplib.SMTPException) as error:
        host, port = server
        raise MailraceError(
            f"cannot talk to {host}:{port}: {error}; start a server with `mta serve`, "
            "or name another with --server"
        ) from error


def _transact(
    client: smtplib.SMTP, sender: str, to: list[str], content: bytes, out: Output
) -> tuple[str, int]:
    client.ehlo_or_helo_if_needed()
    options = ["BODY=8BITMIME"] if not content.isascii() and client.has_extn("8bitmime") else []
    if not all(address.isascii() for address in (sender, *to)):
        options.append("SMTPUTF8")  # RFC 6531 3.4
    if not _said(out, f"MAIL FROM:<{sender}>", client.mail(sender, options)):
        return "", 0
    refused = sum(not _said(out, f"RCPT TO:<{one}>", client.rcpt(one)) for one in to)
    if refused == len(to):
        return "", refused
    try:
        code, text = client.data(content)
    except smtplib.SMTPDataError as error:
        reply = error.smtp_error
        out.refused("DATA", error.smtp_code, reply if isinstance(reply, bytes) else reply.encode())
        return "", refused
    if not _said(out, "DATA", (code, text)):
        return "", refused
    found = QUEUED.search(text.decode("utf-8", "replace"))
    return (found[1] if found else text.decode("utf-8", "replace")), refused


def _said(out: Output, command: str, reply: tuple[int, bytes]) -> bool:
    """Print a reply; whether it is positive."""
    out.dialog(command, *reply)
    if reply[0] >= 400:
        out.refused(command, *reply)
    return reply[0] < 400


def _follow(id: str, path: Path, seconds: float, out: Output) -> int:
    """Print the message's records until each recipient has its final one; the exit code."""
    failed = False
    try:
        for record in _records(id, path, time.monotonic() + seconds):
            out.record(record)
            failed |= record.get("type") in FINAL_FAILURES
    except TimeoutError:
        out.timed_out(id, seconds)
        return TIMED_OUT
    return FAILED if failed else 0


def _records(id: str, path: Path, deadline: float) -> Iterator[dict[str, Any]]:
    """The parts of the answer to `message.follow`; TimeoutError at the deadline."""
    from mta.cli.control import connect, decode, refusal

    with connect(path) as connection, connection.makefile("rb") as lines:
        request = {"op": "message.follow", "args": {"id": id}}
        connection.sendall(json_line(request))
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            answer = decode(lines.readline())
            if "error" in answer:
                raise ControlError(refusal(answer))
            if "ok" in answer:
                return
            yield answer.get("part") or {}


def json_line(value: dict[str, Any]) -> bytes:
    """A request as the control socket takes it."""
    import json

    return json.dumps(value).encode() + b"\n"
