"""The worked examples of docs/design.md, "Where a feature goes", do what they say."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from mta._speedups.verdict import ACCEPTED
from mta.reception.control import Control
from tests.unit.smtpd.desk import Desk

DESIGN = (Path(__file__).parent.parent / "docs" / "design.md").read_text(encoding="utf-8")
ENVELOPE = b"MAIL FROM:<a@c.example>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"


def example(decision: str) -> dict[str, Any]:
    """What the example of a decision defines."""
    section = DESIGN.split("## Where a feature goes\n")[1].split("\n## ")[0]
    text = section.split(f"\n### {decision}\n")[1].split("\n### ")[0]
    code = re.search(r"```python\n(.*?)```", text, re.S)
    assert code is not None and code[1].count("\n") <= 40
    names: dict[str, Any] = {}
    exec(compile(code[1], f"docs/design.md, {decision}", "exec", dont_inherit=True), names)
    return names


class Tenants(example("admit")["Member"]):  # type: ignore[misc]
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
        wanted = example("admit")["Wanted"](frozenset({"gone@example.com"}), within_quota)
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
