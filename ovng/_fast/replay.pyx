"""Python's view of the replay window, for tests. See `replay.pxd`."""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, uint64_t
from libc.string cimport memcpy, memset

DROP_NAMES = {REPLAY_NUMBER: "packet_number", REPLAY_OLD: "replay_old", REPLAY_DUPLICATE: "replay_duplicate"}
WINDOW = REPLAY_WINDOW
LIMIT = REPLAY_LIMIT


cdef class ReplayWindow:
    """An empty window. Verdicts are 0 (new) or a key of `DROP_NAMES`."""

    cdef replay_window window

    def __cinit__(self):
        memset(&self.window, 0, sizeof(self.window))

    @property
    def highest(self):
        """The newest committed number, 0 before the first."""
        return self.window.highest

    @property
    def committed(self):
        """How many numbers were committed."""
        return replay_committed(&self.window)

    def check(self, uint64_t number):
        """Verdict on a packet number; changes nothing."""
        return replay_check(&self.window, number)

    def commit(self, uint64_t number):
        """Verdict on a packet number, which is remembered when new."""
        return replay_commit(&self.window, number)

    def commit_many(self, bytes numbers not None):
        """`commit` of each native 64-bit number in `numbers`; verdicts as signed bytes."""
        cdef const char* source = PyBytes_AsString(numbers)
        cdef size_t count = len(numbers) // 8
        cdef bytes verdicts = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> count)
        cdef int8_t* verdict = <int8_t*> PyBytes_AsString(verdicts)
        cdef uint64_t number
        cdef size_t i
        with nogil:
            for i in range(count):
                memcpy(&number, source + 8 * i, 8)
                verdict[i] = <int8_t> replay_commit(&self.window, number)
        return verdicts
