"""The content of a message on its way in: dot transparency (RFC 5321 4.5.2), flags, faults.

`ContentReader` takes the octets behind a 354 as they come and stores the message without its
stuffed dots: once, into a bytes object that grows in place and becomes the body. On the way it
finds out what the flags say and what must be refused.

- Only CRLF ends a line and only CRLF.CRLF ends the content (RFC 5321 2.3.8, 4.1.1.4): a dot behind
  a bare LF or CR is text, whatever follows it. A bare newline is a fault, or with `mend` becomes
  CRLF in the body; the dot behind it is kept, and stuffed again when the message is sent. With
  `keep` it stays as it is, for binary content or a message that is not sent on; so does a NUL.
- Content in chunks (RFC 3030) has no stuffed dots and no final one: whoever counts says `end`.
- The first fault counts. From there nothing is stored; the rest is read up to its final dot.
- The result does not depend on how the octets are cut into pieces.
- In front of the body there is room for a header to come (`ahead`), so that nothing is copied for
  its sake: see `headed`.

Between two calls at most two octets are held back (`Place` says which), so a piece ends anywhere.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcpy

cdef extern from "Python.h":
    PyObject* _new_bytes "PyBytes_FromStringAndSize"(const char* text, Py_ssize_t n) except NULL
    int _PyBytes_Resize(PyObject** text, Py_ssize_t n) except -1
    void Py_XDECREF(PyObject* text)
    char* _octets "PyBytes_AS_STRING"(PyObject* text)

cdef extern from *:
    """
    #if defined(__SSE2__)
    #include <emmintrin.h>
    static inline uint64_t copy_16(const unsigned char *p, unsigned char *to, __m128i *all)
    {
        const __m128i octets = _mm_loadu_si128((const __m128i *)p);
        _mm_storeu_si128((__m128i *)to, octets);
        *all = _mm_or_si128(*all, octets);
        return (uint64_t)(uint32_t)_mm_movemask_epi8(
            _mm_cmpeq_epi8(_mm_min_epu8(octets, _mm_set1_epi8(13)), octets));
    }
    static inline uint64_t copy_64(const unsigned char *p, unsigned char *to, uint32_t *high)
    {
        __m128i all = _mm_setzero_si128();
        const uint64_t low = copy_16(p, to, &all) | copy_16(p + 16, to + 16, &all) << 16
            | copy_16(p + 32, to + 32, &all) << 32 | copy_16(p + 48, to + 48, &all) << 48;
        *high |= (uint32_t)_mm_movemask_epi8(all);
        return low;
    }
    #else
    static inline uint64_t copy_64(const unsigned char *p, unsigned char *to, uint32_t *high)
    {
        uint64_t low = 0;
        int i;
        for (i = 0; i < 64; i++) {
            to[i] = p[i];
            *high |= p[i] >> 7;
            low |= (uint64_t)(p[i] <= 13) << i;
        }
        return low;
    }
    #endif
    """
    # Copies 64 octets: a bit for each that is 13 or less. `high` is not 0 behind one over 127.
    uint64_t copy_64(const unsigned char* p, unsigned char* to, uint32_t* high) noexcept nogil
    int __builtin_ctzll(uint64_t bits) noexcept nogil

cdef enum:
    LONGEST_LINE = 998  # RFC 5321 4.5.3.1.6, without the CRLF
    FIRST_ROOM = 4096
    F8_EIGHT_BIT = 1    # mta.model.Flag
    F8_DOT_LINES = 2
    F8_LONG_LINES = 8

cdef struct Sweep:
    Py_ssize_t begin   # of the current line, relative to the piece
    Py_ssize_t lines   # ended in it
    uint32_t high      # not 0: an octet over 127 was taken

FAULTS = ("", "size", "bare_cr", "bare_lf", "nul", "line")


cdef class ContentReader:
    def __cinit__(self):
        self.line = 1
        self._place = AT_START  # the CRLF of DATA counts (RFC 5321 4.1.1.4)

    def __init__(self, Py_ssize_t max_size=0, Py_ssize_t max_line=0, bint mend=False,
                 Py_ssize_t hint=0, bint keep=False, bint chunked=False, Py_ssize_t ahead=0):
        self.max_size, self.max_line, self.mend, self.keep = max_size, max_line, mend, keep
        self.chunked, self.ahead = chunked, ahead
        self.expect(hint)

    cdef void expect(self, Py_ssize_t hint) noexcept:
        """So many octets were declared: no memory is taken for them before they come."""
        self._hint = hint + 2 if hint > 0 else 0

    def __dealloc__(self):
        Py_XDECREF(self._body)

    def feed(self, bytes data not None):
        return 0 if self.done else self.take(data, len(data))

    def body(self):
        if not self.done or self.fault:
            raise ValueError("there is no whole message")
        return self.finish()

    cdef Py_ssize_t take(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Read p[:n] up to its end or the final dot; the octets read."""
        cdef Py_ssize_t i = 0
        self._lf = NULL
        while i < n and not self.done:
            if self._place == AT_TEXT:
                i += self._lines(p + i, n - i)
            else:
                i += self._edge(p + i, n - i)
        self.taken += i
        return i

    cpdef int end(self) except -1:
        """The last chunk is read: a CR that was held back stands alone."""
        if self._place == AT_CR:
            self._bare(F_BARE_CR)
        self.done = True
        return 0

    cdef bytes finish(self):
        """The body; the reader has none afterwards."""
        cdef PyObject* body = self._body
        if body == NULL:
            return bytes(self.ahead)
        self._body = NULL
        if self._room != self.size:
            _PyBytes_Resize(&body, self.ahead + self.size)
        result = <bytes> <object> body
        Py_XDECREF(body)
        return result

    cdef Py_ssize_t _edge(self, const unsigned char* p, Py_ssize_t n) except -1:
        """One step at a place other than the midst of a line; the octets used, 0 or 1."""
        cdef Place place = self._place
        cdef unsigned char c = p[0]
        self._place = AT_TEXT
        if place == AT_START:
            if c == 46 and self.chunked:
                self.flags |= F8_DOT_LINES
            elif c == 46:
                self._place = AT_DOT
                return 1
        elif place == AT_DOT:
            if c == 13:
                self._place = AT_DOT_CR
                return 1
            if c == 46:  # the second dot is the text's own
                self.flags |= F8_DOT_LINES
        elif place == AT_MEND:
            if c == 46:
                self.flags |= F8_DOT_LINES
        elif c == 10:  # the CR before it was held back
            if place == AT_DOT_CR:
                self.done = True
                return 1
            self._put(b"\r\n", 2)
            self.line += 1
            self._line_length = 0
            self._place = AT_START
            return 1
        else:
            self._bare(F_BARE_CR)
        return 0

    cdef Py_ssize_t _lines(self, const unsigned char* p, Py_ssize_t n) except -1:
        """From within a line over as many lines as need no second look; the octets used.

        What `_sweep` stops at: two memchr a line, one copy for all of them.
        """
        cdef Py_ssize_t swept = self._sweep(p, n)
        if swept == n or self._place != AT_TEXT:
            return swept
        return swept + self._look_twice(p + swept, n - swept)

    cdef Py_ssize_t _sweep(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Take whole text as far as it is nothing but that; the octets used.

        It ends behind the CRLF of a line before one that begins with a dot, or before a bare
        newline, a CR at the end of the piece, a NUL, or a line that may be too long.
        """
        cdef Py_ssize_t longest = LONGEST_LINE
        cdef Sweep swept
        if self.max_line and self.max_line < longest:
            longest = self.max_line
        if self.fault or self.max_size and self.size + n > self.max_size:
            return 0
        if self.size + n > self._room:
            self._grow(n)
        swept.begin, swept.lines, swept.high = -self._line_length, 0, 0
        n = sweep(p, n, self._text + self.size, longest, &swept)
        self.size += n
        self.line += swept.lines
        self._line_length = n - swept.begin
        if swept.high:
            self.flags |= F8_EIGHT_BIT
        if n and self._line_length == 0:
            self._place = AT_START
        return n

    cdef Py_ssize_t _look_twice(self, const unsigned char* p, Py_ssize_t n) except -1:
        """`_lines` where something is not plain."""
        cdef const unsigned char* end = p + n
        cdef const unsigned char* i = p
        cdef const unsigned char* run = p  # what is not yet stored begins here
        cdef const unsigned char* lf
        cdef const unsigned char* cr
        while True:
            lf = self._next_lf(i, end)
            cr = <const unsigned char*> memchr(i, 13, lf - i)
            run = self._extend(run, i, cr if cr else lf)
            if cr == NULL:
                self._put(run, lf - run)
                if lf == end:
                    return n
                self._bare(F_BARE_LF)
                return lf + 1 - p
            if cr + 1 != lf or lf == end:  # bare, or the piece ends here
                self._put(run, cr - run)
                self._place = AT_CR
                return cr + 1 - p
            self.line += 1
            self._line_length = 0
            i = lf + 1
            if i == end or i[0] == 46:
                self._put(run, i - run)
                self._place = AT_START
                return i - p

    cdef const unsigned char* _next_lf(
        self, const unsigned char* i, const unsigned char* end
    ) noexcept:
        """The next LF, or `end`; kept over calls, so that a piece full of CRs is searched once."""
        if self._lf == NULL or self._lf < i:
            self._lf = <const unsigned char*> memchr(i, 10, end - i)
            if self._lf == NULL:
                self._lf = end
        return self._lf

    cdef const unsigned char* _extend(
        self, const unsigned char* run, const unsigned char* i, const unsigned char* stop
    ) except NULL:
        """Count i..stop to the current line; where it gets too long, store up to there and fail."""
        cdef const unsigned char* limit
        self._line_length += stop - i
        if self._line_length > LONGEST_LINE:
            self.flags |= F8_LONG_LINES
        if self.max_line and self._line_length > self.max_line and not self.fault:
            limit = stop - (self._line_length - self.max_line)
            self._put(run, limit - run)
            self._fail(F_LINE, self.line)
        return run

    cdef int _bare(self, Fault fault) except -1:
        """A bare CR or LF: mend it, or refuse the message."""
        if self.keep:
            return self._bare_text(b"\r" if fault == F_BARE_CR else b"\n")
        self._place = AT_MEND
        if not self.mend:
            return self._fail(fault, self.line)
        self._put(b"\r\n", 2)
        self.line += 1
        self._line_length = 0
        return 0

    cdef int _bare_text(self, const unsigned char* octet) except -1:
        """Take a bare CR or LF as any other octet of its line."""
        self._place = AT_TEXT
        self._line_length += 1
        if self._line_length > LONGEST_LINE:
            self.flags |= F8_LONG_LINES
        if self.max_line and self._line_length > self.max_line:
            return self._fail(F_LINE, self.line)
        return self._put(octet, 1)

    cdef int _fail(self, Fault fault, Py_ssize_t line) except -1:
        """Note the first fault and give back the memory."""
        if not self.fault:
            self.fault, self.fault_line = fault, line
            Py_XDECREF(self._body)
            self._body = NULL
            self._room = self.size = 0
        return 0

    cdef int _put(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Store p[:n], unless a fault was found or is found in it."""
        cdef Py_ssize_t fits = n
        cdef unsigned char seen = 0
        cdef const unsigned char* nul
        if self.fault or n == 0:
            return 0
        if self.max_size and self.size + n > self.max_size:
            fits = self.max_size - self.size
        # Neither 7bit nor 8bit data has NULs (RFC 2045 2.7, 2.8).
        if look(p, fits, &seen) and not self.keep:
            nul = <const unsigned char*> memchr(p, 0, fits)
            return self._fail(F_NUL, self.line - count_lf(nul, p + n))
        if fits < n:
            return self._fail(F_SIZE, 0)
        if seen & 0x80:
            self.flags |= F8_EIGHT_BIT
        if self.size + n > self._room:
            self._grow(n)
        memcpy(self._text + self.size, p, n)
        self.size += n
        return 0

    cdef int _grow(self, Py_ssize_t more) except -1:
        """Make room for `more` octets: at most twice of what has come, and not beyond a limit."""
        cdef Py_ssize_t needed = self.size + more, room = max(needed, 2 * self._room)
        if needed <= self._hint:
            room = min(self._hint, max(2 * needed, <Py_ssize_t> FIRST_ROOM))
        elif self._body == NULL:
            room = max(room, <Py_ssize_t> FIRST_ROOM)
        if self.max_size and room > self.max_size:
            room = max(needed, self.max_size)
        if self._body == NULL:
            self._body = _new_bytes(NULL, self.ahead + room)
        else:
            self._room = 0  # should there be no memory
            _PyBytes_Resize(&self._body, self.ahead + room)
        self._room = room
        self._text = <unsigned char*> _octets(self._body) + self.ahead
        return 0


cdef Py_ssize_t sweep(
    const unsigned char* p, Py_ssize_t n, unsigned char* to, Py_ssize_t longest, Sweep* swept
) noexcept nogil:
    """Copy p[:n] up to what needs a second look; the octets copied. `to` has room for all n."""
    cdef Py_ssize_t i = 0, at, stop = -1, begin = swept.begin, lines = 0
    cdef uint64_t low
    cdef uint32_t high = 0, before
    while stop < 0 and i < n:
        before = high
        low = copy_64(p + i, to + i, &high) if i + 64 <= n \
            else copy_less(p + i, n - i, to + i, &high)
        while low:
            at = i + __builtin_ctzll(low)
            low &= low - 1
            if p[at] == 13 and at + 1 < n and p[at + 1] == 10 and at - begin <= longest:
                if at + 1 < i + 64:
                    low &= low - 1  # the LF's
                begin = at + 2
                lines += 1
                if at + 2 < n and p[at + 2] != 46:
                    continue
                stop = at + 2
            elif p[at] == 10 and at + 1 == begin or p[at] != 13 and p[at] != 10 and p[at] != 0:
                continue
            else:
                stop = at if at - begin <= longest else max(begin, <Py_ssize_t> 0)
            high = before
            break
        i += 64
    if stop < 0:
        stop = n if n - begin <= longest else max(begin, <Py_ssize_t> 0)
    else:  # what of the last block counts
        copy_less(p + i - 64, stop - (i - 64), to + i - 64, &high)
    swept.begin, swept.lines, swept.high = begin, lines, high
    return stop


cdef uint64_t copy_less(
    const unsigned char* p, Py_ssize_t n, unsigned char* to, uint32_t* high
) noexcept nogil:
    """copy_64 of fewer octets, or a few more; none where n is negative."""
    cdef uint64_t low = 0
    cdef Py_ssize_t i
    for i in range(n):
        to[i] = p[i]
        high[0] |= p[i] >> 7
        if p[i] <= 13 and i < 64:
            low |= <uint64_t> 1 << i
    return low


cpdef bytes headed(bytes body, Py_ssize_t ahead, list parts):
    """`parts` and the octets of `body` behind `ahead`; in place where the parts just fill these.

    The body must be the caller's alone.
    """
    cdef Py_ssize_t size = 0
    cdef char* p = _octets(<PyObject*> body)
    cdef bytes part
    for part in parts:
        size += len(part)
    if size != ahead or ahead > len(body):
        return b"".join([*parts, memoryview(body)[ahead:]])
    for part in parts:
        memcpy(p, <const char*> part, len(part))
        p += len(part)
    return body


cdef inline bint look(const unsigned char* p, Py_ssize_t n, unsigned char* seen) noexcept nogil:
    """Whether p[:n] has a NUL; `seen` becomes all its octets or-ed. Plain, for the vectoriser."""
    cdef unsigned char bits = 0, nul = 0
    cdef Py_ssize_t i
    for i in range(n):
        bits |= p[i]
        nul |= p[i] == 0
    seen[0] = bits
    return nul != 0


cdef Py_ssize_t count_lf(const unsigned char* p, const unsigned char* end) noexcept nogil:
    cdef Py_ssize_t count = 0
    while p < end:
        count += p[0] == 10
        p += 1
    return count
