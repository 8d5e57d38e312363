"""The member of `admit` in docs/design.md, "Where a feature goes", does what it says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from mta._speedups.verdict import ACCEPTED
from mta.reception.control import Control
from tests.unit.smtpd.desk import Desk

DESIGN = (Path(__file__).parents[3] / "docs" / "design.md").read_text(encoding="utf-8")
ENVELOPE = b"MAIL FROM:<a@c.example>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"


def example(name: str) -> dict[str, Any]:
    """What the example that defines this class defines."""
    code = next(code for code in re.findall(r"```python\n(.*?)```", DESIGN, re.S) if name in code)
    assert code.count("\n") <= 30
    names: dict[str, Any] = {}
    exec(compile(code, "docs/design.md", "exec", dont_inherit=True), names)
    return names


class Tenants(example("class Wanted")["Member"]):  # type: ignore[misc]
    """Stands for the control headers: a sender's local part is the tenant."""

    def message(self, arrival: Any) -> Any:
        arrival.control = Control(tenant=arrival.sender.partition("@")[0])
        return ACCEPTED


def test_admit() -> None:
    asked: list[tuple[str, int]] = []

    async def within_quota(tenant: str, recipients: int) -> bool:
        asked.append((tenant, recipients))
        return tenant != "spent"

    async def test() -> None:
        wanted = example("class Wanted")["Wanted"](frozenset({"gone@example.com"}), within_quota)
        desk = Desk(members=[Tenants(), wanted])
        talk = desk.open()
        talk.say(b"EHLO c\r\n")
        assert talk.codes(b"MAIL FROM:<>\r\nRCPT TO:<Gone@example.com>\r\nRSET\r\n") == [
            250,
            550,
            250,
        ]
        for sender, code in ((b"", 250), (b"acme@c.example", 250), (b"spent@c.example", 452)):
            talk.send(ENVELOPE.replace(b"a@c.example", sender) + b"A: b\r\n\r\n.\r\n")
            for _ in range(5):
                await asyncio.sleep(0)
            assert talk.replies().splitlines()[-1].startswith(b"%d " % code)
        assert [message.sender for message, _ in desk.messages] == ["", "acme@c.example"]
        assert asked == [("acme", 1), ("spent", 1)]
        assert [record["reason"] for record in desk.log] == ["suppressed", "quota"]

    asyncio.run(test())
