from __future__ import annotations

from pathlib import Path

import pytest

from mta.queues.acts import Select, Verb
from mta.supervisor.state import NodeState


@pytest.fixture
def state(tmp_path: Path) -> NodeState:
    return NodeState(tmp_path / "state.db")


def test_an_act_survives_a_reopening(tmp_path: Path, state: NodeState) -> None:
    act = state.add_act(Verb.BOUNCE, Select(campaign="spring"), 5, "stop", "")
    state.close()
    assert NodeState(tmp_path / "state.db").acts() == [act]


def test_a_swept_act_is_retired_and_its_number_not_used_again(state: NodeState) -> None:
    first = state.add_act(Verb.DELETE, Select(all=True), 5, "", "")
    state.swept(first.sequence)
    assert state.acts() == []
    assert state.add_act(Verb.DELETE, Select(all=True), 6, "", "").sequence > first.sequence


def test_a_hold_stands_after_its_sweep_until_a_release_takes_it_in(state: NodeState) -> None:
    hold = state.add_act(Verb.HOLD, Select(campaign="spring"), 5, "", "")
    state.swept(hold.sequence)
    assert [act.swept for act in state.acts()] == [True]
    narrow = state.add_act(Verb.RELEASE, Select(campaign="spring", domain="a.example"), 6, "", "")
    state.swept(narrow.sequence)
    assert [act.sequence for act in state.acts()] == [hold.sequence]
    wide = state.add_act(Verb.RELEASE, Select(campaign="spr*"), 7, "", "")
    state.swept(wide.sequence)
    assert state.acts() == []
