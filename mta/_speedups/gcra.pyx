"""The generic cell rate algorithm: limits by one number, the theoretical arrival time (TAT).

Theory: each grant moves the TAT on by `interval`, starting from now if it lies in the past. A grant
conforms while the TAT stays within `burst` intervals of now. This equals a token bucket of `burst`
tokens refilled every `interval`, so that in every window T at most `T / interval + burst` leave.
"""

from libc.stdint cimport int64_t

from mta._speedups.gcra cimport gcra_step, gcra_valid


def gcra(int64_t tat, int64_t now_ns, int64_t interval_ns, int64_t burst, int64_t n=1):
    cdef int64_t after, wait
    check(interval_ns, burst, n)
    wait = gcra_step(tat, now_ns, interval_ns, burst, n, &after)
    return (wait, tat if wait else after)


cdef int check(int64_t interval_ns, int64_t burst, int64_t n) except -1:
    if not gcra_valid(interval_ns, burst):
        raise ValueError(f"interval {interval_ns} ns and burst {burst} are not a rate")
    if not 1 <= n <= burst:
        raise ValueError(f"{n} at once can never pass a burst of {burst}")
    return 0


cdef class LocalBucket:
    cdef readonly int64_t tat  # theoretical arrival time, ns
    cdef readonly int64_t interval_ns
    cdef readonly int64_t burst

    def __init__(self, int64_t interval_ns, int64_t burst):
        check(interval_ns, burst, 1)
        self.tat, self.interval_ns, self.burst = 0, interval_ns, burst

    def take(self, int64_t now_ns, int64_t n=1):
        cdef int64_t after, wait
        if not 1 <= n <= self.burst:
            check(self.interval_ns, self.burst, n)
        wait = gcra_step(self.tat, now_ns, self.interval_ns, self.burst, n, &after)
        if wait == 0:
            self.tat = after
        return wait

    def give_back(self, int64_t n=1):
        self.tat -= n * self.interval_ns
