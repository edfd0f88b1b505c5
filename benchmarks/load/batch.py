"""sendmmsg and recvmmsg on arrays made once; what the C library lacks a Python face for."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Sequence

BATCH = 64
BUFFER_BYTES = 16 << 20
_MSG_WAITFORONE = 0x10000

_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iovec", ctypes.c_void_p),
        ("iovec_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("header", _Msghdr), ("length", ctypes.c_uint))


_SIZE = ctypes.sizeof(_Mmsghdr)


class _Batches:
    """An mmsghdr per buffer, in an array."""

    def __init__(self, buffers: Sequence[bytes | bytearray]) -> None:
        self._buffers = [(ctypes.c_char * len(buffer)).from_buffer_copy(buffer) for buffer in buffers]
        self._pieces = (_Iovec * len(buffers))()
        self._headers = (_Mmsghdr * len(buffers))()
        for piece, header, buffer in zip(self._pieces, self._headers, self._buffers, strict=True):
            piece.base, piece.length = ctypes.addressof(buffer), len(buffer)
            header.header.iovec, header.header.iovec_length = ctypes.addressof(piece), 1
        self._start = ctypes.addressof(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


class Outgoing(_Batches):
    """Messages to send on a connected socket, as often as wanted."""

    def send(self, sock: socket.socket, first: int, count: int) -> int:
        """How many of the messages from `first` left: all but for errors of the path, which are passed over.

        Raises OSError for what cannot pass.
        """
        done = _libc.sendmmsg(sock.fileno(), ctypes.c_void_p(self._start + first * _SIZE), count, 0)
        if done >= 0:
            return int(done)
        number = ctypes.get_errno()
        if number in (errno.EINTR, errno.ENOBUFS, errno.EAGAIN, errno.ECONNREFUSED):
            return 0
        raise OSError(number, os.strerror(number))


class Incoming(_Batches):
    """Room for a batch of messages of up to 2 KiB."""

    def __init__(self) -> None:
        super().__init__([bytes(2048)] * BATCH)

    def receive(self, sock: socket.socket) -> int:
        """How many have come, after at least one has; 0 when the socket's timeout has passed. Raises OSError."""
        got = _libc.recvmmsg(sock.fileno(), ctypes.c_void_p(self._start), len(self), _MSG_WAITFORONE, None)
        if got >= 0:
            return int(got)
        number = ctypes.get_errno()
        if number in (errno.EINTR, errno.EAGAIN):
            return 0
        raise OSError(number, os.strerror(number))


def open_socket(*, bind: tuple[str, int] | None = None, connect: tuple[str, int] | None = None) -> socket.socket:
    """A UDP socket over IPv4 with buffers of 16 MiB, whatever the system's limits are (CAP_NET_ADMIN)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    so_sndbufforce, so_rcvbufforce = 32, 33
    sock.setsockopt(socket.SOL_SOCKET, so_sndbufforce, BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, so_rcvbufforce, BUFFER_BYTES)
    if bind:
        sock.bind(bind)
    if connect:
        sock.connect(connect)
    return sock
