"""A bounded memory of answers: each holds until its time, the least recently used one leaves."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """An answer that knows until when it holds."""

    @property
    def ttl_until(self) -> float:
        """Monotonic time, seconds."""
        ...


Answer = TypeVar("Answer", bound=Timed)


class AnswerCache(Generic[Answer]):
    """Answers by name, at most `size`."""

    __slots__ = ("_answers", "_size")

    def __init__(self, size: int) -> None:
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._size = max(1, size)

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, name: str, now: float) -> Answer | None:
        """The answer if there is one that still holds."""
        answer = self._answers.get(name)
        if answer is None:
            return None
        if answer.ttl_until <= now:
            del self._answers[name]
            return None
        self._answers.move_to_end(name)
        return answer

    def put(self, name: str, answer: Answer) -> None:
        """Remember an answer."""
        self._answers[name] = answer
        self._answers.move_to_end(name)
        if len(self._answers) > self._size:
            self._answers.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()
