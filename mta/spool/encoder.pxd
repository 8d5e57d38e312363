# The records' encoder, for those who call it from C.

from mta.model cimport Message, Recipient


cpdef bytes encode_envelope(Message m)
cpdef bytes encode_recipient(Recipient r)
