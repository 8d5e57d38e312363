"""Message ids as octets."""

from libc.stdint cimport uint64_t


cpdef bytes packed(uint64_t ms, uint64_t counter, uint64_t shard, uint64_t noise)
