"""The file that says what a shard has lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mta.audit import losses
from mta.audit.losses import Loss, Losses
from mta.errors import MailraceError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_loss_is_pending_until_it_is_accepted(tmp_path: Path) -> None:
    assert Losses(tmp_path).pending == []
    loss = Losses(tmp_path).found(Loss(5, "cut", (2, 7)))
    (known,) = Losses(tmp_path).pending
    assert known == loss
    again = Losses(tmp_path)
    assert again.accept("root", "disk", 9) == []  # nobody knows its extent yet
    again.all[0].compared, again.all[0].recipients = True, 3
    again.save()
    (accepted,) = Losses(tmp_path).accept("root", "disk", 9)
    assert (accepted.accepted_us, accepted.accepted_by, accepted.reason) == (9, "root", "disk")
    assert Losses(tmp_path).pending == []
    assert Losses(tmp_path).all == [accepted]  # it is remembered


def test_a_loss_that_is_found_again_before_it_was_compared_is_one(tmp_path: Path) -> None:
    Losses(tmp_path).found(Loss(5, "cut", (2, 7), certain=False))
    Losses(tmp_path).found(Loss(6, "cut more", (1, 9)))
    (known,) = Losses(tmp_path).all
    assert (known.found_us, known.since, known.certain) == (5, (1, 9), True)
    known.compared = True
    other = Losses(tmp_path)
    other.all = [known]
    other.save()
    Losses(tmp_path).found(Loss(8, "another", (3, 0)))
    assert [loss.found_us for loss in Losses(tmp_path).pending] == [5, 8]


def test_what_turned_out_to_be_none_is_forgotten(tmp_path: Path) -> None:
    known = Losses(tmp_path)
    known.forget(known.found(Loss(5, "new", (0, 0), certain=False)))
    assert Losses(tmp_path).all == []


def test_a_file_that_cannot_be_read_is_no_clean_slate(tmp_path: Path) -> None:
    (tmp_path / losses.NAME).write_bytes(b"[{")
    with pytest.raises(MailraceError, match="restore it from a copy"):
        Losses(tmp_path)


def test_a_loss_in_words() -> None:
    loss = Loss(5, "cut", (2, 7), recipients=3)
    assert "being compared with its log, 3 recipients" in losses.said(1, loss)
    loss.compared = True
    assert losses.said(1, loss) == "shard 1 has lost mail: cut; 3 recipients are recorded as Lost"
    loss.recipients = 0
    assert "nothing that its log names is missing" in losses.said(1, loss)
    assert losses.row(4, loss)["shard"] == 4
