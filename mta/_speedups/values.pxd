cpdef named(type kind, tuple fields)
