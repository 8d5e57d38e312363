"""Counters that all workers of a node share, in one memory map, without a lock.

Theory of operation. The map is: a header page, a page of worker lines (64 bytes each), two pages of
hands (see `Hand`), then slots.
A key's slot is the first in a window of WINDOW slots, from its hash on, that holds the hash or is
empty; empty ones are claimed by compare-and-swap. Slots are never moved or freed, so a full window
stays full, and a key that finds no place falls, for every worker alike, into one of the overflow
slots, which several keys share: their limits then hold for all of them together, still hard.

A slot counts connections twice: `total` decides (compare-and-swap below the limit), a column per
worker tells whose they are. Taking raises total, then the column; giving back lowers the column,
then total. So total is never too low: what a crash between two steps leaves is one too many. A
worker's `sequence` is odd and its `slot` is set during such an operation. `reclaim` gives back a
dead worker's columns; if it died at an odd sequence, total of that slot is compared with the sum of
its columns at an instant when no live worker is inside it (their sequences are even, and the same
before and after reading), and the difference is taken off. Afterwards any order of operations of
the others keeps it right, as each changes both by the same.

Nothing is lost between a refused `acquire` and `wait`: the waiter sets its bit, then looks at total
again; the giver lowers total, then reads the bits. Both orders are sequentially consistent, so one
of them sees the other.

Memory is counted in the worker lines alone: `take_memory` adds to its own line, then sums all of
them, and takes it back if that is too much. So no two workers can both have passed the limit, and a
dead worker's part goes with its line.
"""

from hashlib import blake2b

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from mta._speedups.gcra cimport gcra_step, gcra_valid

cdef extern from *:
    """
    #include <sched.h>
    #define SEQ __ATOMIC_SEQ_CST
    static inline uint64_t load64(uint64_t *p) { return __atomic_load_n(p, SEQ); }
    static inline uint32_t load32(uint32_t *p) { return __atomic_load_n(p, SEQ); }
    static inline int64_t loadi(int64_t *p) { return __atomic_load_n(p, SEQ); }
    static inline void store64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, SEQ); }
    static inline void store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, SEQ); }
    static inline uint64_t add64(uint64_t *p, uint64_t v) { return __atomic_add_fetch(p, v, SEQ); }
    static inline void addi(int64_t *p, int64_t v) { __atomic_add_fetch(p, v, SEQ); }
    static inline void add32(uint32_t *p, uint32_t v) { __atomic_add_fetch(p, v, SEQ); }
    static inline void sub32(uint32_t *p, uint32_t v) { __atomic_sub_fetch(p, v, SEQ); }
    static inline uint32_t swap32(uint32_t *p, uint32_t v) {
        return __atomic_exchange_n(p, v, SEQ); }
    static inline uint64_t swap64(uint64_t *p, uint64_t v) {
        return __atomic_exchange_n(p, v, SEQ); }
    static inline void or64(uint64_t *p, uint64_t v) { __atomic_or_fetch(p, v, SEQ); }
    static inline void and64(uint64_t *p, uint64_t v) { __atomic_and_fetch(p, v, SEQ); }
    static inline int cas64(uint64_t *p, uint64_t old, uint64_t v) {
        return __atomic_compare_exchange_n(p, &old, v, 0, SEQ, SEQ); }
    static inline int cas32(uint32_t *p, uint32_t old, uint32_t v) {
        return __atomic_compare_exchange_n(p, &old, v, 0, SEQ, SEQ); }
    static inline int casi(int64_t *p, int64_t old, int64_t v) {
        return __atomic_compare_exchange_n(p, &old, v, 0, SEQ, SEQ); }
    """
    uint64_t load64(uint64_t *p) noexcept nogil
    uint32_t load32(uint32_t *p) noexcept nogil
    int64_t loadi(int64_t *p) noexcept nogil
    void store64(uint64_t *p, uint64_t v) noexcept nogil
    void store32(uint32_t *p, uint32_t v) noexcept nogil
    uint64_t add64(uint64_t *p, uint64_t v) noexcept nogil
    void addi(int64_t *p, int64_t v) noexcept nogil
    void add32(uint32_t *p, uint32_t v) noexcept nogil
    void sub32(uint32_t *p, uint32_t v) noexcept nogil
    uint32_t swap32(uint32_t *p, uint32_t v) noexcept nogil
    uint64_t swap64(uint64_t *p, uint64_t v) noexcept nogil
    void or64(uint64_t *p, uint64_t v) noexcept nogil
    void and64(uint64_t *p, uint64_t v) noexcept nogil
    bint cas64(uint64_t *p, uint64_t old, uint64_t v) noexcept nogil
    bint cas32(uint32_t *p, uint32_t old, uint32_t v) noexcept nogil
    bint casi(int64_t *p, int64_t old, int64_t v) noexcept nogil
    int sched_yield() noexcept nogil

