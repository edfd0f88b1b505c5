"""When the outbound thread lets those that write into TUN finish, and when it interrupts them.

A loop that runs ahead of other programs (`io/niceness`) interrupts a sender for each packet: soonest on its way, and
right for whatever sends little, or 64 KiB at a time. One that writes many small packets is interrupted many thousand times
a second; then each is a batch of its own through node and Switch, and half as many pass (measured: 64 bytes, two cores,
200,000 a second instead of 310,000). So the thread counts them, and while there are many it is woken, but does not
interrupt (SCHED_BATCH, sched(7)): it runs when the sender sleeps or its time slice ends. Network cards moderate their
interrupts for the same reason, by timers.
"""

from libc.stdint cimport uint64_t

cdef extern from "moderation.h" nogil:
    bint moderation_is_usual()
    int moderation_set(bint gathers)  # 0, or -1

cdef enum:
    MODERATION_MS = 10  # looked at so often
    MODERATION_MANY = 20  # small packets per millisecond

cdef struct moderation:
    bint works  # the kernel takes it, and nobody has chosen another policy for us
    bint gathers
    uint64_t since_ms
    uint64_t small  # packets by then


cdef inline void moderation_init(moderation* m) noexcept nogil:
    """In the thread itself."""
    m.gathers = False
    m.since_ms = m.small = 0
    m.works = moderation_is_usual() and moderation_set(True) == 0 and moderation_set(False) == 0


cdef inline void moderation_look(moderation* m, uint64_t now_ms, uint64_t small) noexcept nogil:
    """`small`: packets so far."""
    cdef uint64_t passed = now_ms - m.since_ms
    cdef bint many
    if not m.works or passed < MODERATION_MS:
        return
    many = small - m.small > MODERATION_MANY * passed
    m.since_ms, m.small = now_ms, small
    if many != m.gathers and moderation_set(many) == 0:
        m.gathers = many
