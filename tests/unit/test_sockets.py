"""UDP sockets: what they can do, and what a user reads when they cannot be had."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from ovng.errors import SystemProblem
from ovng.ids import Locator
from ovng.io.sockets import (
    SO_MARK,
    UdpSocket,
    check_port_free,
    enable_gro,
    grow_buffers,
    ipv6_available,
    open_udp,
    open_uplink,
    reply_from,
)
from tests.lacks import needs_marks, needs_told_device


@pytest.fixture
def opened() -> Iterator[list[UdpSocket]]:
    sockets: list[UdpSocket] = []
    yield sockets
    for udp in sockets:
        udp.sock.close()


@pytest.mark.parametrize(
    ("host", "v6_only", "family", "v4", "v6", "wildcard"),
    [
        ("::", False, socket.AF_INET6, True, True, True),
        ("::", True, socket.AF_INET6, False, True, True),
        ("::1", False, socket.AF_INET6, False, True, False),
        ("0.0.0.0", False, socket.AF_INET, True, False, True),
        ("127.0.0.1", False, socket.AF_INET, True, False, False),
    ],
)
def test_families(
    opened: list[UdpSocket], host: str, v6_only: bool, family: int, v4: bool, v6: bool, wildcard: bool
) -> None:
    udp = open_udp(host, 0, v6_only=v6_only)
    opened.append(udp)
    assert udp.sock.family == family
    assert (udp.reaches_v4, udp.reaches_v6, udp.wildcard) == (v4, v6, wildcard)
    assert not udp.sock.getblocking()
    assert not os.get_inheritable(udp.sock.fileno())
    for version, host in ((v4, "127.0.0.1"), (v6, "::1")):
        if version and wildcard:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"x", (host, udp.sock.getsockname()[1]))
                udp.sock.setblocking(True)
                udp.sock.settimeout(5)
                assert udp.sock.recv(10) == b"x"


def test_without_ipv6_the_wildcard_is_ipv4(opened: list[UdpSocket], monkeypatch: pytest.MonkeyPatch) -> None:
    assert ipv6_available()
    monkeypatch.setattr(socket, "has_ipv6", False)
    assert not ipv6_available()
    opened.append(open_udp("::", 0))
    assert opened[0].sock.family == socket.AF_INET
    assert (opened[0].reaches_v4, opened[0].reaches_v6, opened[0].wildcard) == (True, False, True)


def test_buffers_are_large(opened: list[UdpSocket]) -> None:
    factor = 4 if os.geteuid() == 0 else 1  # others get what the machine's limit allows
    opened.append(open_udp("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            usual = plain.getsockopt(socket.SOL_SOCKET, option)
            assert opened[0].sock.getsockopt(socket.SOL_SOCKET, option) >= factor * usual


def test_gro_is_a_matter_of_asking(opened: list[UdpSocket]) -> None:
    opened += [open_udp("127.0.0.1", 0), open_udp("127.0.0.1", 0, gro=False)]
    assert [udp.gro for udp in opened] == [True, False]
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        assert not enable_gro(tcp)


def test_a_port_in_use(opened: list[UdpSocket]) -> None:
    opened.append(open_udp("127.0.0.1", 0))
    port = opened[0].sock.getsockname()[1]
    with pytest.raises(SystemProblem, match=rf"^UDP 127.0.0.1:{port} is in use: stop the other process"):
        open_udp("127.0.0.1", port)
    with pytest.raises(SystemProblem, match="is in use"):
        open_udp("127.0.0.1", port, reuse_port=True)


def test_a_shared_port_is_found_out(opened: list[UdpSocket]) -> None:
    opened.append(open_udp("::1", 0, reuse_port=True))
    port = opened[0].sock.getsockname()[1]
    opened.append(open_udp("::1", port, reuse_port=True))
    with pytest.raises(SystemProblem, match=rf"^UDP \[::1\]:{port} is in use"):
        check_port_free("::1", port)
    check_port_free("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_of_another_machine(host: str) -> None:
    with pytest.raises(SystemProblem, match=f"^{host} is not an address of this machine: write one that is"):
        open_udp(host, 0)


@pytest.mark.parametrize("host", ["", "localhost", "1.2.3", "::g"])
def test_a_name_is_not_looked_up(host: str) -> None:
    with pytest.raises(SystemProblem, match="write a numeric address"):
        open_udp(host, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="changes to another user: needs root")
def test_what_only_root_may(opened: list[UdpSocket]) -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(SystemProblem, match=r"no permission to listen on UDP 127.0.0.1:80: run as root, or"):
            open_udp("127.0.0.1", 80)
        opened.append(open_udp("127.0.0.1", 0))
        grow_buffers(opened[0].sock)
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="beyond the machine's limit: needs root")
def test_buffers_grow_beyond_the_limit_and_nothing_else_changes(opened: list[UdpSocket]) -> None:
    opened.append(open_udp("127.0.0.1", 0))
    sock, size = opened[0].sock, 64 << 20
    grow_buffers(sock, size)
    options = (socket.SO_RCVBUF, socket.SO_SNDBUF, socket.SO_BROADCAST)
    assert [sock.getsockopt(socket.SOL_SOCKET, option) for option in options] == [2 * size, 2 * size, 0]


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
@pytest.mark.parametrize("local", ["127.0.0.9", "127.0.0.2"])
def test_an_answer_leaves_from_where_it_is_told(opened: list[UdpSocket], host: str, local: str) -> None:
    wildcard = "0.0.0.0" if host == "127.0.0.1" else "::"
    opened += [open_udp(wildcard, 0), open_udp("127.0.0.1", 0)]
    sender, receiver = opened[0].sock, opened[1].sock
    to = ("127.0.0.1" if sender.family == socket.AF_INET else "::ffff:127.0.0.1", receiver.getsockname()[1])
    sender.sendmsg([b"x"], reply_from(sender.family, Locator.of(local, 0).address), 0, to)
    receiver.settimeout(5)
    assert receiver.recvfrom(10) == (b"x", (local, sender.getsockname()[1]))
    assert reply_from(sender.family, bytes(16)) == []


@pytest.mark.parametrize("mark", [None, 7, 0xFFFFFFFF])
@pytest.mark.skipif(os.geteuid() != 0, reason="a mark needs root")
@needs_marks
@needs_told_device
def test_an_uplink_serves_one_interface(opened: list[UdpSocket], mark: int | None) -> None:
    opened += [open_uplink("lo", mark=mark or 0), open_udp("::", 0)]
    uplink, other = opened[0].sock, opened[1].sock
    assert uplink.getsockopt(socket.SOL_SOCKET, SO_MARK, 4) == (mark or 0).to_bytes(4, sys.byteorder)
    assert uplink.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
    other.setblocking(True)
    other.settimeout(5)
    for host in ("::ffff:127.0.0.1", "::1"):
        uplink.sendto(host.encode(), (host, other.getsockname()[1]))
        assert other.recvfrom(100)[0] == host.encode()


@pytest.mark.parametrize("interface", ["", "nosuch0", "a-name-with-more-letters"])
def test_an_uplink_that_is_not_there(interface: str) -> None:
    with pytest.raises(SystemProblem, match=rf"^there is no interface '{interface}': `ip link` shows"):
        open_uplink(interface)


@pytest.mark.skipif(os.geteuid() != 0, reason="changes to another user: needs root")
@needs_marks
def test_an_uplink_with_a_mark_needs_permission() -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(SystemProblem, match="no permission to use the interface 'lo' alone: run as root"):
            open_uplink("lo", mark=7)
    finally:
        os.seteuid(0)
