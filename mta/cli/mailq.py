"""`mailq`: what waits, as users of other mailers know it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from mta.cli import common, control
from mta.errors import MailraceError

LIMIT = 10_000  # recipients that are listed
EX_OK, EX_UNAVAILABLE = 0, 69
MARKS = {"held": "!", "in flight": "*"}


def show(home: Path | None, socket: Path | None = None, *, as_json: bool = False) -> int:
    """Print the queue; the exit code."""
    path = common.control_socket(home, socket)
    try:
        rows = control.ask(path, "queue.list", limit=LIMIT)
        control.tell_refused(path)
    except MailraceError as error:
        print(f"mailq: {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    if as_json:
        common.print_json(rows)
        return EX_OK
    for line in listing(rows):
        print(line)
    return EX_OK


def listing(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Messages with their recipients, and why those wait."""
    messages: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        messages.setdefault(row["id"], []).append(row)
    if not messages:
        yield "Mail queue is empty"
        return
    yield f"{'-Queue ID-':<33} {'--Size--':>9} {'----Arrival Time----':<24} -Sender/Recipient--"
    octets = recipients = 0
    for id, group in messages.items():
        first = group[0]
        marks = {MARKS.get(row["state"], "") for row in group}
        mark = "*" if "*" in marks else "!" if "!" in marks else ""
        arrived = time.strftime("%a %b %e %H:%M:%S", time.localtime(first["received"] / 1e6))
        sender = common.plain(first["sender"]) or "MAILER-DAEMON"
        yield f"{id + mark:<33} {first['size']:>9} {arrived:<24} {sender}"
        octets, recipients = octets + first["size"], recipients + len(group)
        for row in group:
            if row.get("text"):
                yield f"{'':>44} ({common.plain(' '.join(reason(row)))})"
            yield f"{'':>68} {common.plain(row['recipient'])}"
        yield ""
    more = ", further ones are not listed" if recipients >= LIMIT else ""
    yield f"-- {octets // 1024} Kbytes in {len(messages)} Requests{more}."


def reason(row: dict[str, Any]) -> Iterator[str]:
    """The last reply."""
    for key in ("code", "enhanced", "text"):
        if row.get(key):
            yield str(row[key])


def main() -> NoReturn:
    """Entry point of `mailrace-mailq`."""
    from mta.cli import sendmail

    sys.exit(sendmail.run(["-bp", *sys.argv[1:]]))
