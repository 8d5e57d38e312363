"""The node's refused shards, as the workers report them: told once, and when they serve again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mta.supervisor.shards import Refused


class Refusals:
    """Why shards do not serve, by number; `say(line)` for the operator, `tell(line)` when well."""

    def __init__(self, say: Callable[[str], None], tell: Callable[[str], None]) -> None:
        self._say, self._tell = say, tell
        self._refused: dict[int, Refused] = {}

    def take(self, serving: Iterable[int], refused: Iterable[Refused]) -> None:
        """What a worker says of its shards; one that ends has said it for its successor."""
        for number in serving:
            if self._refused.pop(number, None) is not None:
                self._tell(f"shard {number} serves again")
        for one in refused:
            if self._refused.get(one.shard) != one:
                self._refused[one.shard] = one
                self._say(_line(one))

    def of(self, shard: int) -> str:
        """Why a shard does not serve, for people; "" if nothing says that it does not."""
        refused = self._refused.get(shard)
        return "" if refused is None else _line(refused)

    def lines(self) -> list[str]:
        """All of them, by number."""
        return [_line(self._refused[number]) for number in sorted(self._refused)]


def _line(refused: Refused) -> str:
    return f"shard {refused.shard} is refused: {refused.problem}"
