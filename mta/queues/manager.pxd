# The C fields of manager.py, and the methods on the way of every message.

cimport cython
from mta.maillog.records cimport RecordWriter
from mta.model cimport Message, Recipient
from mta.queues.lanes cimport Parcel, ReadyQueue
from mta.queues.ports cimport Counters, Ports, Settings

cdef long long _FRESH, _DUE, _BACKLOG, _HELD, _CLOSED
cdef int _DELIVERED, _DEFERRED, _BOUNCED, _UNATTEMPTED
cdef int _SUCCESS
cdef double _KEPT_BODIES
cdef tuple _MEMORY_SHARE


@cython.locals(message=Message)
cdef str _queue_name(Recipient recipient)
cdef object _ready_key(str source, object site_key)


cdef class _Accepted:
    cdef QueueManager manager
    cdef Message message
    cdef list recipients
    cdef object done, plan
    cdef long long plans


cdef class QueueManager:
    cdef readonly dict shards
    cdef readonly object home
    cdef dict _lines
    cdef RecordWriter _home_lines
    cdef public Settings settings
    cdef public Ports ports
    cdef public object acts
    cdef public dict ready, memory
    cdef public object unrouted
    cdef public set arriving, missing
    cdef public long long body_bytes, plans
    cdef public Counters counters
    cdef public list waiting
    cdef public object policy_hook, on_backlog, behind, on_record
    cdef public long long missed_from, missed_to, grace_us
    cdef long long _stamp

    @cython.locals(now=cython.longlong)
    cpdef long long stamp(self) except -1
    cpdef rewind(self)
    cpdef submit(self, Message message, object addresses, object done, dict wishes=*)
    @cython.locals(recipients=list, recipient=Recipient)
    cdef _submit(self, Message message, object addresses, object done, dict wishes)
    cdef _follow_route(self, Message message, object plan)
    cpdef arrive(self, Recipient recipient, object plan)
    @cython.locals(message=Message, begins=cython.longlong)
    cdef _set_expiry(self, Recipient recipient, object plan)
    @cython.locals(message=Message)
    cdef _choose_row(self, Recipient recipient, object plan)
    cpdef bint has_room(self, Message message) except -1
    @cython.locals(share=cython.double)
    cdef double _most(self, long long klass) except -1
    @cython.locals(message=Message, room=cython.longlong)
    cdef bint _may_pass(self, Recipient recipient, object plan) except -1
    cdef long long _lane_room(self, Recipient recipient, object plan) except? -1
    @cython.locals(room=cython.longlong)
    cdef long long _room(self, object plan, Message message) except? -1
    @cython.locals(ready=ReadyQueue)
    cpdef long long _room_at(self, object key, Message message) except? -1
    @cython.locals(fresh=list, lines=RecordWriter)
    cpdef accepted(self, Message message, list recipients, object plan=*)
    @cython.locals(recipient=Recipient)
    cdef list _of_new(self, Message message, list recipients)
    @cython.locals(message=Message)
    cpdef bint fits(self, Recipient recipient) except -1
    @cython.locals(message=Message, recipient=Recipient)
    cpdef admit(self, list recipients, long long queued_us, object plan=*)
    cpdef remember(self, Recipient recipient)
    @cython.locals(recipient=Recipient)
    cpdef place(self, Parcel parcel, object plan=*)
    @cython.locals(ready=ReadyQueue)
    cpdef enter(self, Parcel parcel, object plan)
    @cython.locals(message=Message, held=Recipient)
    cdef _leave(self, Recipient recipient, long long was)
    @cython.locals(recipient=Recipient)
    cpdef bint obey(self, Parcel parcel) except -1
    @cython.locals(recipient=Recipient, now=cython.longlong, gone=cython.bint)
    cpdef bint still_open(self, Parcel parcel) except -1
    cpdef bint missed(self, long long expires_us)
    @cython.locals(parcel=Parcel)
    cpdef Parcel take(self, ReadyQueue ready)
    @cython.locals(ready=ReadyQueue)
    cpdef ReadyQueue ready_queue(self, object plan, Message message)
    @cython.locals(recipient=Recipient, ready=ReadyQueue)
    cpdef give_back(self, Parcel parcel)
    @cython.locals(recipient=Recipient, recipients=list, site=str, again=list)
    cpdef finish(self, Parcel parcel, list outcomes, object peer, object stages)
    @cython.locals(kind=cython.int, lines=RecordWriter)
    cdef _ended(self, Recipient recipient, object outcome, object peer, object stages, str site)
    cpdef object shard_of(self, Message message)
    cpdef RecordWriter lines(self, Message message)
    @cython.locals(was=cython.longlong)
    cpdef close(self, Recipient recipient, bytes line, object dsn=*)
    cpdef object policy_of(self, Recipient recipient)
    cdef object _policy_by(self, object plan)
    cpdef keep_body(self, Message message, bytes body)
    cpdef forget_body(self, Message message)
    cpdef count_body(self, long long octets)
