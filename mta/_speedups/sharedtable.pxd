# The node's shared table in C, for the gate; sharedtable.pyx has the theory of operation.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef struct Header:
    uint64_t magic           # written last
    uint32_t version
    uint32_t workers         # columns in each slot
    uint64_t slots           # a power of two
    uint64_t overflow        # shared slots behind them
    uint64_t slot_size       # bytes, whole cache lines
    uint64_t seed            # key of the hash: nobody outside can aim at a slot
    uint64_t used            # slots claimed
    uint64_t generations[8]  # change counters of the node's state
    uint32_t elder           # worker + 1 that may use the memory kept back, 0 = none


cdef struct Worker:
    uint64_t sequence   # odd while an operation on `slot` is under way
    uint64_t slot
    uint64_t broken     # slot + 1 whose total still waits to be mended
    uint64_t memory     # octets of content in memory, or promised to it
    uint32_t alive      # monotonic second of its last sign of life, 0 = not there
    uint32_t coming     # connections handed to it that it has not taken out yet
    uint64_t wants      # which client network wants memory there, 0 = none


cdef struct Held:
    uint32_t full   # 1 while `id` is whole
    uint32_t pad
    uint8_t id[16]  # message id


cdef struct Slot:
    uint64_t key         # hash of the key, 0 = free
    int64_t tat          # GCRA: theoretical arrival time, CLOCK_MONOTONIC ns
    uint64_t waiters     # a bit for each worker that was refused a connection
    uint32_t total       # connections of all workers
    uint32_t columns[1]  # connections by worker; really `workers` of them


cdef class Bucket:
    cdef readonly uint64_t slot
    cdef readonly int64_t interval_ns
    cdef readonly int64_t burst
    cdef readonly object rule


cdef class SharedTable:
    cdef uint8_t[::1] _view     # keeps the map alive
    cdef Header *_head          # start of the map, valid as long as _view
    cdef uint8_t *_first        # the first slot
    cdef uint64_t _size         # bytes of a slot
    cdef uint64_t _count        # slots with the overflow
    cdef bytes _seed
    cdef readonly int workers
    cdef readonly uint64_t capacity
    cdef readonly int denied    # take_rates: place of the bucket that refused

    cdef Slot *_at(self, uint64_t index) noexcept nogil
    cdef Worker *_line(self, int worker) noexcept nogil
    cdef Slot *_slot(self, uint64_t index) except NULL
    cdef int _check(self, int worker) except -1
    cdef void _begin(self, int worker, uint64_t index) noexcept nogil
    cdef void _end(self, int worker) noexcept nogil
    cdef int64_t _take(
        self, Slot *slot, int64_t now, int64_t interval, int64_t burst, int64_t n,
    ) noexcept nogil
    cpdef double take_rates(self, tuple buckets, double now, int64_t n=*) except -1.0
    cdef int _return(self, tuple buckets, Py_ssize_t end, int64_t n) except -1
    cdef bint _acquire(self, Slot *slot, uint64_t index, int worker, uint32_t limit) noexcept nogil
    cdef uint32_t _interested(self, Slot *slot) noexcept nogil
    cpdef bint should_yield(self, uint64_t slot, int worker, uint32_t limit) except -1
    cdef bint _mend(self, uint64_t index) noexcept nogil
    cdef bint _quiet(self, uint64_t index, uint64_t *sequences) noexcept nogil
    cdef bint _unchanged(self, uint64_t *sequences) noexcept nogil
    cdef bint _alive(self, int worker, double now) noexcept nogil
    cdef uint64_t _sessions(self, Slot *slot, int worker) noexcept nogil
    cdef uint64_t _memory(self) noexcept nogil
    cpdef bint fits_memory(self, uint64_t octets, uint64_t limit) noexcept
    cpdef bint take_memory(self, int worker, uint64_t octets, uint64_t limit) except -1
    cpdef count_memory(self, int worker, int64_t octets)
    cdef Held *_held(self, int worker, int hand) noexcept nogil


cdef class Hand:
    cdef uint8_t[::1] _view  # keeps the map alive
    cdef Held *_held         # in the map, valid as long as _view

    cpdef hold(self, bytes id)
    cpdef drop(self)
