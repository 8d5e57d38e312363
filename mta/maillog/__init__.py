"""The log of what happened to mail: typed records in zstd frames, written and read."""

from __future__ import annotations

from mta.maillog.reader import follow, read, read_all
from mta.maillog.records import Fields, Record, RecordWriter
from mta.maillog.writer import LogWriter

__all__ = ["Fields", "LogWriter", "Record", "RecordWriter", "follow", "read", "read_all"]
