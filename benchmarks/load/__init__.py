"""Datagrams in quantity: a generator, a sink, and the search for the highest rate that a path carries.

Both run as processes of their own, in the namespace that they are to load. They hand the kernel up to 64 datagrams per
system call (sendmmsg, recvmmsg) from arrays that are made once, so that Python costs a microsecond per batch and the
kernel decides how fast it goes. A datagram stays a datagram: no UDP_SEGMENT where single datagrams are meant, no
UDP_GRO at the sink.
"""
