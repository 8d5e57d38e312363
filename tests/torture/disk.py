"""A disk as it is after the power went: what was synced, and some of what was not.

`Disk` follows a journal (`interpose`) up to a cut and then writes a folder as the file system might
have left it. Of data that no sync covered, each sector of 512 octets is as it was at some time
since the last sync, whatever became of its neighbours: written not at all, torn, or before what
came earlier. A file may have grown while its data are still zeros. Names (created, renamed,
removed) that no sync covered follow one of two models:

    ordered   a journal of metadata, as that of ext4: they are there up to some moment, in their
              order; a sync that needs metadata takes along all that came before
    loose     as on btrfs: each is there or not; a sync of a file takes its own name along, one of a
              folder the names in it

What a failed sync should have covered is lost: the kernel takes it for written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.torture import interpose
from tests.torture.interpose import CREATED, EMPTIED, FOLDER

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.torture.interpose import Note

SECTOR, PAGE = 512, 4096
MODELS = ("ordered", "loose")
# What a file keeps of the data that no sync covered.
STYLES = ("nothing", "everything", "prefix", "sectors", "pages", "late")


class Content:
    """A file's octets; only pages that are not zero are kept."""

    def __init__(self, pages: dict[int, bytes] | None = None, size: int = 0) -> None:
        self.pages, self.size = pages or {}, size

    def copy(self) -> Content:
        """Another one that is the same."""
        return Content(dict(self.pages), self.size)

    def write(self, offset: int, data: bytes) -> None:
        """Overwrite, and grow."""
        done = 0
        while done < len(data):
            number, start = divmod(offset + done, PAGE)
            piece = data[done : done + PAGE - start]
            page = self.pages.get(number) or bytes(PAGE)
            self.pages[number] = page[:start] + piece + page[start + len(piece) :]
            done += len(piece)
        self.size = max(self.size, offset + len(data))

    def zero(self, offset: int, length: int) -> None:
        """Write zeros, and grow."""
        for number in [n for n in self.pages if offset - PAGE < n * PAGE < offset + length]:
            start = max(offset - number * PAGE, 0)
            stop = min(offset + length - number * PAGE, PAGE)
            page = self.pages[number]
            self.pages[number] = page[:start] + bytes(stop - start) + page[stop:]
        self.size = max(self.size, offset + length)

    def cut(self, size: int) -> None:
        """Set the size."""
        if size < self.size:
            for number in [n for n in self.pages if n * PAGE >= size]:
                del self.pages[number]
            last, keep = divmod(size, PAGE)
            if last in self.pages:
                self.pages[last] = self.pages[last][:keep] + bytes(PAGE - keep)
        self.size = size

    def octets(self) -> bytes:
        """All of them."""
        found = bytearray(self.size)
        for number, page in self.pages.items():
            found[number * PAGE : (number + 1) * PAGE] = page[: self.size - number * PAGE]
        return bytes(found)

    def save(self, path: Path) -> None:
        """Write a file, its holes left out."""
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for number, page in self.pages.items():
                os.pwrite(file, page, number * PAGE)
            os.ftruncate(file, self.size)
        finally:
            os.close(file)


class Node:
    """A file or folder, whatever names it has; a file's changes are those that no sync covered."""

    def __init__(self, folder: bool = False) -> None:
        self.folder = folder
        self.stable = Content()
        self.changes: list[Note] = []

    def sync(self, before: int) -> list[Note]:
        """What was done before this note is on the disk; that is given back."""
        covered = [change for change in self.changes if change.number < before]
        for change in covered:
            _apply(self.stable, change)
        self.changes = self.changes[len(covered) :]
        return covered

    def fail(self, before: int) -> None:
        """What was done before this note will never be on the disk."""
        self.changes = [change for change in self.changes if change.number >= before]

    def after(self, style: str, horizon: int, chance: random.Random) -> Content:
        """The content after a cut; sizes that were set before `horizon` are."""
        found, grown = self.stable.copy(), self.stable.size
        kept = _keep(style, self.changes, chance)
        for change in self.changes:
            if change.kind == interpose.WRITTEN:
                for sector, start, piece in _sectors(change):
                    if kept(sector, change.number):
                        found.write(start, piece)
                grown = max(grown, change.a + change.b)
            elif change.kind == interpose.CUT_TO:
                if change.number < horizon:
                    found.cut(change.a)
                    grown = change.a
            elif style != "nothing":
                _apply(found, change)
                grown = max(grown, change.a + change.b)
        if style == "everything" or chance.random() < 0.4:
            found.cut(max(grown, found.size))
        elif grown > found.size and chance.random() < 0.4:
            found.cut(chance.randint(found.size, grown))
        return found


