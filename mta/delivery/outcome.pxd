from mta._speedups.values cimport named

cdef object _DELIVERED

cpdef kind_of(int code, str command)
cpdef outcome(tuple result)
cpdef list outcomes(list results)
