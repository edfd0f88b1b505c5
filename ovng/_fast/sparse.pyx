"""Python's view of the flow table, for tests. See `sparse.pxd`."""

from cpython.bytes cimport PyBytes_AsString
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free

BURST, RATE, QUIET_MS, CELLS = SPARSE_BURST, SPARSE_RATE, SPARSE_QUIET_MS, SPARSE_CELLS


cdef class SparseFlows:
    """No flow has sent anything. Raises MemoryError."""

    cdef sparse_table* table

    def __cinit__(self, uint64_t key):
        self.table = <sparse_table*> calloc(1, sizeof(sparse_table))
        if self.table == NULL:
            raise MemoryError
        self.table.key = key

    def __dealloc__(self):
        free(self.table)

    def put(self, bytes packet not None, uint64_t now_ms):
        """Whether the flow of an IP packet, of any length, is sparse with this packet."""
        return bool(sparse_put(self.table, <const uint8_t*> PyBytes_AsString(packet), <size_t> len(packet), now_ms))
