"""Reading SMTP replies (RFC 5321 4.2) from pieces of any size, within bounds."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcpy

cdef enum:
    MAX_LINE = 4096  # RFC 5321 4.5.3.1.5 says 512; real servers exceed it
    MAX_LINES = 128
    MAX_TEXT = 4096  # octets of text kept of one reply


cdef inline bint is_digit(char c) noexcept:
    return c"0" <= c <= c"9"


cdef Py_ssize_t enhanced_size(const char *text, Py_ssize_t size, int code) noexcept:
    # Length of "class.subject.detail" at the start of `text`, 0 if there is none. The class must
    # be the first digit of the code (RFC 2034 4), else the text is no enhanced code.
    cdef Py_ssize_t at = 1
    cdef Py_ssize_t first
    cdef int _part
    if size < 5 or text[0] - c"0" != code // 100:
        return 0
    for _part in range(2):
        if at >= size or text[at] != c".":
            return 0
        at += 1
        first = at
        while at < size and at - first < 3 and is_digit(text[at]):
            at += 1
        if at == first:
            return 0
    if at < size and text[at] != c" ":
        return 0
    return at


cdef str cleaned(const char *text, Py_ssize_t size):
    # Control characters would break logs and terminals: each becomes a question mark.
    # Not made of `text`: one octet would be an object that the whole interpreter shares.
    cdef bytes raw
    cdef unsigned char *at
    cdef Py_ssize_t i
    for i in range(size):
        if <unsigned char>text[i] < 32 or text[i] == 127:
            break
    else:
        return PyUnicode_DecodeUTF8(text, size, "replace")
    raw = PyBytes_FromStringAndSize(NULL, size)
    at = <unsigned char *>PyBytes_AS_STRING(raw)
    memcpy(at, text, size)
    for i in range(size):
        if at[i] == 9:
            at[i] = 32
        elif at[i] < 32 or at[i] == 127:
            at[i] = 63
    return PyUnicode_DecodeUTF8(<char *>at, size, "replace")


cdef str behind(const char *text, Py_ssize_t size, Py_ssize_t enhanced):
    # What follows the enhanced code and its blank.
    cdef Py_ssize_t skip = min(enhanced + 1, size) if enhanced else 0
    return cleaned(text + skip, size - skip)


cdef class ReplyReader:

    def __cinit__(self):
        self._begin()

    cdef void _begin(self):
        self.code = 0
        self.complete = False
        self._last = b""
        self._earlier = None
        self._kept = 0
        self._lines = 0

    cdef Py_ssize_t push(self, const char *data, Py_ssize_t size) except -1:
        # Reads to the end of one reply at most; returns the octets taken.
        cdef const char *at = data
        cdef const char *end = data + size
        cdef const char *newline
        cdef bytes whole
        if self.complete:
            self._begin()
        while at < end and self.error is None:
            newline = <const char *>memchr(at, 10, end - at)
            if newline == NULL:
                self._hold(at, end - at)
                return size
            if self._rest is None:
                self._line(at, newline - at)
            else:
                whole = self._rest + at[:newline - at]
                self._rest = None
                self._line(PyBytes_AS_STRING(whole), PyBytes_GET_SIZE(whole))
            at = newline + 1
            if self.complete:
                break
        return at - data

    cdef int _hold(self, const char *data, Py_ssize_t size) except -1:
        cdef bytes piece = data[:size]
        self._rest = piece if self._rest is None else self._rest + piece
        if PyBytes_GET_SIZE(self._rest) > MAX_LINE:
            self.error = f"a line of more than {MAX_LINE} octets"
            self._rest = None
        return 0

    cdef int _line(self, const char *data, Py_ssize_t size) except -1:
        # One line without its LF. A bare LF ends a line too: what is misread here harms nobody.
        if size > MAX_LINE:
            self.error = f"a line of more than {MAX_LINE} octets"
            return 0
        if size and data[size - 1] == c"\r":
            size -= 1
        self._lines += 1
        if self._lines > MAX_LINES:
            self.error = f"a reply of more than {MAX_LINES} lines"
            return 0
        if (
            size < 3 or not c"2" <= data[0] <= c"5"
            or not is_digit(data[1]) or not is_digit(data[2])
            or (size > 3 and data[3] != c" " and data[3] != c"-")
        ):
            self.error = f"{cleaned(data, min(size, 60))!r} is no reply line"
            return 0
        # The code of the last line counts where lines differ.
        self.code = (data[0] - 48) * 100 + (data[1] - 48) * 10 + (data[2] - 48)
        self.complete = size == 3 or data[3] == c" "
        self._keep(data + 4, max(size - 4, 0))
        return 0

    cdef int _keep(self, const char *text, Py_ssize_t size) except -1:
        if self._lines > 1:
            if self._earlier is None:
                self._earlier = []
            self._earlier.append(self._last)
        size = min(size, MAX_TEXT - self._kept)
        self._kept += size
        self._last = text[:size]
        return 0

    cdef list texts(self):
        cdef list raw = [self._last] if self._earlier is None else [*self._earlier, self._last]
        return [cleaned(PyBytes_AS_STRING(<bytes>one), len(<bytes>one)) for one in raw]

    cdef tuple reply(self, str command):
        # (code, enhanced, text, command); an enhanced code is taken off each line that has one.
        cdef const char *text = PyBytes_AS_STRING(self._last)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self._last)
        cdef Py_ssize_t skip
        cdef list parts
        cdef str enhanced
        cdef bytes one
        if self._earlier is None:
            skip = enhanced_size(text, size, self.code)
            enhanced = text[:skip].decode("ascii") if skip else ""
            return self.code, enhanced, behind(text, size, skip), command
        parts = []
        enhanced = ""
        for one in [*self._earlier, self._last]:
            text, size = PyBytes_AS_STRING(one), PyBytes_GET_SIZE(one)
            skip = enhanced_size(text, size, self.code)
            if skip and not enhanced:
                enhanced = text[:skip].decode("ascii")
            parts.append(behind(text, size, skip))
        return self.code, enhanced, " ".join(filter(None, parts)), command

    def feed(self, data, Py_ssize_t start=0):
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if not 0 <= start <= view.len:
                raise ValueError(f"start {start} is outside of the data")
            return start + self.push(<const char *>view.buf + start, view.len - start)
        finally:
            PyBuffer_Release(&view)

    @property
    def enhanced(self):
        return self.reply("")[1]

    @property
    def text(self):
        return self.reply("")[2]

    @property
    def lines(self):
        return self.texts()
