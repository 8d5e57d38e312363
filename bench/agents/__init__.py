"""The mail transfer agents that are compared: how each is configured and started.

Each takes mail for any domain on 127.0.0.1 and relays all of it to sinks on loopback, with a queue
on disk between. What is not installed is named in a line and left out.
"""

from __future__ import annotations

from bench.agents.base import Agent, Scene, fresh
from bench.agents.exim import Exim
from bench.agents.haraka import Haraka
from bench.agents.kumomta import KumoMTA
from bench.agents.mailrace import Mailrace, OneWorker
from bench.agents.opensmtpd import OpenSMTPD
from bench.agents.postfix import Postfix
from bench.agents.powermta import PowerMTA
from bench.agents.python import Python

AGENTS: dict[str, type[Agent]] = {
    kind.name: kind
    for kind in (
        Mailrace, OneWorker, Postfix, Exim, OpenSMTPD, Haraka, Python, KumoMTA, PowerMTA,
    )
}  # fmt: skip
OURS = {Mailrace.name: "Mailrace", OneWorker.name: "Mailrace with one worker"}

__all__ = ["AGENTS", "OURS", "Agent", "Mailrace", "Postfix", "Scene", "fresh"]