cdef enum:
    VERSION = 4
    PAGE = 4096
    WORKER_LINE = 64     # bytes for each worker
    HANDS_AT = 8192      # header page, then the page of 64 worker lines
    HAND = 32            # bytes of a hand
    HANDS = 4            # of a worker
    SLOTS_AT = 16384     # 64 workers with HANDS hands each
    WINDOW = 64          # slots that a key may fall into
    SNAPSHOT_TRIES = 20000
    SIGN = 3             # seconds that a sign of life holds

cdef uint64_t MAGIC = 0x3145434152544D01  # "\x01MTRACE1"

MAX_WORKERS = 64
GENERATIONS = 8
SIGN_HOLDS = SIGN


def table_size(capacity, workers):
    return SLOTS_AT + (_slots(capacity) + _overflow(capacity)) * _slot_size(workers)


def _slots(capacity):
    return 1 << max(6, (max(1, capacity) - 1).bit_length())


def _overflow(capacity):
    return max(8, _slots(capacity) // 64)


def _slot_size(workers):
    return (sizeof(Slot) - 4 + 4 * workers + 63) & ~63


def format_table(uint8_t[::1] buffer, capacity, workers, uint64_t seed):
    cdef Header *head
    if not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"{workers} workers: a shared table has room for 1 to {MAX_WORKERS}")
    if buffer.shape[0] < table_size(capacity, workers):
        raise ValueError(f"{buffer.shape[0]} bytes are too few for {capacity} slots")
    head = <Header *>&buffer[0]
    memset(head, 0, table_size(capacity, workers))
    head.version, head.workers, head.slots = VERSION, workers, _slots(capacity)
    head.overflow, head.slot_size, head.seed = _overflow(capacity), _slot_size(workers), seed
    store64(&head.magic, MAGIC)


cdef class Bucket:
    def __init__(self, uint64_t slot, int64_t interval_ns, int64_t burst, rule):
        if not gcra_valid(interval_ns, burst):
            raise ValueError(f"interval {interval_ns} ns and burst {burst} are not a rate")
        self.slot, self.interval_ns, self.burst, self.rule = slot, interval_ns, burst, rule