def _apply(content: Content, change: Note) -> None:
    if change.kind == interpose.WRITTEN:
        content.write(change.a, change.data)
    elif change.kind == interpose.ZEROED:
        content.zero(change.a, change.b)
    elif change.kind == interpose.CUT_TO:
        content.cut(change.a)
    else:  # ALLOCATED
        content.size = max(content.size, change.a + change.b)


def _sectors(change: Note) -> list[tuple[int, int, bytes]]:
    """(sector, offset, octets) of what was written, sector by sector."""
    found, at, end = [], change.a, change.a + change.b
    while at < end:
        stop = min(end, at - at % SECTOR + SECTOR)
        found.append((at // SECTOR, at, change.data[at - change.a : stop - change.a]))
        at = stop
    return found


def _keep(style: str, changes: list[Note], chance: random.Random) -> Callable[[int, int], bool]:
    """Whether the disk has of a sector what a change wrote there: (sector, number) -> bool.

    A sector is written as a whole, so it has all changes up to one of them.
    """
    numbers = [change.number for change in changes if change.kind == interpose.WRITTEN]
    if style in ("nothing", "everything") or not numbers:
        return lambda sector, number: style == "everything"
    some, share = chance.choice(numbers), chance.choice((0.1, 0.5, 0.9))
    if style == "prefix":  # the change `some` is torn somewhere
        torn = {c.number: c for c in changes}[some]
        last = chance.randint(torn.a // SECTOR, (torn.a + torn.b) // SECTOR)
        return lambda sector, number: number < some or number == some and sector < last
    if style == "late":  # sectors that nothing from `some` on touched are not written
        late = {s for c in changes if c.kind == interpose.WRITTEN and c.number >= some
                for s, _, _ in _sectors(c)}  # fmt: skip
        return lambda sector, number: sector in late
    limits: dict[int, float] = {}

    def kept(sector: int, number: int) -> bool:
        block = sector if style == "sectors" else sector * SECTOR // PAGE
        if block not in limits:
            whole = chance.random() < share
            limits[block] = float("inf") if whole else chance.choice([-1, *numbers])
        return number <= limits[block]

    return kept


@dataclass
class Naming:
    """Names that were set together; None: removed."""

    number: int
    names: dict[str, Node | None]
    forced: bool = False  # it is on the disk


class Disk:
    """Everything below the folder `root`, which is there and empty when the journal begins."""

    def __init__(self, root: Path, model: str) -> None:
        self.root, self.model = str(root), model
        self._nodes: dict[int, Node] = {}  # by inode
        self._names: dict[str, Node] = {self.root: Node(folder=True)}  # as the server sees them
        self._stable: dict[str, Node] = dict(self._names)  # as the disk has them for certain
        self._namings: list[Naming] = []  # later than that
        self._committed = 0  # ordered: metadata before this note is on the disk

    # -- following the journal

    def follow(self, note: Note) -> None:
        """Do what a note says."""
        match note.kind:
            case interpose.OPENED:
                self._open(note)
            case interpose.SYNCED:
                self._sync(note)
            case interpose.UNSYNCED:
                if node := self._nodes.get(note.inode):
                    node.fail(note.a)
            case interpose.MADE:
                self._set(note, {note.paths[0]: Node(folder=True)})
            case interpose.UNLINKED:
                self._set(note, {note.paths[0]: None})
            case interpose.LINKED:
                self._set(note, {note.paths[1]: self._names[note.paths[0]]})
            case interpose.RENAMED:
                self._rename(note, *note.paths)
            case _:
                if node := self._nodes.get(note.inode):
                    node.changes.append(note)

    def _open(self, note: Note) -> None:
        [path] = note.paths
        if note.a & CREATED:
            self._nodes[note.inode] = Node()
            self._set(note, {path: self._nodes[note.inode]})
        elif path in self._names:
            self._nodes[note.inode] = self._names[path]
        if note.a & EMPTIED and not note.a & (CREATED | FOLDER):
            change = note._replace(kind=interpose.CUT_TO, a=0, data=b"")
            self._nodes[note.inode].changes.append(change)

    def _rename(self, note: Note, old: str, new: str) -> None:
        moved = [name for name in self._names if name == old or name.startswith(old + "/")]
        names: dict[str, Node | None] = dict.fromkeys(moved)
        names.update((new + name[len(old) :], self._names[name]) for name in moved)
        self._set(note, names)

    def _set(self, note: Note, names: dict[str, Node | None]) -> None:
        self._namings.append(Naming(note.number, names))
        for name, node in names.items():
            if node is None:
                self._names.pop(name, None)
            else:
                self._names[name] = node

    def _sync(self, note: Note) -> None:
        node = self._nodes.get(note.inode)
        if node is None:
            return
        size = node.stable.size
        covered = node.sync(note.a)
        if self.model == "loose":
            self._force(node, note.a)
        elif self._needs_metadata(node, note, covered, size):
            self._committed = max(self._committed, note.a)
            for naming in self._namings:
                naming.forced = naming.forced or naming.number < self._committed
        while self._namings and self._namings[0].forced:
            _name(self._stable, self._namings.pop(0))

    def _needs_metadata(self, node: Node, note: Note, covered: list[Note], size: int) -> bool:
        """Whether a sync writes the file system's journal: fdatasync does only where it must."""
        fresh = any(node in naming.names.values() for naming in self._namings)
        changed = any(change.kind != interpose.WRITTEN for change in covered)
        return not note.b or fresh or changed or node.stable.size != size

    def _force(self, node: Node, before: int) -> None:
        """A sync of a file takes its names along, one of a folder the names in it."""
        mine = {name for name, other in self._names.items() if other is node}
        above = {str(parent) for name in mine for parent in Path(name).parents}
        for naming in self._namings:
            inside = any(os.path.dirname(name) in mine for name in naming.names)  # noqa: PTH120
            own = any(other is node for other in naming.names.values())
            way = any(name in above and other for name, other in naming.names.items())
            if naming.number < before and (own or way or (node.folder and inside)):
                naming.forced = True

    # -- after a cut

    def save(self, to: Path, style: str, chance: random.Random) -> None:
        """Write what is left into a new folder; "" as style is another one for each file."""
        last = self._last()
        horizon = chance.randint(self._committed, last) if style != "everything" else last
        share = 1.0 if style == "everything" else chance.choice((0.0, 0.3, 0.7, 1.0))
        names = dict(self._stable)
        for naming in self._namings:
            ordered = self.model == "ordered"
            there = naming.number < horizon if ordered else chance.random() < share
            if naming.forced or there:
                _name(names, naming)
        to.mkdir(parents=True)
        for name in sorted(names):
            if name == self.root or not self._reachable(name, names):
                continue
            path, node = to / name[len(self.root) + 1 :], names[name]
            if node.folder:
                path.mkdir(mode=0o700)
            else:
                node.after(style or chance.choice(STYLES), horizon, chance).save(path)

    def _last(self) -> int:
        """Behind the last note that is not yet on the disk."""
        numbers = [naming.number for naming in self._namings]
        numbers += [c.number for node in self._names.values() for c in node.changes[-1:]]
        return max([self._committed, *(number + 1 for number in numbers)])

    def _reachable(self, name: str, names: dict[str, Node]) -> bool:
        parents = [str(parent) for parent in Path(name).parents]
        above = parents[: parents.index(self.root)] if self.root in parents else [""]
        return all(parent in names and names[parent].folder for parent in above)


def _name(names: dict[str, Node], naming: Naming) -> None:
    for name, node in naming.names.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node
