"""CRC-32C (Castagnoli), eight octets at a time (Kounavis and Berry, 2005)."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    POLYNOMIAL = 0x82F63B78  # reflected

cdef uint32_t[8][256] TABLES


cdef int fill_tables() except -1:
    cdef uint32_t value
    cdef int octet, table, _bit
    for octet in range(256):
        value = octet
        for _bit in range(8):
            value = (value >> 1) ^ (<uint32_t> POLYNOMIAL if value & 1 else 0)
        TABLES[0][octet] = value
    for octet in range(256):
        for table in range(1, 8):
            value = TABLES[table - 1][octet]
            TABLES[table][octet] = (value >> 8) ^ TABLES[0][value & 0xFF]
    return 0


fill_tables()


cdef uint32_t crc(const uint8_t* p, size_t size, uint32_t state) noexcept nogil:
    cdef const uint8_t* end = p + size
    cdef uint64_t word
    while end - p >= 8:
        memcpy(&word, p, 8)
        word ^= state
        state = (TABLES[7][word & 0xFF] ^ TABLES[6][word >> 8 & 0xFF]
                 ^ TABLES[5][word >> 16 & 0xFF] ^ TABLES[4][word >> 24 & 0xFF]
                 ^ TABLES[3][word >> 32 & 0xFF] ^ TABLES[2][word >> 40 & 0xFF]
                 ^ TABLES[1][word >> 48 & 0xFF] ^ TABLES[0][word >> 56])
        p += 8
    while p < end:
        state = (state >> 8) ^ TABLES[0][(state ^ p[0]) & 0xFF]
        p += 1
    return state


def crc32c(const uint8_t[::1] data not None, size_t start, size_t end):
    cdef uint32_t state
    if not start <= end <= <size_t> data.shape[0]:
        raise ValueError(f"{start} to {end} is not in {data.shape[0]} octets")
    if start == end:
        return 0
    with nogil:
        state = crc(&data[start], end - start, 0xFFFFFFFFU)
    return state ^ 0xFFFFFFFFU
