"""What all sessions of a listener share, its ready-made replies among it."""

from mta._speedups.verdict cimport Verdict


cdef class ServerOptions:
    cdef readonly str hostname
    cdef readonly str banner
    cdef readonly Py_ssize_t max_size
    cdef readonly Py_ssize_t max_recipients
    cdef readonly Py_ssize_t max_command_line
    cdef readonly Py_ssize_t max_text_line
    cdef readonly Py_ssize_t max_errors
    cdef readonly Py_ssize_t max_messages
    cdef readonly Py_ssize_t pipeline_limit
    cdef readonly str bare_newlines
    cdef readonly tuple keywords
    cdef readonly frozenset mail_parameters
    cdef readonly frozenset rcpt_parameters
    cdef readonly frozenset commands
    cdef readonly bint chunking
    cdef readonly bint binarymime
    cdef readonly bint smtputf8
    cdef readonly bint bare_addresses
    cdef readonly frozenset hidden
    cdef bint fix             # bare newlines are mended
    cdef bint keep            # bare newlines and NULs of a message are text
    cdef bint raw             # every command line is the shell's
    # ready-made replies
    cdef bytes greeting
    cdef readonly bytes hello     # to HELO
    cdef readonly bytes extended  # to EHLO
    cdef Verdict oversize
    cdef Verdict oversize_line
    cdef Verdict crowded        # too many recipients
    cdef bytes errors         # too many errors
    cdef bytes worn           # too many messages

    cdef _write_replies(self)


cdef bytes wire(str text)
