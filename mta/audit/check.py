"""Looks at a whole shard without changing it: its files, its rows, its contents, its log.

What a kind of problem means stands in `KINDS`. At most `SHOWN` problems of a kind are told one by
one; all are counted.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from mta.audit import losses, unended
from mta.audit.unended import Walk
from mta.errors import RecordError
from mta.maillog import reader
from mta.model import Message, Recipient, Where, id_text
from mta.spool import keys, record, stock
from mta.spool.bodies import FOLDER
from mta.spool.kept import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mta.audit.source import Source

SHOWN = 100
KINDS = {
    "files": "files of the database or contents are damaged or gone: a start refuses the shard",
    "lost": "mail was lost: a start records it as Lost",
    "damage": "blocks of the database, or parts of files, cannot be read",
    "record": "a record cannot be read: its recipient cannot be sent to",
    "envelope": "a recipient whose envelope is missing, or counts others than there are",
    "index": "a recipient that no index leads to, or an index row that leads to none",
    "content": "a content is gone or damaged",
    "ended": "a recipient has its end in the log, and would be sent to again",
    "missing": "a recipient that the log knows no end of, and the spool does not have",
    "log": "parts of the log cannot be read: records of mail are gone, the mail itself is not",
    "accept": "a loss that nobody has accepted (`mta spool accept-loss`)",
}


class Problem(msgspec.Struct, omit_defaults=True):
    """One thing that is wrong."""

    kind: str  # one of KINDS
    text: str
    id: str = ""
    rno: int | None = None


class Report(msgspec.Struct):
    """What was found in a shard."""

    shard: int
    messages: int = 0
    recipients: int = 0
    contents: int = 0  # that are whole
    octets: int = 0  # of them
    counts: dict[str, int] = msgspec.field(default_factory=dict)  # problems by kind
    problems: list[Problem] = msgspec.field(default_factory=list)

    def add(self, kind: str, text: str, id: bytes = b"", rno: int | None = None) -> None:
        """Count a problem, and keep it if there are not too many of its kind."""
        count = self.counts[kind] = self.counts.get(kind, 0) + 1
        if count <= SHOWN:
            self.problems.append(Problem(kind, text, id_text(id) if id else "", rno))


class Held(NamedTuple):
    """A message as its rows are."""

    message: Message
    recipients: list[Recipient]


def check(source: Source, number: int, log_folder: Path) -> Report:
    """Look at everything; MailraceError where the log's own files cannot be read."""
    report = Report(number)
    _files(source, report)
    for loss in losses.Losses(log_folder).pending:
        report.add("accept", losses.said(number, loss))
    if source.readable and not source.found.problem:
        _segments(source, report)
        for held in messages(source, report):
            _contents(source, held, report)
            _indexed(source, held, report)
        _index(source, report)
        _log(source, log_folder, report)
    for what in source.damage:
        report.add("damage", what)
    return report


def _files(source: Source, report: Report) -> None:
    found = source.found
    if found.problem:
        report.add("files", found.problem)
    elif found.lost:
        report.add("lost", f"the files end {found.lost} batches before what was synced")
    elif found.replaced:
        report.add("lost", "the database is new, or another one, the log is not")


def _segments(source: Source, report: Report) -> None:
    for number in stock.lacking(source.rows("default"), source.folder / FOLDER):
        report.add("files", f"{number:010}{stock.SUFFIX} is missing or cut short")


def messages(source: Source, report: Report) -> Iterator[Held]:
    """Every message with its recipients, as far as they can be read; what cannot is told."""
    group: list[tuple[bytes, bytes]] = []
    for row in source.rows("messages"):
        if group and row[0][:16] != group[0][0][:16]:
            yield from _decoded(group, report)
            group = []
        group.append(row)
    if group:
        yield from _decoded(group, report)


