"""Asks a running server, over its control socket (JSON lines, see `mta.supervisor.control`)."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

from mta.errors import ControlError

SOON = 2.0  # seconds for an answer that is only convenient
START = "start one with `mta serve`, or give its folder by --home or MTA_HOME"


class NoServerError(ControlError):
    """Nobody listens at the socket."""


def connect(path: Path, patience: float | None = None) -> socket.socket:
    """A connection to the server, or a ControlError that says what to do."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(patience)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        raise NoServerError(f"no server answers at {path}: {START}") from None
    except PermissionError:
        connection.close()
        raise ControlError(
            f"{path}: permission denied; run this as root or as the server's user"
        ) from None
    except OSError as error:
        connection.close()
        raise ControlError(f"{path} is not a control socket: {error}") from None
    return connection


def stream(path: Path, op: str, args: dict[str, Any]) -> Generator[Any, None, Any]:
    """Yields the parts of an answer as they come; the generator's value is its result."""
    with connect(path) as connection:
        connection.sendall(json.dumps({"op": op, "args": args}).encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                answer = decode(line)
                if "error" in answer:
                    raise ControlError(refusal(answer))
                if "ok" in answer:
                    return answer.get("result")
                yield answer.get("part")
    raise ControlError("the server closed the connection before it answered; see its output")


def ask(path: Path, op: str, **args: Any) -> Any:
    """The result of a request that has no parts worth seeing."""
    parts = stream(path, op, args)
    while True:
        try:
            next(parts)
        except StopIteration as end:
            return end.value


def running(path: Path) -> dict[str, Any] | None:
    """The settings of the server that runs; None if there is none that tells us soon."""
    try:
        with connect(path, SOON) as connection, connection.makefile("rwb") as file:
            file.write(b'{"op": "config.show", "args": {}}\n')
            file.flush()
            found = decode(file.readline()).get("result")
    except (ControlError, OSError):
        return None
    return found if isinstance(found, dict) else None


def tell_refused(path: Path) -> None:
    """Say on standard error which shards' mail is missing from a list."""
    for line in ask(path, "shards.refused"):
        print(f"{line}; its mail is not shown", file=sys.stderr)


def decode(line: bytes) -> dict[str, Any]:
    """One line of an answer."""
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ControlError(f"cannot understand the server's answer: {line[:80]!r}")
    return answer


def refusal(answer: dict[str, Any]) -> str:
    """The text of an error with its hint, once."""
    text, hint = str(answer["error"]), answer.get("hint") or ""
    return text if not hint or hint in text else f"{text} ({hint})"
