"""The verdicts that are the same for every client (RFC 5321 4.2, RFC 2034).

What the core answers by itself stands in `mta/_speedups/server_replies.pyx`; these are the shell's.
"""

from __future__ import annotations

from mta._speedups.verdict import Reason, Verdict, rendered

__all__ = ["EARLY", "FAILED", "LOCAL_ERROR", "NO_STORAGE", "SLOW", "TOO_SLOW", "reply"]

reply = rendered

NO_STORAGE = Verdict(452, "4.3.1", "Not enough storage now, try again later", Reason.NO_ROOM)
SLOW = "Content came too slowly while memory is short, try again later"
TOO_SLOW = Verdict(421, "4.3.1", SLOW, Reason.NO_ROOM)
LOCAL_ERROR = Verdict(451, "4.3.0", "A local error, try again later", Reason.COMMIT_FAILED)
FAILED = Verdict(451, "4.3.0", "A local error, try again later", Reason.POLICY_FAILED)
EARLY = Verdict(503, "5.5.1", "Content came before the 354 (RFC 2920 3.1)", Reason.PIPELINING)
