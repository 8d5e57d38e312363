"""Parsing of SMTP command lines: verb, path, parameters (RFC 5321 4.1).

Every parser reads p[:n] once from left to right, makes no object and says what is wrong as a
number; `PATH_TEXTS` has the words. A line is given without its CRLF and its trailing blanks.
"""

from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

cdef extern from "strings.h" nogil:
    int strncasecmp(const char* a, const char* b, size_t n)

cdef extern from "arpa/inet.h" nogil:
    int AF_INET
    int AF_INET6
    int inet_pton(int family, const char* text, void* out)

cdef enum:
    MAX_PATH = 320    # RFC 5321 4.5.3.1.3 asks for 256 at least; 64 + @ + 255 is what is met
    MAX_DOMAIN = 255  # RFC 5321 4.5.3.1.2
    MAX_LABEL = 63    # RFC 1035 2.3.4
    MAX_LITERAL = 45  # the longest text that inet_pton takes

PATH_TEXTS = (
    "",
    "the address must stand in angle brackets",
    "the closing angle bracket is missing or misplaced",
    "the address is empty",
    "the source route is malformed",
    "nothing stands before the @",
    "a character that the local part may not have unquoted",
    "a dot at the start, at the end or doubled in the local part",
    "the quoted local part is unfinished or has a bad character",
    "the domain is missing",
    "an empty or overlong label, or a bad character, in the domain",
    "a label of the domain starts or ends with a hyphen",
    "the domain is longer than 255 octets",
    "the address literal is no IPv4 or IPv6: address",
    "the address is longer than 320 octets",
    "a tab stands before it, nothing may come between the colon and the address",
)

# What a character may be part of: bit 1 atext (RFC 5322 3.2.3), bit 2 a label, bit 4 a host name
# in EHLO (no character that would need quoting in a Received field), bit 8 a parameter's keyword.
cdef unsigned char[256] KIND
cdef enum:
    ATEXT = 1
    LABEL = 2
    NAME = 4
    KEYWORD = 8


cdef void _fill_kinds():
    cdef unsigned char c
    cdef int k
    for c in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789":
        KIND[c] = ATEXT | LABEL | NAME | KEYWORD
    for c in b"!#$%&'*+-/=?^_`{|}~":
        KIND[c] |= ATEXT
    for c in b"-_":
        KIND[c] |= LABEL  # the underscore is no host name's, but is met
    for c in b"-_.:[]%+/=~#@":
        KIND[c] |= NAME
    KIND[45] |= KEYWORD
    for k in range(128, 256):  # RFC 6531 3.3: the caller looks whether it is allowed, and UTF-8
        KIND[k] = ATEXT | LABEL


_fill_kinds()


cdef inline uint32_t _key(const unsigned char* p) noexcept nogil:
    """Four letters as a number, upper case; anything else gives a number that no verb has."""
    cdef uint32_t a = p[0] & 0xDF, b = p[1] & 0xDF, c = p[2] & 0xDF, d = p[3] & 0xDF
    return a << 24 | b << 16 | c << 8 | d


cdef uint32_t[12] KEYS
cdef Verb[12] VERBS = [
    V_MAIL, V_RCPT, V_DATA, V_EHLO, V_HELO, V_RSET, V_QUIT, V_BDAT, V_NOOP, V_VRFY, V_EXPN, V_HELP
]


cdef list NAMES = [""] * (V_BDAT + 1)  # by number


cdef void _fill_keys():
    cdef int i
    cdef bytes name
    names = b"MAIL RCPT DATA EHLO HELO RSET QUIT BDAT NOOP VRFY EXPN HELP".split()
    for i in range(12):
        name = names[i]
        KEYS[i] = _key(name)
        NAMES[<int> VERBS[i]] = name.decode()


_fill_keys()

# Verbs of the standards that are not offered, and HTTP's (RFC 9110 9)
cdef frozenset OTHER = frozenset(b"STARTTLS AUTH ETRN TURN ATRN SEND SOML SAML".split())
cdef frozenset HTTP = frozenset(b"GET POST HEAD PUT OPTIONS DELETE CONNECT PATCH TRACE".split())


cdef Verb _long_verb(const unsigned char* p, Py_ssize_t n) noexcept with gil:
    """A verb that is not among the twelve: rare, so Python objects will do."""
    word = (<const char*> p)[:n].upper()
    if word in OTHER:
        return V_OTHER
    return V_HTTP if word in HTTP else V_UNKNOWN


cdef Verb parse_verb(const unsigned char* p, Py_ssize_t n, Py_ssize_t* after) noexcept nogil:
    """The verb of a line; `after` is where its argument begins, blanks skipped."""
    cdef Py_ssize_t i = 0
    cdef int k
    cdef uint32_t key
    while i < n and p[i] != 32:
        i += 1
    after[0] = i
    while after[0] < n and p[after[0]] == 32:
        after[0] += 1
    if i == 4:
        key = _key(p)
        for k in range(12):
            if KEYS[k] == key:
                return VERBS[k]
    return _long_verb(p, i) if 3 <= i <= 8 else V_UNKNOWN


