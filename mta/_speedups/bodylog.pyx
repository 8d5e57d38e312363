"""Bodies in a segment file: one pwritev for a whole group, one preadv for a body.

A record is a header, the body, and zeros up to the next multiple of UNIT; integers in the machine's
order. The hash is XXH64 of the body, seeded with XXH64 of the header before it. Hashing and I/O
are done without the GIL.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, ENODATA, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

import os

cdef extern from *:
    """
    #define P1 0x9E3779B185EBCA87ULL
    #define P2 0xC2B2AE3D27D4EB4FULL
    #define P3 0x165667B19E3779F9ULL
    #define P4 0x85EBCA77C2B2AE63ULL
    #define P5 0x27D4EB2F165667C5ULL
    #define ROTATE(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
    """
    const uint64_t P1, P2, P3, P4, P5
    uint64_t ROTATE(uint64_t x, int n) nogil

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len
    ssize_t pwritev(int fd, const iovec* parts, int count, long long offset)
    ssize_t preadv(int fd, const iovec* parts, int count, long long offset)

cdef extern from "<unistd.h>" nogil:
    int fdatasync(int fd)

cdef enum:
    SIZE_UNIT = 512
    PAGE = 4096  # octets; what the kernel reads and writes at a time
    MAGIC = 0x42644C31
    GROUP = 256  # records in one pwritev: three parts each, IOV_MAX is 1024
    SEEDED = 32  # octets of the header that the hash begins with

cdef struct Header:
    uint32_t magic
    uint32_t number  # of the segment: what an earlier use of the file left is no record of this one
    uint8_t id[16]
    uint64_t length  # of the body
    uint64_t hash

cdef char[PAGE] ZEROS

UNIT = SIZE_UNIT  # records begin at multiples of this
HEADER = sizeof(Header)


cdef inline uint64_t word(const uint8_t* p) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, p, 8)
    return value


cdef inline uint64_t turned(uint64_t lane, uint64_t value) noexcept nogil:
    return ROTATE(lane + value * P2, 31) * P1


cdef inline uint64_t merged(uint64_t h, uint64_t lane) noexcept nogil:
    return (h ^ turned(0, lane)) * P1 + P4


cdef uint64_t lanes(const uint8_t** at, const uint8_t* end, uint64_t seed) noexcept nogil:
    # The stripes of 32 octets.
    cdef uint64_t a = seed + P1 + P2, b = seed + P2, c = seed, d = seed - P1, h
    cdef const uint8_t* p = at[0]
    while end - p >= 32:
        a, b = turned(a, word(p)), turned(b, word(p + 8))
        c, d = turned(c, word(p + 16)), turned(d, word(p + 24))
        p += 32
    at[0] = p
    h = ROTATE(a, 1) + ROTATE(b, 7) + ROTATE(c, 12) + ROTATE(d, 18)
    return merged(merged(merged(merged(h, a), b), c), d)


cdef uint64_t xxh64(const uint8_t* p, size_t size, uint64_t seed) noexcept nogil:
    cdef const uint8_t* end = p + size
    cdef uint64_t h = seed + P5
    cdef uint32_t half
    if size >= 32:
        h = lanes(&p, end, seed)
    h += size
    while end - p >= 8:
        h = ROTATE(h ^ turned(0, word(p)), 27) * P1 + P4
        p += 8
    if end - p >= 4:
        memcpy(&half, p, 4)
        h = ROTATE(h ^ (half * P1), 23) * P2 + P3
        p += 4
    while p < end:
        h = ROTATE(h ^ (p[0] * P5), 11) * P1
        p += 1
    h = (h ^ (h >> 33)) * P2
    h = (h ^ (h >> 29)) * P3
    return h ^ (h >> 32)


cdef inline uint64_t hash_of(const Header* header, const void* body) noexcept nogil:
    cdef uint64_t seed = xxh64(<const uint8_t*> header, SEEDED, 0)
    return xxh64(<const uint8_t*> body, header.length, seed)


def checksum(bytes data, uint64_t seed=0):
    return xxh64(<const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), seed)


cpdef Py_ssize_t units(Py_ssize_t length):
    return (sizeof(Header) + length + SIZE_UNIT - 1) // SIZE_UNIT


cdef void move_on(iovec** parts, int* count, size_t done) noexcept nogil:
    # Behind so many octets.
    while count[0] and done >= parts[0].iov_len:
        done -= parts[0].iov_len
        parts[0] += 1
        count[0] -= 1
    if count[0]:
        parts[0].iov_base = <char*> parts[0].iov_base + done
        parts[0].iov_len -= done


cdef int write_all(int fd, iovec* parts, int count, long long offset) noexcept nogil:
    # 0, or the error number.
    cdef ssize_t done
    while count:
        done = pwritev(fd, parts, count, offset)
        if done < 0:
            if errno == EINTR:
                continue
            return errno
        offset += done
        move_on(&parts, &count, done)
    return 0


cdef int read_all(int fd, iovec* parts, int count, long long offset) noexcept nogil:
    # 0, or the error number; ENODATA where the file ends before.
    cdef ssize_t done
    while count:
        done = preadv(fd, parts, count, offset)
        if done < 0:
            if errno == EINTR:
                continue
            return errno
        if done == 0:
            return ENODATA
        offset += done
        move_on(&parts, &count, done)
    return 0


cdef int fill(list records, Py_ssize_t start, Py_ssize_t end, uint32_t number, Header* headers,
              iovec* parts) except -1:
    # Three parts for each record: header, body, padding. The list keeps the bodies alive.
    cdef Py_ssize_t i, size
    cdef Header* header
    cdef bytes id, body
    for i in range(start, end):
        id, body = records[i]
        if PyBytes_GET_SIZE(id) != 16:
            raise ValueError("an id has 16 octets")
        header = &headers[i - start]
        size = PyBytes_GET_SIZE(body)
        header.magic, header.number, header.length = MAGIC, number, size
        memcpy(header.id, PyBytes_AS_STRING(id), 16)
        parts[0].iov_base, parts[0].iov_len = header, sizeof(Header)
        parts[1].iov_base, parts[1].iov_len = PyBytes_AS_STRING(body), size
        parts[2].iov_base = ZEROS
        parts[2].iov_len = -(sizeof(Header) + size) % SIZE_UNIT
        parts += 3
    return 0


def append(int fd, long long offset, uint32_t number, list records):
    cdef Py_ssize_t total = len(records), at = 0, end, i
    cdef Header* headers = <Header*> malloc(GROUP * sizeof(Header))
    cdef iovec* parts = <iovec*> malloc((3 * GROUP + 1) * sizeof(iovec))
    cdef long long began = offset
    cdef size_t octets
    cdef int count, error = 0
    try:
        if headers == NULL or parts == NULL:
            raise MemoryError
        while at < total and not error:
            end = min(at + GROUP, total)
            fill(records, at, end, number, headers, parts)
            count, octets = <int> (3 * (end - at)), 0
            with nogil:
                for i in range(end - at):
                    headers[i].hash = hash_of(&headers[i], parts[3 * i + 1].iov_base)
                for i in range(count):
                    octets += parts[i].iov_len
                # To the page's end: the kernel would read a page that is written in part.
                parts[count].iov_base = ZEROS
                parts[count].iov_len = -(offset + octets) % PAGE
                error = write_all(fd, parts, count + 1, offset)
                if not error and end == total and fdatasync(fd):
                    error = errno
            offset += octets
            at = end
    finally:
        free(headers)
        free(parts)
    if error:
        raise OSError(error, os.strerror(error))
    return offset - began


cdef object failed(int error):
    # The OSError of a read.
    if error == ENODATA:
        return OSError(error, "the file is too short")
    return OSError(error, os.strerror(error))


cdef object read_body(int fd, long long offset, const Header* wanted):
    # The body behind a header that begins like `wanted`, None if it is another or damaged.
    cdef Header header
    cdef iovec[2] parts
    cdef int error
    cdef bint intact = False
    cdef size_t length = wanted.length
    cdef bytes body = PyBytes_FromStringAndSize(NULL, length)
    cdef char* content = PyBytes_AS_STRING(body)
    parts[0].iov_base, parts[0].iov_len = &header, sizeof(Header)
    parts[1].iov_base, parts[1].iov_len = content, length
    with nogil:
        error = read_all(fd, parts, 2 if length else 1, offset)
        if not error:
            intact = memcmp(&header, wanted, SEEDED) == 0
            intact = intact and hash_of(&header, content) == header.hash
    if error:
        raise failed(error)
    return body if intact else None


def read(int fd, long long offset, uint32_t number, bytes id, Py_ssize_t length):
    cdef Header wanted
    if PyBytes_GET_SIZE(id) != 16:
        raise ValueError("an id has 16 octets")
    if length < 0:
        raise ValueError("a length is not below 0")
    wanted.magic, wanted.number, wanted.length = MAGIC, number, length
    memcpy(wanted.id, PyBytes_AS_STRING(id), 16)
    return read_body(fd, offset, &wanted)


def read_any(int fd, long long offset, uint32_t number, Py_ssize_t limit):
    cdef Header header
    cdef iovec part
    cdef int error
    part.iov_base, part.iov_len = &header, sizeof(Header)
    with nogil:
        error = read_all(fd, &part, 1, offset)
    if error:
        raise failed(error)
    if header.magic != MAGIC or header.number != number or header.length > <uint64_t> limit:
        return None
    body = read_body(fd, offset, &header)
    return None if body is None else (PyBytes_FromStringAndSize(<char*> header.id, 16), body)


def header(bytes data):
    cdef Header found
    if PyBytes_GET_SIZE(data) < <Py_ssize_t> sizeof(Header):
        return None
    memcpy(&found, PyBytes_AS_STRING(data), sizeof(Header))
    if found.magic != MAGIC:
        return None
    return found.number, PyBytes_FromStringAndSize(<char*> found.id, 16), found.length