def _decoded(rows: list[tuple[bytes, bytes]], report: Report) -> Iterator[Held]:
    """One message."""
    id = rows[0][0][:16]
    message = _envelope(id, rows, report)
    if message is None:
        return
    recipients = []
    for key, value in rows:
        if len(key) == keys.KEY_SIZE:
            number = keys.parse_u32(key[16:])
            try:
                recipients.append(record.decode_recipient(message, number, value))
            except RecordError as error:
                report.add("record", str(error), id, number)
    report.messages += 1
    report.recipients += len(recipients)
    if len(recipients) != message.open:
        text = f"the envelope counts {message.open} open recipients, {len(recipients)} are there"
        report.add("envelope", text, id)
    yield Held(message, recipients)


def _envelope(id: bytes, rows: list[tuple[bytes, bytes]], report: Report) -> Message | None:
    value = next((v for key, v in rows if len(key) == 16 or record.is_alone(v)), None)
    if value is None:
        for key, _ in rows:
            report.add("envelope", "its envelope is missing", id, keys.parse_u32(key[16:]))
        return None
    try:
        return record.decode_envelope(id, value)
    except RecordError as error:
        report.add("record", str(error), id)
        return None


def _contents(source: Source, held: Held, report: Report) -> None:
    body = source.body(held.message)
    if body is None:
        report.add("content", "its content is gone or damaged", held.message.id)
    else:
        report.contents += 1
        report.octets += len(body)


def _indexed(source: Source, held: Held, report: Report) -> None:
    """Each recipient has its rows, but for those that came last (`mta.spool.young`)."""
    listed = source.get("default", keys.LISTED) or b""
    for one in held.recipients:
        key = keys.recipient(held.message.id, one.number)
        if one.where == Where.FRESH and key >= listed:
            continue
        for row in (keys.row(one, key), keys.expiry(one.expires_us, key)):
            if source.get("index", row) is None:
                text = f"its row {row[:1].decode()} is missing"
                report.add("index", text, held.message.id, one.number)


def _index(source: Source, report: Report) -> None:
    """Each row leads to a recipient that is there, where it says."""
    for row, _ in source.rows("index"):
        key = row[-keys.KEY_SIZE :]
        value = source.get("messages", key)
        if value is None:
            report.add("index", f"a row {row[:1]!r} leads to nobody", key[:16])
        elif not _asked(row, key, value):
            text = f"a row {row[:1].decode()} is left over from another state"
            report.add("index", text, key[:16], keys.parse_u32(key[16:]))


def _asked(row: bytes, key: bytes, value: bytes) -> bool:
    """Whether a recipient's record asks for a row; its lane is in the envelope, so is not seen."""
    try:
        one = record.decode_recipient(Message(key[:16], ""), keys.parse_u32(key[16:]), value)
        if row[:1] == b"b":
            return one.where == Where.BACKLOG and keys.parse_backlog(row)[2] == one.due_us
    except RecordError:
        return False
    return row == keys.expiry(one.expires_us, key) or (
        one.where != Where.BACKLOG and row == keys.row(one, key)
    )


def _log(source: Source, log_folder: Path, report: Report) -> None:
    """What has ended is not here, what has not ended is."""
    position = keys.parse_position(source.get("default", keys.LOG) or bytes(16))
    for id, number, place in unended.ends(log_folder):
        if place < position and source.get("messages", keys.recipient(id, number)) is not None:
            report.add("ended", "it has its end in the log", id, number)
    for what in reader.damage(log_folder):
        report.add("log", what)
    for id, number in missing(source, log_folder):
        report.add("missing", "its log has no end of it", id, number)


def missing(source: Source, log_folder: Path) -> Iterator[tuple[bytes, int]]:
    """The recipients that the log knows no end of, and that are not in the spool."""
    walk = Walk(log_folder, (0, 0))
    while True:
        for _ in walk.more():
            pass
        walk.also(_kept(source))
        without_end = ((id, number) for id, one in walk.open.items() for number in one.numbers())
        for id, number in without_end:
            if source.get("messages", keys.recipient(id, number)) is None:
                yield id, number
        if not walk.next():
            return


def _kept(source: Source) -> Iterator[bytes]:
    """The records that wait in the spool for the log."""
    for key, packed in source.rows("default"):
        if key.startswith(keys.FRAME):
            yield from unpack([packed])


def totals(reports: list[Report]) -> Counter[str]:
    """Problems by kind, of several shards."""
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.counts)
    return counts
