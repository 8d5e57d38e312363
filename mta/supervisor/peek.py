"""What queues ask for each recipient: its plan, if it is known without a look-up (compiled)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta.model import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from mta.model import Message, Recipient
    from mta.routing.planner import Plan, Planner


class Peek:
    """Asks the planner that routes mail now (see `Paths`)."""

    __slots__ = ("planner", "define")

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        # Where limits name domains: told to which site (by name) one belongs.
        self.define: Callable[[str, str], None] | None = None

    def peek(self, message: Message, recipient: Recipient) -> Plan | Refusal | None:
        """The plan if no look-up is needed."""
        plan = self.planner.peek(message, recipient.domain, recipient.route)
        if self.define is not None and plan is not None and not isinstance(plan, Refusal):
            self.define(plan.site.name, recipient.domain)
        return plan
