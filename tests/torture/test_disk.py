"""The model of a disk: what a sync covers is there, and of the rest only what could be."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.torture import interpose
from tests.torture.disk import MODELS, PAGE, SECTOR, STYLES, Content, Disk
from tests.torture.interpose import CREATED, FOLDER, Note

if TYPE_CHECKING:
    from pathlib import Path

ROOT = 1  # inode
NO, YES = b"n" * 2000, b"y" * 3000  # written before a sync, and not


class Story:
    """Notes as a server's calls make them; inode numbers are given by name."""

    def __init__(self, root: Path) -> None:
        self.root, self.notes = root, list[Note]()
        self._inodes: dict[str, int] = {}
        self.note(interpose.OPENED, "", FOLDER, paths=("",))

    def note(self, kind: int, name: str, a: int = 0, b: int = 0, data: bytes = b"",
             paths: tuple[str, ...] = ()) -> None:  # fmt: skip
        inode = self._inodes.setdefault(name, ROOT + len(self._inodes))
        for path in paths:
            data += str(self.root / path).encode() + b"\0"
        self.notes.append(Note(len(self.notes), kind, inode, a, b, data))

    def create(self, name: str, *datas: bytes) -> None:
        self._inodes.pop(name, None)
        self._inodes[name] = 100 + len(self.notes)
        self.note(interpose.OPENED, name, CREATED, paths=(name,))
        self.write(name, 0, *datas)

    def write(self, name: str, offset: int, *datas: bytes) -> None:
        for data in datas:
            self.note(interpose.WRITTEN, name, offset, len(data), data)
            offset += len(data)

    def sync(self, name: str, data_only: bool = False) -> None:
        self.note(interpose.SYNCED, name, len(self.notes), data_only)

    def rename(self, old: str, new: str) -> None:
        self.note(interpose.RENAMED, old, paths=(old, new))
        self._inodes[new] = self._inodes[old]

    def left(self, to: Path, model: str, style: str = "", seed: int = 1) -> dict[str, bytes]:
        disk = Disk(self.root, model)
        for note in self.notes:
            disk.follow(note)
        disk.save(to / f"{model}-{style}-{seed}", style, random.Random(seed))
        top = to / f"{model}-{style}-{seed}"
        files = [path for path in top.rglob("*") if path.is_file()]
        return {str(path.relative_to(top)): path.read_bytes() for path in files}

    def all_left(self, to: Path, seeds: int = 40) -> list[dict[str, bytes]]:
        return [self.left(to, model, "", seed) for model in MODELS for seed in range(seeds)]


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path / "home")


def test_what_was_synced_is_there(story: Story, tmp_path: Path) -> None:
    story.create("log", NO)
    story.sync("log")
    story.write("log", len(NO), YES)
    found = story.all_left(tmp_path)
    assert all(files["log"][: len(NO)] == NO for files in found)
    assert len({files["log"] for files in found}) > 10


def test_everything_and_nothing(story: Story, tmp_path: Path) -> None:
    story.create("log", NO)
    story.sync("log")
    story.write("log", len(NO), YES)
    assert story.left(tmp_path, "ordered", "everything") == {"log": NO + YES}
    lengths = set()
    for seed in range(30):
        left = story.left(tmp_path, "ordered", "nothing", seed)["log"]
        assert left == NO + bytes(len(left) - len(NO))  # grown over zeros, or not
        lengths.add(len(left))
    assert {len(NO), len(NO + YES)} < lengths


def test_sectors_are_whole_and_as_they_were_at_some_time(story: Story, tmp_path: Path) -> None:
    story.create("log", bytes(4 * SECTOR))
    story.sync("log")
    for octet in (b"1", b"2"):
        story.write("log", 0, octet * 4 * SECTOR)
    seen = set()
    for files in story.all_left(tmp_path):
        log = files["log"]
        sectors = [log[at : at + SECTOR] for at in range(0, len(log), SECTOR)]
        assert all(sector in (b"\0" * SECTOR, b"1" * SECTOR, b"2" * SECTOR) for sector in sectors)
        seen.add(bytes(sector[0] for sector in sectors))
    assert b"2222" in seen
    assert any(len(set(mixed)) == 3 for mixed in seen)  # reordered: old, older and new


