"""Splitting of netlink datagrams: aligned, cut, lying about their length."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.io.rtnetlink import (
    RTM_GETADDR,
    RTM_GETROUTE,
    Message,
    Raw,
    RouteQuery,
    RouteSocket,
    _without_age,
    split,
)


def message(kind: int, body: bytes, sequence: int = 7, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def test_several_with_padding() -> None:
    one, two = message(16, b"abcde", 1, 2), message(20, b"", 3)
    assert list(split(one + b"\0\0\0" + two)) == [(Raw(16, one), 1, 2), (Raw(20, two), 3, 0)]


def test_the_last_needs_no_padding() -> None:
    assert list(split(message(16, b"x"))) == [(Raw(16, message(16, b"x")), 7, 0)]


def test_nothing() -> None:
    assert list(split(b"")) == []


def test_what_is_cut_is_told() -> None:
    whole = message(16, b"abcd")
    for length in range(1, len(whole)):
        assert list(split(whole[:length])) == [(Raw(0, whole[:length]), 0, 0)]


def test_a_length_that_lies() -> None:
    for length in (0, 15, 17, 0xFFFFFFFF):
        data = struct.pack("=IHHII", length, 16, 0, 1, 0)
        assert list(split(data)) == [(Raw(0, data), 0, 0)]


@given(st.binary(max_size=200))
def test_any_bytes_come_to_an_end(data: bytes) -> None:
    parts = list(split(data))
    assert sum(len(raw.data) for raw, _, _ in parts) <= len(data)
    assert all(raw.data for raw, _, _ in parts)


INTERRUPTED = 0x10


def address(last: int, sequence: int, flags: int = 0) -> bytes:
    """An RTM_NEWADDR of 192.0.2.`last`, padded as it is."""
    return message(20, struct.pack("=BBBBIHH4B", 2, 24, 0, 0, 3, 8, 2, 192, 0, 2, last), sequence, flags)


@contextmanager
def told(*tries: list[bytes]) -> Iterator[RouteSocket]:
    """A socket whose dumps the kernel answers so, one after the other."""
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with kernel, contextlib.closing(RouteSocket()) as route_socket:
        route_socket._socket.close()
        route_socket._socket = ours
        for sequence, entries in enumerate(tries, 1):
            kernel.send(b"".join([*entries, message(3, bytes(4), sequence)]))
        yield route_socket


def addresses(route_socket: RouteSocket) -> list[Message]:
    return route_socket.dump(RTM_GETADDR)


def dumped(*tries: list[bytes]) -> tuple[list[str], int]:
    """The addresses that a dump gives when the kernel answers its tries so, and how often it was torn."""
    with told(*tries) as route_socket:
        found = addresses(route_socket)
        return sorted(entry.get_attr("IFA_LOCAL") for entry in found), route_socket.torn


def test_a_dump_that_is_interrupted_is_asked_for_again() -> None:
    assert dumped([address(1, 1, INTERRUPTED), address(2, 1)], [address(3, 2)]) == (["192.0.2.3"], 0)


def test_a_table_that_never_stands_still_is_what_was_seen_of_it() -> None:
    """Each try may miss an entry, or tell one twice."""
    tries = [[address(1 + number % 2, number, INTERRUPTED)] * 2 for number in range(1, 5)]
    assert dumped(*tries) == (["192.0.2.1", "192.0.2.2"], 1)


def test_what_was_told_before_is_not_decoded_again() -> None:
    """Each look asks for whole tables, and a move waits for it."""
    with told([address(1, 1), address(2, 1)], [address(1, 2), address(3, 2)], [address(2, 3)]) as route_socket:
        first, second, third = (addresses(route_socket) for _ in range(3))
    assert second[0] is first[0]
    assert [entry.get_attr("IFA_LOCAL") for entry in second] == ["192.0.2.1", "192.0.2.3"]
    assert third[0] is not first[1], "only of the last dump"


def route(interface: int, used: int, sequence: int) -> bytes:
    """An RTM_NEWROUTE by that interface, last used so long ago."""
    fixed = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 0, 0, 1, 0)
    age = struct.pack("=HHIiiIIIII", 36, 12, 1, used, 0, 0, 0, 0, 0, 0)
    return message(24, fixed + age + struct.pack("=HHI", 8, 4, interface), sequence)


def test_a_route_like_the_last_is_not_decoded_again() -> None:
    """The kernel says of each when it was used last."""
    with told([route(3, 10, 1)], [route(3, 20, 2)], [route(4, 20, 3)], []) as route_socket:
        query = RouteQuery(route_socket, route_socket.message(RTM_GETROUTE, family=2))
        first, second, third = (query.ask() for _ in range(3))
        assert second is first
        assert (first.get_attr("RTA_OIF"), third.get_attr("RTA_OIF")) == (3, 4)
        with pytest.raises(OSError, match="no answer"):
            query.ask()


@given(st.binary(max_size=100))
def test_any_attributes_come_to_an_end(data: bytes) -> None:
    assert len(_without_age(data)) <= len(data)
