"""Message ids as octets (RFC 9562 5.7); `mta.model.IdGenerator` has their parts."""

from libc.stdint cimport uint64_t


cpdef bytes packed(uint64_t ms, uint64_t counter, uint64_t shard, uint64_t noise):
    """See ids.pyi."""
    cdef unsigned char[16] id
    cdef uint64_t high = ms << 16 | 7 << 12 | counter & 0xFFF
    cdef uint64_t mask = (<uint64_t> 1 << 50) - 1
    cdef uint64_t low = <uint64_t> 2 << 62 | (shard & 0xFFF) << 50 | noise & mask
    cdef int i
    for i in range(8):
        id[i] = <unsigned char> (high >> (56 - 8 * i))
        id[8 + i] = <unsigned char> (low >> (56 - 8 * i))
    return (<const char*> id)[:16]