def test_a_new_file_is_there_once_it_is_synced(story: Story, tmp_path: Path) -> None:
    story.create("a", NO)
    assert {"a" in files for files in story.all_left(tmp_path)} == {True, False}


@pytest.mark.parametrize("model", MODELS)
def test_folders_come_with_what_is_synced_in_them(story: Story, tmp_path: Path, model: str) -> None:
    story.note(interpose.MADE, "spool", paths=("spool",))
    story.note(interpose.MADE, "spool/one", paths=("spool/one",))
    story.create("spool/one/a", NO)
    story.sync("spool/one/a")
    for seed in range(10):
        assert story.left(tmp_path, model, "", seed) == {"spool/one/a": NO}


def replaced(story: Story) -> None:
    """A file takes the place of another, as a database's CURRENT does."""
    story.create("current", b"old")
    story.sync("current")
    story.sync("")
    story.create("new", b"new")
    story.sync("new")
    story.rename("new", "current")


def test_a_rename_without_a_sync_happened_or_not(story: Story, tmp_path: Path) -> None:
    replaced(story)
    found = story.all_left(tmp_path)
    assert {files["current"] for files in found} == {b"old", b"new"}


@pytest.mark.parametrize("model", MODELS)
def test_a_rename_with_a_sync_of_its_folder_has_happened(
    story: Story, tmp_path: Path, model: str
) -> None:
    replaced(story)
    story.sync("")
    for seed in range(10):
        assert story.left(tmp_path, model, "", seed) == {"current": b"new"}


def test_removed_in_order_or_not(story: Story, tmp_path: Path) -> None:
    for name in ("a", "b"):
        story.create(name, NO)
        story.sync(name)
    for name in ("a", "b"):
        story.note(interpose.UNLINKED, name, paths=(name,))

    def seen(model: str) -> set[frozenset[str]]:
        return {frozenset(story.left(tmp_path, model, "", seed)) for seed in range(40)}

    assert frozenset("a") not in seen("ordered")  # b was removed after a
    assert seen("loose") == set(map(frozenset, ("", "a", "b", "ab")))


def test_a_data_sync_takes_no_names_along(story: Story, tmp_path: Path) -> None:
    story.create("a", NO)
    story.sync("a")
    story.create("b", NO)
    story.write("a", 0, YES[: len(NO)])
    story.sync("a", data_only=True)
    assert {"b" in story.left(tmp_path, "ordered", "", seed) for seed in range(20)} == {True, False}
    story.sync("a")
    assert {"b" in story.left(tmp_path, "ordered", "sectors", seed) for seed in range(20)} == {True}


def test_a_failed_sync_loses_what_it_should_have_covered(story: Story, tmp_path: Path) -> None:
    story.create("log", NO)
    story.sync("log")
    story.write("log", len(NO), YES)
    story.note(interpose.UNSYNCED, "log", len(story.notes))
    story.sync("log")
    assert story.left(tmp_path, "ordered", "everything") == {"log": NO}


def test_a_cut_size_is_synced_as_data_are(story: Story, tmp_path: Path) -> None:
    story.create("log", NO)
    story.sync("log")
    story.note(interpose.CUT_TO, "log", 100)
    sizes = {len(story.left(tmp_path, "ordered", "nothing", seed)["log"]) for seed in range(30)}
    assert sizes == {100, len(NO)}
    story.sync("log", data_only=True)
    for seed in range(10):
        assert story.left(tmp_path, "loose", "", seed)["log"] == NO[:100]


@pytest.mark.parametrize("style", STYLES)
def test_preallocated_zeros(story: Story, tmp_path: Path, style: str) -> None:
    story.create("bodies")
    story.note(interpose.ZEROED, "bodies", 0, 64 << 20)
    story.sync("bodies")
    story.write("bodies", 5 * PAGE, YES)
    [left] = story.left(tmp_path, "loose", style).values()
    assert len(left) == 64 << 20
    assert set(left[5 * PAGE : 5 * PAGE + len(YES)]) <= set(b"y\0")


def test_contents() -> None:
    content = Content()
    content.write(PAGE - 3, b"abcdef")
    content.zero(PAGE - 1, 2)
    assert content.octets() == bytes(PAGE - 3) + b"ab\0\0ef"
    content.cut(PAGE - 2)
    content.cut(PAGE + 1)
    assert content.octets() == bytes(PAGE - 3) + b"a\0\0\0"
