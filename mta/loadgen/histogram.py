"""Durations in buckets that grow with the value: small, mergeable, within 3 % of the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SUB_BITS = 5  # 32 buckets per power of two


def _bucket(value: int) -> int:
    """The bucket of a value: the value itself below 64, then 32 buckets per power of two."""
    shift = max(0, value.bit_length() - SUB_BITS - 1)
    return (shift << SUB_BITS) + (value >> shift)


def _middle(bucket: int) -> int:
    """The middle of a bucket."""
    shift = max(0, (bucket >> SUB_BITS) - 1)
    return ((bucket - (shift << SUB_BITS)) << shift) + ((1 << shift) >> 1)


class Histogram:
    """Counts of durations in whole microseconds."""

    __slots__ = ("counts", "total", "largest")

    def __init__(self, counts: Iterable[tuple[int, int]] = (), largest: int = 0) -> None:
        self.counts = dict(counts)
        self.total = sum(self.counts.values())
        self.largest = largest

    def add(self, microseconds: int) -> None:
        """Count one duration; a negative one (a clock was set back) counts as 0."""
        value = max(0, microseconds)
        bucket = _bucket(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total += 1
        self.largest = max(self.largest, value)

    def merge(self, other: Histogram) -> None:
        """Add the counts of another."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.total += other.total
        self.largest = max(self.largest, other.largest)

    def quantile(self, share: float) -> int:
        """The duration that `share` (0 to 1) of all do not exceed, microseconds; 0 if empty."""
        left = share * self.total
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return min(_middle(bucket), self.largest)
        return self.largest
