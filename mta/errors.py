"""Exceptions that are meant for people: each message says what would be right."""

from __future__ import annotations

import errno

# What may pass by itself, so that trying again is better than giving up.
PASSING = frozenset((
    errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    errno.EAGAIN, errno.EBUSY, errno.ENOBUFS, errno.ESTALE, errno.ETIMEDOUT,
))  # fmt: skip


class MailraceError(Exception):
    """The base of every error that a command prints without a traceback."""


class ConfigError(MailraceError):
    """A setting that cannot be used; `where` is `file:line`, a flag, or empty.

    `local`: this machine lacks something; elsewhere the setting may be right.
    """

    def __init__(
        self, problem: str, *, key: str = "", where: str = "", hint: str = "", local: bool = False
    ) -> None:
        self.problem, self.key, self.where, self.hint = problem, key, where, hint
        self.local = local
        parts = [part for part in (where, key) if part]
        text = ": ".join([*parts, problem])
        super().__init__(f"{text} ({hint})" if hint else text)


class SpoolError(MailraceError):
    """The spool cannot be opened or used."""


class SpoolLockedError(SpoolError):
    """Another server holds this shard."""


class SpoolVersionError(SpoolError):
    """The spool was written by a newer version."""


class SpoolDamagedError(SpoolError):
    """A shard whose files are damaged: refused, so that no mail is dropped unseen."""

    def __init__(self, text: str, what: str = "") -> None:
        self.what = what or text  # the damage alone, without the advice
        super().__init__(text)


class ContentsMissingError(SpoolError):
    """A shard without files that its mail needs: refused until they are back."""


class SpoolBusyError(SpoolError):
    """RocksDB stalls writes, or the disk is full: answer 452 and try again."""


class SpoolUnknownError(SpoolError):
    """Whether a message was stored is unknown: nobody may be told that it was, or was not."""


class RecordError(MailraceError):
    """Bytes that are not a record of a version we know."""


class ResolveError(MailraceError):
    """A name that cannot be resolved now; `temporary` tells whether a retry may help."""

    def __init__(self, text: str, *, temporary: bool) -> None:
        self.temporary = temporary
        super().__init__(text)


class ControlError(MailraceError):
    """A request to a running server that it refuses or cannot answer."""


class HookError(MailraceError):
    """A hook that raised, took too long or gave an answer that cannot be used."""

    def __init__(self, hook: str, why: str) -> None:
        self.hook, self.why = hook, why
        super().__init__(f"hook {hook} failed: {why}")


class TableError(MailraceError):
    """A lookup table that cannot answer now; the message is tried again later."""

    def __init__(self, table: str, why: str) -> None:
        self.table, self.why = table, why
        super().__init__(f"table {table}: {why}")