cdef class SharedTable:
    def __init__(self, uint8_t[::1] buffer, int workers=0):
        cdef Header *head
        if buffer.shape[0] < SLOTS_AT or <size_t>&buffer[0] % 8:
            raise ValueError("a shared table needs 16384 bytes or more, aligned to 8")
        head = <Header *>&buffer[0]
        if load64(&head.magic) != MAGIC:
            raise ValueError("this memory is not a shared table")
        if head.version != VERSION:
            raise ValueError(f"shared table of version {head.version}, this program has {VERSION}")
        if workers and workers != <int>head.workers:
            raise ValueError(f"the shared table is laid out for {head.workers} workers")
        self._count = head.slots + head.overflow
        if <uint64_t>buffer.shape[0] < SLOTS_AT + self._count * head.slot_size:
            raise ValueError("the shared table is cut short")
        self._view, self._head = buffer, head
        self._first, self._size = <uint8_t *>head + SLOTS_AT, head.slot_size
        self._seed = head.seed.to_bytes(8, "little")
        self.workers, self.capacity, self.denied = head.workers, head.slots, -1

    @property
    def used(self):
        return load64(&self._head.used)

    cdef Slot *_at(self, uint64_t index) noexcept nogil:
        return <Slot *>(self._first + index * self._size)

    cdef Worker *_line(self, int worker) noexcept nogil:
        return <Worker *>(<uint8_t *>self._head + PAGE + worker * WORKER_LINE)

    cdef Slot *_slot(self, uint64_t index) except NULL:
        if index >= self._count:
            raise IndexError(f"slot {index} is not in the shared table")
        return self._at(index)

    cdef int _check(self, int worker) except -1:
        if not 0 <= worker < self.workers:
            raise IndexError(f"worker {worker} has no column in the shared table")
        return 0

    cdef void _begin(self, int worker, uint64_t index) noexcept nogil:
        cdef Worker *line = self._line(worker)
        store64(&line.slot, index)
        store64(&line.sequence, line.sequence + 1)

    cdef void _end(self, int worker) noexcept nogil:
        cdef Worker *line = self._line(worker)
        store64(&line.sequence, line.sequence + 1)

    # slots

    def slot(self, bytes key):
        cdef uint64_t hash, index, step, found
        cdef Slot *slot
        hash = int.from_bytes(blake2b(key, digest_size=8, key=self._seed).digest(), "little") or 1
        for step in range(<uint64_t>WINDOW):
            index = (hash + step) & (self._head.slots - 1)
            slot = self._at(index)
            found = load64(&slot.key)
            if found == 0 and cas64(&slot.key, 0, hash):
                add64(&self._head.used, 1)
                return index
            if load64(&slot.key) == hash:
                return index
        return self._head.slots + hash // self._head.slots % self._head.overflow

    def is_overflow(self, uint64_t slot):
        self._slot(slot)
        return slot >= self._head.slots

    # rates

    cdef int64_t _take(
        self, Slot *slot, int64_t now, int64_t interval, int64_t burst, int64_t n,
    ) noexcept nogil:
        cdef int64_t tat, wait, after
        while True:
            tat = loadi(&slot.tat)
            wait = gcra_step(tat, now, interval, burst, n, &after)
            if wait or casi(&slot.tat, tat, after):
                return wait

    def take_rate(self, uint64_t slot, int64_t now_ns, int64_t interval_ns, int64_t burst,
                  int64_t n=1):
        if not gcra_valid(interval_ns, burst):
            raise ValueError(f"interval {interval_ns} ns and burst {burst} are not a rate")
        if not 1 <= n <= burst:
            raise ValueError(f"{n} at once can never pass a burst of {burst}")
        return self._take(self._slot(slot), now_ns, interval_ns, burst, n)

    def give_back(self, uint64_t slot, int64_t interval_ns, int64_t n=1):
        addi(&self._slot(slot).tat, -n * interval_ns)

    cpdef double take_rates(self, tuple buckets, double now, int64_t n=1) except -1.0:
        cdef int64_t now_ns = <int64_t>(now * 1e9), wait
        cdef Py_ssize_t i
        cdef Bucket bucket
        for i in range(len(buckets)):
            bucket = <Bucket?>buckets[i]
            if not 1 <= n <= bucket.burst:
                self._return(buckets, i, n)
                raise ValueError(f"{n} at once can never pass a burst of {bucket.burst}")
            wait = self._take(
                self._slot(bucket.slot), now_ns, bucket.interval_ns, bucket.burst, n,
            )
            if wait:
                self._return(buckets, i, n)
                self.denied = i
                return wait * 1e-9
        return 0.0

    cdef int _return(self, tuple buckets, Py_ssize_t end, int64_t n) except -1:
        cdef Py_ssize_t i
        cdef Bucket bucket
        for i in range(end):
            bucket = <Bucket?>buckets[i]
            addi(&self._slot(bucket.slot).tat, -n * bucket.interval_ns)
        return 0

    def give_back_rates(self, tuple buckets, int64_t n=1):
        self._return(buckets, len(buckets), n)

    # connections

    cdef bint _acquire(
        self, Slot *slot, uint64_t index, int worker, uint32_t limit,
    ) noexcept nogil:
        cdef uint64_t bit = <uint64_t>1 << worker
        cdef uint32_t total
        self._begin(worker, index)
        while True:
            total = load32(&slot.total)
            if total >= limit:
                self._end(worker)
                return False
            if cas32(&slot.total, total, total + 1):
                break
        add32(&slot.columns[worker], 1)
        if load64(&slot.waiters) & bit:
            and64(&slot.waiters, ~bit)
        self._end(worker)
        return True

    def acquire(self, uint64_t slot, int worker, uint32_t limit):
        self._check(worker)
        return self._acquire(self._slot(slot), slot, worker, limit)

    def acquire_or_wait(self, uint64_t slot, int worker, uint32_t limit):
        cdef Slot *at = self._slot(slot)
        self._check(worker)
        if self._acquire(at, slot, worker, limit):
            return True
        or64(&at.waiters, <uint64_t>1 << worker)
        return self._acquire(at, slot, worker, limit)  # one may have been given back before the bit

    def release(self, uint64_t slot, int worker):
        cdef Slot *at = self._slot(slot)
        cdef uint64_t mask = 0
        self._check(worker)
        if load32(&at.columns[worker]) == 0:
            raise ValueError(f"worker {worker} holds no connection in slot {slot}")
        self._begin(worker, slot)
        sub32(&at.columns[worker], 1)
        sub32(&at.total, 1)
        if load64(&at.waiters):
            mask = swap64(&at.waiters, 0)
        self._end(worker)
        return mask

    def wait(self, uint64_t slot, int worker):
        self._check(worker)
        or64(&self._slot(slot).waiters, <uint64_t>1 << worker)

    def unwait(self, uint64_t slot, int worker):
        self._check(worker)
        and64(&self._slot(slot).waiters, ~(<uint64_t>1 << worker))

    cdef uint32_t _interested(self, Slot *slot) noexcept nogil:
        cdef uint64_t waiters = load64(&slot.waiters)
        cdef uint32_t count = 0
        cdef int worker
        for worker in range(self.workers):
            if load32(&slot.columns[worker]) > 0 or (waiters >> worker) & 1 != 0:
                count += 1
        return count

    def interested(self, uint64_t slot):
        return self._interested(self._slot(slot))

    cpdef bint should_yield(self, uint64_t slot, int worker, uint32_t limit) except -1:
        cdef Slot *at = self._slot(slot)
        self._check(worker)
        if load64(&at.waiters) & ~(<uint64_t>1 << worker) == 0:
            return False
        return <uint64_t>load32(&at.columns[worker]) * self._interested(at) > limit

    def counts(self, uint64_t slot):
        cdef Slot *at = self._slot(slot)
        columns = tuple([load32(&at.columns[worker]) for worker in range(self.workers)])
        return load32(&at.total), columns, load64(&at.waiters), loadi(&at.tat)

    # a worker's life

    def enter(self, int worker, double now):
        self._check(worker)
        store32(&self._line(worker).alive, <uint32_t>now or 1)

    def sign(self, int worker, double now):
        self._check(worker)
        if load32(&self._line(worker).alive):
            store32(&self._line(worker).alive, <uint32_t>now or 1)

    def leave(self, int worker):
        self._check(worker)
        store32(&self._line(worker).alive, 0)

    def reclaim(self, int worker):
        cdef Worker *line
        cdef uint64_t index, bit
        cdef uint32_t held
        cdef int hand
        cdef Slot *slot
        self._check(worker)
        line, bit = self._line(worker), <uint64_t>1 << worker
        with nogil:
            for index in range(self._count):
                slot = self._at(index)
                held = swap32(&slot.columns[worker], 0)
                if held:
                    sub32(&slot.total, held)
                if load64(&slot.waiters) & bit:
                    and64(&slot.waiters, ~bit)
        if line.sequence & 1:
            store64(&line.broken, line.slot + 1)
            store64(&line.sequence, line.sequence + 1)
        store64(&line.memory, 0)
        store64(&line.wants, 0)
        store32(&line.coming, 0)
        cas32(&self._head.elder, worker + 1, 0)
        for hand in range(HANDS):
            store32(&self._held(worker, hand).full, 0)
        store32(&line.alive, 0)
        self.repair()
        # It may have died after it cleared the waiters' bits and before it woke them: wake all.
        return (((<uint64_t>1 << (self.workers - 1)) << 1) - 1) & ~bit

    def repair(self):
        cdef Worker *line
        cdef int worker
        open = 0
        for worker in range(self.workers):
            line = self._line(worker)
            if line.broken:
                if self._mend(line.broken - 1):
                    store64(&line.broken, 0)
                else:
                    open += 1
        return open

    cdef bint _mend(self, uint64_t index) noexcept nogil:
        # Takes what total has above its columns off it; False if no quiet instant was found.
        cdef uint64_t before[64]
        cdef uint32_t total, columns
        cdef int worker, _trial
        cdef Slot *slot = self._at(index)
        for _trial in range(SNAPSHOT_TRIES):
            if self._quiet(index, before):
                total, columns = load32(&slot.total), 0
                for worker in range(self.workers):
                    columns += load32(&slot.columns[worker])
                if self._unchanged(before):
                    if total > columns:
                        sub32(&slot.total, total - columns)
                    return True
            sched_yield()
        return False

    cdef bint _quiet(self, uint64_t index, uint64_t *sequences) noexcept nogil:
        cdef Worker *line
        cdef int worker
        for worker in range(self.workers):
            line = self._line(worker)
            sequences[worker] = load64(&line.sequence)
            if sequences[worker] & 1 and load64(&line.slot) == index:
                return False
        return True

    cdef bint _unchanged(self, uint64_t *sequences) noexcept nogil:
        cdef int worker
        for worker in range(self.workers):
            if load64(&self._line(worker).sequence) != sequences[worker]:
                return False
        return True

    # signs of life

    cdef bint _alive(self, int worker, double now) noexcept nogil:
        cdef int64_t sign = load32(&self._line(worker).alive)
        return sign != 0 and <int64_t>now - sign <= SIGN

    def living(self, double now):
        cdef int worker
        return [self._alive(worker, now) for worker in range(self.workers)]

    # sessions handed on

    cdef uint64_t _sessions(self, Slot *slot, int worker) noexcept nogil:
        return <uint64_t>load32(&slot.columns[worker]) + load32(&self._line(worker).coming)

    def hand_to(self, uint64_t slot, int worker, double now, bint away=False):
        cdef Slot *at = self._slot(slot)
        cdef uint64_t mine, least = 0, other
        cdef int best = -1, peer
        self._check(worker)
        mine = self._sessions(at, worker) + 1
        for peer in range(self.workers):
            if peer != worker and self._alive(peer, now):
                other = self._sessions(at, peer)
                if best < 0 or other < least:
                    best, least = peer, other
        if best < 0 or not away and mine <= least + 1 + least // 8:
            return -1
        add32(&self._line(best).coming, 1)
        return best

    def handed(self, int worker):
        cdef uint32_t *coming
        cdef uint32_t count
        self._check(worker)
        coming = &self._line(worker).coming
        while True:  # never below 0: a dead worker's count was cleared, its connections were not
            count = load32(coming)
            if count == 0 or cas32(coming, count, count - 1):
                return

    # memory

    cdef uint64_t _memory(self) noexcept nogil:
        cdef uint64_t total = 0
        cdef int worker
        for worker in range(self.workers):
            total += load64(&self._line(worker).memory)
        return total

    def memory(self):
        return self._memory()

    cpdef bint fits_memory(self, uint64_t octets, uint64_t limit) noexcept:
        cdef uint64_t total = self._memory()
        return total + octets <= limit or total == 0

    cpdef bint take_memory(self, int worker, uint64_t octets, uint64_t limit) except -1:
        cdef uint64_t *mine
        cdef uint64_t before, total
        self._check(worker)
        mine = &self._line(worker).memory
        before = add64(mine, octets) - octets
        total = self._memory()
        if total <= limit or total == octets and before == 0:
            return True
        add64(mine, -octets)
        return False

    cpdef count_memory(self, int worker, int64_t octets):
        cdef uint64_t *mine
        self._check(worker)
        mine = &self._line(worker).memory
        if octets < 0 and <uint64_t>-octets > load64(mine):
            raise ValueError(f"worker {worker} has not taken {-octets} octets")
        add64(mine, <uint64_t>octets)

    def want_memory(self, int worker, uint64_t who):
        self._check(worker)
        store64(&self._line(worker).wants, who)

    def wanting(self):
        cdef int worker
        return [load64(&self._line(worker).wants) for worker in range(self.workers)]

    def take_elder(self, int worker):
        self._check(worker)
        return bool(cas32(&self._head.elder, 0, worker + 1))

    def give_elder(self, int worker):
        self._check(worker)
        cas32(&self._head.elder, worker + 1, 0)

    def elder(self):
        return <int>load32(&self._head.elder) - 1

    # items in hand

    cdef Held *_held(self, int worker, int hand) noexcept nogil:
        return <Held *>(<uint8_t *>self._head + HANDS_AT + (worker * HANDS + hand) * HAND)

    def hand(self, int worker, int number):
        cdef Hand hand = Hand.__new__(Hand)
        self._check(worker)
        if not 0 <= number < HANDS:
            raise IndexError(f"hand {number} is not between 0 and {HANDS - 1}")
        hand._view, hand._held = self._view, self._held(worker, number)
        return hand

    def in_hand(self, int worker):
        cdef Held *held
        cdef int number
        self._check(worker)
        found = []
        for number in range(HANDS):
            held = self._held(worker, number)
            if load32(&held.full):
                found.append(held.id[:16])
        return found

    # generations

    def bump(self, int which):
        if not 0 <= which < GENERATIONS:
            raise IndexError(f"generation {which} is not between 0 and {GENERATIONS - 1}")
        return add64(&self._head.generations[which], 1)

    def generation(self, int which):
        if not 0 <= which < GENERATIONS:
            raise IndexError(f"generation {which} is not between 0 and {GENERATIONS - 1}")
        return load64(&self._head.generations[which])


cdef class Hand:
    cpdef hold(self, bytes id):
        if id is None:
            raise TypeError("a message id is needed")
        if len(id) != 16:
            raise ValueError(f"{id!r} is no message id")
        self._held.full = 0
        memcpy(self._held.id, <const char *>id, 16)
        store32(&self._held.full, 1)

    cpdef drop(self):
        self._held.full = 0
