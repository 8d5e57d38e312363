"""One look at a message's header (RFC 5322 2.2): what reception asks about it.

A name is compared by its length first, so a field of no interest costs two memchr and no object.
"""

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint64_t
from libc.string cimport memchr

cdef extern from "strings.h" nogil:
    int strncasecmp(const char* a, const char* b, size_t n)


cdef class Names:
    def __init__(self, frozenset names not None):
        self._names = names
        for name in names:
            self._lengths |= <uint64_t> 1 << min(len(<bytes> name), <Py_ssize_t> 63)

    def __repr__(self):
        return f"<Names {sorted(self._names)}>"


cdef Names NO_NAMES = Names(frozenset())


cdef class HeaderScan:
    def __repr__(self):
        return (
            f"<HeaderScan {self.header_end} octets, Received {self.received_count}, "
            f"found {self.found}>"
        )


cdef inline Py_ssize_t name_length(const char* p, Py_ssize_t n) noexcept nogil:
    """The length of the field name at p, or 0 where p[:n] begins no field."""
    cdef Py_ssize_t i = 0, end
    while i < n and 33 <= <unsigned char> p[i] <= 126 and p[i] != 58:
        i += 1
    end = i
    while i < n and (p[i] == 32 or p[i] == 9):  # obs-optional (RFC 5322 4.5)
        i += 1
    return end if i < n and p[i] == 58 else 0


cdef Py_ssize_t field_end(const char* p, Py_ssize_t at, Py_ssize_t n) noexcept nogil:
    """The offset behind the field at p[at], its continuation lines included."""
    cdef const char* lf
    while True:
        lf = <const char*> memchr(p + at, 10, n - at)
        if lf == NULL:
            return n
        at = lf + 1 - p
        if at == n or p[at] != 32 and p[at] != 9:
            return at


cdef str value_of(const char* p, Py_ssize_t start, Py_ssize_t end):
    """What stands behind the colon, unfolded and stripped."""
    cdef const char* colon = <const char*> memchr(p + start, 58, end - start)
    start = colon + 1 - p
    while start < end and blank(p[start]):
        start += 1
    while start < end and blank(p[end - 1]):
        end -= 1
    if memchr(p + start, 10, end - start) == NULL:
        return PyUnicode_DecodeUTF8(p + start, end - start, b"replace")
    raw = p[start:end].replace(b"\r\n", b"").replace(b"\n", b"")
    return raw.strip(b" \t\r").decode("utf-8", "replace")


cdef inline bint blank(char c) noexcept nogil:
    return c == 32 or c == 9 or c == 13 or c == 10


cdef inline bint named(const char* p, Py_ssize_t n, const char* name, Py_ssize_t size) noexcept:
    return n == size and strncasecmp(p, name, size) == 0


cdef int note(
    HeaderScan scan, const char* p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t n
) except -1:
    """Take down the field p[at:end] whose name has n octets, if it is one of the three."""
    cdef const char* name = p + at
    if named(name, n, b"received", 8):
        scan.received_count += 1
    elif named(name, n, b"date", 4):
        scan.has_date = True
    elif named(name, n, b"message-id", 10) and not scan.has_message_id:
        scan.has_message_id = True
        scan.message_id = value_of(p, at, end)
    return 0


cdef int drop(
    HeaderScan scan, frozenset names, const char* p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t n
) except -1:
    """Leave out the field p[at:end], if its name of n octets is one of these."""
    name = p[at:at + n].lower()
    if name not in names:
        return 0
    if scan.found is None:
        scan.found, scan.kept = {}, []
    scan.found.setdefault(name.decode("ascii"), value_of(p, at, end))
    if at > scan._kept_from:
        scan.kept.append((scan._kept_from, at))
    scan._kept_from = end
    return 0


cpdef HeaderScan scan(bytes body, Names names=NO_NAMES, Py_ssize_t start=0):
    """See headers.pyi."""
    cdef HeaderScan result = HeaderScan.__new__(HeaderScan)
    cdef const char* p = body
    cdef Py_ssize_t size = len(body), at = start, end, n
    result.message_id = ""
    result._kept_from = start
    while at < size:
        n = name_length(p + at, size - at)
        if n == 0:
            break
        end = field_end(p, at, size)
        note(result, p, at, end, n)
        if names._lengths >> min(n, <Py_ssize_t> 63) & 1:
            drop(result, names._names, p, at, end, n)
        at = end
    result.header_end = at
    if result.kept is not None and size > result._kept_from:
        result.kept.append((result._kept_from, size))
    return result
