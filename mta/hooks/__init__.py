"""Python hooks: functions of the operator's own file, asked at fixed points of a message's way.

`spec` has every signature and type, `script` loads the file, `runner` calls its functions within
their time, `answers` keeps what was answered for a queue or a destination, `headers` alters header
fields. A hook file imports from here: `from mta.hooks import Accept, NewMessage, Refuse`.
"""

from mta.errors import HookError
from mta.hooks.spec import (
    HOOKS,
    Accept,
    Bounce,
    Defer,
    Destination,
    EndedAttempt,
    Go,
    NewMessage,
    NextAttempt,
    Queue,
    QueueSettings,
    Refuse,
    RouteChoice,
    Skip,
)
from mta.model import Class

__all__ = [
    "HOOKS", "Accept", "Bounce", "Class", "Defer", "Destination", "EndedAttempt", "Go", "HookError",
    "NewMessage", "NextAttempt", "Queue", "QueueSettings", "Refuse", "RouteChoice", "Skip",
]  # fmt: skip
