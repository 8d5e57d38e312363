cdef class Growth:
    cdef public long long messages, spent_us
    cdef public double service, least
    cdef double _latest, _since, _epoch

    cpdef learn(self, double now)
    cpdef long long enough(self, long long waiting, double still) except? -1
    cpdef bint wanted(self, long long waiting, long long alive, long long opening, double still) \
        except -1
