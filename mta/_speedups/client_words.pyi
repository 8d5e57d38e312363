"""States, deadlines and capabilities of the client by name."""

UNATTEMPTED: str
"""The command of a result (with code 0) for which nothing was decided by the server."""

STATE_NAMES: tuple[str, ...]
"""The names of `ClientCore.state`."""

EVENT_NAMES: tuple[str, ...]
"""The names of the events, by number."""

KIND_NAMES: tuple[str, ...]
"""The names of `ClientCore.deadline_kind`, by number."""

KEYWORDS: dict[str, int]
"""EHLO keyword to bit of `ClientCore.capabilities`."""

ACTION_NAMES: tuple[str, ...]
"""What a reply does, as `client.transitions` has it."""
