# The one step of GCRA, shared by the buckets of a process and those of the node.

from libc.stdint cimport int64_t

cdef enum:
    MAX_SPAN_BITS = 62  # interval * burst stays below 2**62 ns, so that no sum overflows


cdef inline int64_t gcra_step(
    int64_t tat, int64_t now, int64_t interval, int64_t burst, int64_t n, int64_t *after,
) noexcept nogil:
    # 0 if n may leave at `now`, with the new theoretical arrival time in `after`; else ns to wait.
    # Conforming means after - now <= burst * interval: in a window T at most T / interval + burst.
    cdef int64_t wait
    after[0] = (tat if tat > now else now) + n * interval
    wait = after[0] - now - burst * interval
    return wait if wait > 0 else 0


cdef inline bint gcra_valid(int64_t interval, int64_t burst) noexcept nogil:
    # Interval and burst are at least 1 and their product fits.
    return interval >= 1 and burst >= 1 and interval <= ((<int64_t>1) << MAX_SPAN_BITS) // burst