cdef str name_of(Verb verb):
    return NAMES[<int> verb] if verb <= V_BDAT else ""


cdef str verb_of(const unsigned char* p, Py_ssize_t n):
    """The first word of a line in upper case; "" if it is not ASCII."""
    cdef Py_ssize_t size = 0
    while size < n and p[size] != 32:
        if p[size] >= 128:
            return ""
        size += 1
    return PyUnicode_DecodeASCII(<const char*> p, size, NULL).upper()


cdef Py_ssize_t skip_blanks(const unsigned char* p, Py_ssize_t n, Py_ssize_t at) noexcept nogil:
    while at < n and p[at] == 32:
        at += 1
    return at


cdef Py_ssize_t skip_word(
    const unsigned char* p, Py_ssize_t n, const char* word, Py_ssize_t size
) noexcept nogil:
    """Behind `word` (any case) and the blanks after it, or -1 where p does not start with it."""
    cdef Py_ssize_t i = size
    if n < size or strncasecmp(<const char*> p, word, size) != 0:
        return -1
    while i < n and p[i] == 32:
        i += 1
    return i


cdef bint parse_name(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """Whether p[:n] can be what a client calls itself in EHLO."""
    cdef Py_ssize_t i
    if not 0 < n <= MAX_DOMAIN:
        return False
    for i in range(n):
        if not KIND[p[i]] & NAME:
            return False
    return True


cdef PathError _quoted(const unsigned char* p, Py_ssize_t n, Py_ssize_t* at) noexcept nogil:
    """A quoted string from its opening quote; `at` moves behind the closing one."""
    cdef Py_ssize_t i = at[0] + 1
    while i < n and p[i] != 34:
        if p[i] == 92:  # quoted-pairSMTP
            i += 1
            if i == n:
                return P_QUOTE
        if p[i] < 32 or p[i] == 127:
            return P_QUOTE
        i += 1
    at[0] = i + 1
    return P_OK if i < n else P_QUOTE


cdef PathError _dotted(const unsigned char* p, Py_ssize_t n, Py_ssize_t* at) noexcept nogil:
    """A Dot-string; `at` moves behind it."""
    cdef Py_ssize_t i = at[0]
    cdef bint atom = False
    while i < n and p[i] != 64 and p[i] != 62:
        if p[i] == 46:
            if not atom:
                return P_DOTS
            atom = False
        elif KIND[p[i]] & ATEXT:
            atom = True
        else:
            return P_LOCAL
        i += 1
    if i > at[0] and not atom:
        return P_DOTS
    at[0] = i
    return P_OK


cdef PathError _domain(const unsigned char* p, Py_ssize_t n, Py_ssize_t* at) noexcept nogil:
    """A domain name; `at` moves to the first octet that no label may have."""
    cdef Py_ssize_t i = at[0], label = at[0]
    cdef unsigned char seen
    if i == n or not (KIND[p[i]] & LABEL or p[i] == 46):
        return P_NO_DOMAIN
    while True:
        seen = 0
        while i < n and KIND[p[i]] & LABEL:
            seen |= p[i]
            i += 1
        if i == label or i - label > MAX_LABEL and seen < 128:  # a U-label's length says nothing
            return P_LABEL
        if p[label] == 45 or p[i - 1] == 45:
            return P_HYPHEN
        if i == n or p[i] != 46:
            break
        i += 1
        label = i
    if i - at[0] > MAX_DOMAIN:
        return P_DOMAIN
    at[0] = i
    return P_OK


cdef PathError _literal(const unsigned char* p, Py_ssize_t n, Py_ssize_t* at) noexcept nogil:
    """An address literal from its [ (RFC 5321 4.1.3); `at` moves behind the ]."""
    cdef Py_ssize_t i = at[0] + 1, start = i
    cdef char[MAX_LITERAL + 1] text
    cdef unsigned char[16] address
    cdef int family = AF_INET
    if n - i > 5 and strncasecmp(<const char*> p + i, "IPv6:", 5) == 0:
        family = AF_INET6
        start = i = i + 5
    while i < n and p[i] != 93 and p[i] != 0:
        i += 1
    if i == n or p[i] == 0 or i - start > MAX_LITERAL:
        return P_LITERAL
    memcpy(text, p + start, i - start)
    text[i - start] = 0
    if inet_pton(family, text, address) != 1:
        return P_LITERAL
    at[0] = i + 1
    return P_OK


cdef PathError _route(const unsigned char* p, Py_ssize_t n, Py_ssize_t* at) noexcept nogil:
    """A source route, to be ignored (RFC 5321 4.1.1.3, appendix C); `at` moves behind its colon."""
    cdef PathError error
    while True:
        at[0] += 1  # the @
        error = _domain(p, n, at)
        if error != P_OK or at[0] == n:
            return P_ROUTE
        if p[at[0]] == 58:
            at[0] += 1
            return P_OK
        if p[at[0]] == 62:
            return P_NO_LOCAL  # <@domain>
        if p[at[0]] != 44 or at[0] + 1 == n or p[at[0] + 1] != 64:
            return P_ROUTE
        at[0] += 1


cdef bint _postmaster(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    return n == 10 and strncasecmp(<const char*> p, "postmaster", 10) == 0


cdef PathError _mailbox(
    const unsigned char* p, Py_ssize_t n, bint recipient, Py_ssize_t* at
) noexcept nogil:
    """local-part "@" (domain / literal), or for a recipient Postmaster alone (4.5.1)."""
    cdef Py_ssize_t start = at[0]
    cdef PathError error
    if p[start] == 64:
        return P_NO_LOCAL
    error = _quoted(p, n, at) if p[start] == 34 else _dotted(p, n, at)
    if error != P_OK:
        return error
    if at[0] == n or p[at[0]] != 64:
        if recipient and _postmaster(p + start, at[0] - start):
            return P_OK
        return P_NO_DOMAIN
    at[0] += 1
    if at[0] < n and p[at[0]] == 91:
        return _literal(p, n, at)
    return _domain(p, n, at)


cdef PathError parse_path(
    const unsigned char* p, Py_ssize_t n, bint recipient, Path* out
) noexcept nogil:
    """A reverse-path or forward-path in angle brackets at p[0] (RFC 5321 4.1.2)."""
    cdef Py_ssize_t at = 1
    cdef PathError error
    if n == 0 or p[0] != 60:
        return P_TAB if n and p[0] == 9 else P_BRACKET
    if n == 1:
        return P_UNCLOSED
    out.start = out.end = 1
    out.after = 2
    if p[1] == 62:
        return P_EMPTY if recipient else P_OK
    if p[1] == 64 and n > 2 and p[2] != 62:
        error = _route(p, n, &at)
        if error != P_OK or at == n:
            return P_ROUTE if error == P_OK else error
    out.start = at
    error = _mailbox(p, n, recipient, &at)
    if error != P_OK:
        return error
    if at == n or p[at] != 62:
        return P_UNCLOSED
    out.end, out.after = at, at + 1
    return P_LONG if at - out.start > MAX_PATH else P_OK


cdef PathError parse_bare(
    const unsigned char* p, Py_ssize_t n, bint recipient, Path* out
) noexcept nogil:
    """The same without brackets, up to a blank: what old injectors send."""
    cdef Py_ssize_t at = 0, end = 0
    cdef PathError error
    while end < n and p[end] != 32:
        end += 1
    if end == 0:
        return P_BRACKET
    error = _mailbox(p, end, recipient, &at)
    if error == P_OK and at < end:
        error = P_UNCLOSED if p[at] == 62 else P_LABEL
    out.start, out.end, out.after = 0, at, at
    return P_LONG if error == P_OK and at > MAX_PATH else error


cdef int next_param(
    const unsigned char* p, Py_ssize_t n, Py_ssize_t* at, Param* out
) noexcept nogil:
    """The next KEYWORD[=value] from `at`: 1 found, 0 no more, -1 malformed."""
    cdef Py_ssize_t i = at[0]
    while i < n and p[i] == 32:
        i += 1
    if i == n:
        return 0
    if i == at[0]:
        return -1  # nothing separates it from what was before
    out.key = i
    out.value = -1
    while i < n and KIND[p[i]] & KEYWORD:
        i += 1
    out.key_end = i
    if i == out.key or p[out.key] == 45:
        return -1
    if i < n and p[i] == 61:
        i += 1
        out.value = i
        while i < n and p[i] > 32 and p[i] != 127 and p[i] != 61:
            i += 1
        out.value_end = i
        if i == out.value:
            return -1
    at[0] = i
    return 1 if i == n or p[i] == 32 else -1


def verb(bytes line not None):
    cdef Py_ssize_t after = 0
    cdef Verb found = parse_verb(line, len(line), &after)
    names = {V_OTHER: "other", V_HTTP: "http"}
    return names.get(found) or name_of(found), after


def path(bytes text not None, bint recipient=False):
    cdef Path found
    cdef PathError error = parse_path(text, len(text), recipient, &found)
    if error != P_OK:
        raise ValueError(PATH_TEXTS[<int> error])
    return text[found.start:found.end].decode(), found.after


def params(bytes text not None):
    cdef Py_ssize_t at = 0
    cdef Param one
    cdef int more = 1
    found = []
    while True:
        more = next_param(text, len(text), &at, &one)
        if more == 0:
            return found
        if more < 0:
            raise ValueError(f"malformed parameter at {at}")
        value = None if one.value < 0 else text[one.value:one.value_end].decode()
        found.append((text[one.key:one.key_end].decode().upper(), value))


def name_ok(bytes text not None):
    return bool(parse_name(text, len(text)))
