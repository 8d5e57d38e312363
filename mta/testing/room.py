"""Room for content that a test gives and takes away."""

from __future__ import annotations

from typing import Any


class Room:
    """Takes everything while `open`; `waiting` are those whose content may not go on."""

    def __init__(self) -> None:
        self.open = True
        self.octets = 0  # reserved now
        self.waiting: list[Any] = []

    def has(self, holder: Any) -> bool:
        """Is there room for content to begin."""
        return self.open

    def reserve(self, holder: Any, octets: int) -> bool:
        """Room for the whole of a message, or its beginning."""
        if self.open:
            holder.reserved += octets
            self.octets += octets
        return self.open

    def release(self, holder: Any) -> None:
        """The content has been handed on, or given up."""
        self.octets -= holder.reserved
        holder.reserved = 0

    def grow(self, holder: Any, size: int) -> bool:
        """Room for content that has `size` octets now."""
        if self.reserve(holder, max(0, size - holder.reserved)):
            return True
        self.waiting.append(holder)
        return False

    def forget(self, holder: Any) -> None:
        """The holder waits no more."""
        self.waiting.remove(holder)
