"""Two real data paths over TUN and a veth: what applications send on one side is what they get on the other."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from ovng._fast import frame
from ovng._fast.udp import gso_limit
from ovng.errors import SystemProblem
from ovng.ids import NodeID
from ovng.io.tun import open_tun
from tests.netns.pair import AES, CHACHA, PORT, End, pair, rekey, switch_over, until
from tests.unit.packets import icmp_echo

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and TUN"),
]

ALL = ("vnet_hdr", "tso", "uso", "gso", "gro")
SECONDS = 30.0
SO_RCVBUFFORCE = 33
BLOCK = bytes(range(256)) * 4096


def transfer(sender: End, receiver: End, size: int, version: int = 4) -> None:
    """Send `size` bytes by TCP; the far end's SHA-256 must be ours."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    where = receiver.inner if version == 4 else receiver.inner6
    expected, received = hashlib.sha256(), hashlib.sha256()
    got = 0
    with receiver.open_socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((where, 0))
        listener.listen()
        listener.settimeout(SECONDS)
        with sender.open_socket(family, socket.SOCK_STREAM) as out:
            out.settimeout(SECONDS)
            out.connect(listener.getsockname()[:2])
            accepted, _ = listener.accept()

            def feed() -> None:
                left = size
                while left > 0:
                    piece = BLOCK[: min(left, len(BLOCK))]
                    expected.update(piece)
                    out.sendall(piece)
                    left -= len(piece)
                out.shutdown(socket.SHUT_WR)

            feeder = threading.Thread(target=feed)
            feeder.start()
            with accepted:
                accepted.settimeout(SECONDS)
                while piece := accepted.recv(1 << 20):
                    received.update(piece)
                    got += len(piece)
            feeder.join()
    assert got == size
    assert received.digest() == expected.digest()


def datagrams(sender: End, receiver: End, sizes: list[int]) -> None:
    """Send one UDP datagram of each size and expect the same on the other side, in order."""
    with (
        receiver.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        sender.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        sink.bind((receiver.inner, 0))
        sink.settimeout(SECONDS)
        for size in sizes:
            out.sendto(bytes([size % 251]) * size, sink.getsockname())
            assert sink.recv(70_000) == bytes([size % 251]) * size


def segmented(sender: End, receiver: End, size: int, count: int, version: int = 4) -> None:
    """An application that uses UDP GSO itself: one send of `count` datagrams, which must arrive as such."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with (
        receiver.open_socket(family, socket.SOCK_DGRAM) as sink,
        sender.open_socket(family, socket.SOCK_DGRAM) as out,
    ):
        sink.bind((receiver.inner if version == 4 else receiver.inner6, 0))
        sink.settimeout(SECONDS)
        data = os.urandom(size * count - size // 2)
        out.connect(sink.getsockname())
        out.sendmsg([data], [(17, 103, struct.pack("=H", size))])  # SOL_UDP, UDP_SEGMENT
        assert b"".join(sink.recv(size) for _ in range(count)) == data


@pytest.mark.parametrize("cipher", [AES, CHACHA])
def test_ping_both_ways(cipher: int) -> None:
    with pair(cipher=cipher) as (a, b):
        for here, there in ((a, b), (b, a)):
            for address in (there.inner, there.inner6):
                here.run("ping", "-c", "3", "-i", "0.05", "-W", "5", address)
        assert not set(a.drops) - {"local_noise"}
        assert ("first_receive", b.id, 1) in a.events()


@pytest.mark.parametrize(
    "off", [(), *((name,) for name in ALL), ALL], ids=lambda off: "no_" + "_".join(off) if off else "all"
)
def test_traffic_with_every_offload_off_in_turn(off: tuple[str, ...]) -> None:
    with pair(dict.fromkeys(off, False)) as (a, b):
        transfer(a, b, 40_000_000)
        transfer(b, a, 10_000_000)
        transfer(a, b, 10_000_000, version=6)
        datagrams(a, b, [1, 2, 100, 1371, 1372, 1373, 5000, 65_000])  # the large ones as inner fragments
        segmented(a, b, 1000, 20)
        stats = a.path.stats()
        missing = {*off, "tso", "uso"} if "vnet_hdr" in off else set(off)
        assert stats["offloads"] == {name: name not in missing for name in ALL} | {"timestamps": False}
        assert not {*a.drops, *b.drops} - {"local_noise"}
        if not off:  # super-packets are the unit of work, or it would not be worth it
            assert stats["sent_packets"] > 10 * stats["tun_reads"]
            assert stats["sent_packets"] > 10 * stats["sent_messages"]
            assert b.path.stats()["received_packets"] > 5 * b.path.stats()["tun_writes"]


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("gro", [True, False], ids=["gro", "no_gro"])
@pytest.mark.parametrize("segments", [128, 64, 1])
@pytest.mark.parametrize(
    "tun", [(), ("vnet_hdr",), ("vnet_hdr", "tso"), ALL[:3]], ids=lambda on: "_".join(on) or "bare"
)
def test_what_older_kernels_have(tun: tuple[str, ...], segments: int, gro: bool, outer: int) -> None:
    """Every step down that a kernel or a device may take: streams whole, datagrams whole and in order, checksums good.

    The receiver's kernel verifies checksums: damage would show as a stream that does not end, or a datagram that stays
    away.
    """
    offloads = {name: name in tun for name in ALL[:3]} | {"gro": gro}
    with pair(offloads, outer=outer, segments_max=segments) as (a, b):
        for version in (4, 6):
            transfer(a, b, 2_000_000, version)
            segmented(a, b, 1000, 20, version)
        datagrams(a, b, [1, 1372, 1373, 5000])
        stats = a.path.stats()
        assert stats["offloads"] == offloads | {"gso": segments > 1, "timestamps": False}
        assert stats["gso_segments"] == min(segments, gso_limit())
        assert not {*a.drops, *b.drops} - {"local_noise"}


def test_rekey_under_load_loses_nothing() -> None:
    """A new generation every 200 packets; the old ones receive for a while, as the session layer keeps them.

    At most 200 packets are on their way, so that no queue overflows: what is missing the rekey has lost.
    """
    count, window = 40_000, threading.Semaphore(200)
    with pair() as (a, b), b.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)  # the default holds fewer than 200
        sink.bind((b.inner, 0))
        sink.settimeout(SECONDS)

        def feed() -> None:
            with a.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                out.connect(sink.getsockname())
                for number in range(count):
                    if not window.acquire(timeout=SECONDS):
                        return
                    out.send(number.to_bytes(4, "big"))

        feeder = threading.Thread(target=feed)
        feeder.start()
        received = set()
        for number in range(count):
            if number % 200 == 199:
                key_id = number // 200 % 250 + 2
                b.path.retire_receive(a.id, (key_id - 4) % 256)
                rekey(a, b, key_id)
                switch_over(a, b, key_id)
            received.add(sink.recv(8))  # a veth may reorder when its sender changes processors
            window.release()
        feeder.join()
        assert len(received) == count
        assert not {*a.drops, *b.drops} - {"local_noise"}


def test_strangers_on_the_wire_change_nothing() -> None:
    """Replays of a capture, forgeries and rubbish by the thousand while a transfer runs."""
    with pair() as (a, b), a.host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tap:
            tap.bind((a.link, 3))
            tap.settimeout(SECONDS)
            a.run("ping", "-c", "5", "-i", "0.01", "-W", "5", b.inner)
            captured: list[bytes] = []
            while len(captured) < 5:
                ethernet = tap.recv(70_000)
                datagram = ethernet[42:]  # Ethernet 14, IPv4 20, UDP 8
                header = frame.parse(datagram)
                if ethernet[23] == socket.IPPROTO_UDP and isinstance(header, tuple) and header[4] == a.id:
                    captured.append(datagram)
        stop = threading.Event()

        def flood() -> None:
            where = (b.outer, PORT)
            while not stop.is_set():
                for datagram in captured:
                    stranger.sendto(datagram, where)
                    stranger.sendto(datagram[:-1], where)
                    # As new, but nobody can seal it.
                    stranger.sendto(datagram[:20] + (1 << 28).to_bytes(8, "big") + datagram[28:], where)
                    stranger.sendto(datagram[:20], where)
                    stranger.sendto(datagram[:12] + os.urandom(8) + datagram[20:], where)
                    stranger.sendto(os.urandom(100), where)

        flooder = threading.Thread(target=flood)
        flooder.start()
        try:
            transfer(a, b, 20_000_000)
        finally:
            stop.set()
            flooder.join()
        drops = b.drops
        assert {"replay_duplicate", "aead_forged", "too_short", "no_session"} <= set(drops)
        assert drops["no_session"] > 100
        allowed = 100 * 40  # unknown_data events per second, for longer than this test may run
        assert sum(event[0] == "unknown_data" for event in b.events()) < allowed
        b.run("ping", "-c", "1", "-W", "5", a.inner)


def test_datagrams_above_the_outer_mtu_are_fragmented() -> None:
    """GSO of such is refused by the kernel: sent singly, and given up on this path when it keeps happening."""
    with pair() as (a, b):
        for end in (a, b):
            end.host.ip("link", "set", "dev", end.link, "mtu", "1300")
        transfer(a, b, 10_000_000)
        assert not a.path.stats()["offloads"]["gso"]
        assert not set(a.drops) - {"local_noise"}
        a.path.set_path(0, a.socket, a.switch)  # a new network is a new chance
        assert a.path.stats()["offloads"]["gso"]


def test_interface_down_and_up_again() -> None:
    with pair() as (a, b):
        a.run("ping", "-c", "1", "-W", "5", b.inner)
        a.run("ip", "link", "set", "ovng0", "down")
        b.path.inject(icmp_echo(b.inner, a.inner))
        until(lambda: a.drops.get("tun_write"))
        a.run("ip", "link", "set", "ovng0", "up")
        a.run("ping", "-c", "1", "-W", "5", b.inner)


def test_interface_that_is_deleted_does_not_burn_the_processor() -> None:
    with pair() as (a, _):
        a.run("ip", "link", "del", "ovng0")
        until(lambda: a.path.stats()["tun_error"])
        began = time.process_time()
        select.select([], [], [], 0.5)
        assert time.process_time() - began < 0.25


def test_nothing_is_left() -> None:
    """No thread, descriptor, interface or namespace outlives the data path."""

    def left() -> tuple[int, int, set[str]]:
        namespaces = Path("/run/netns")
        names = (
            {path.name for path in namespaces.iterdir() if "nodeloop" in path.name} if namespaces.exists() else set()
        )
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), names

    with pair():
        pass
    before = left()
    with pair() as (a, b):
        transfer(a, b, 1_000_000)
        a.path.stop()
        a.tun.close()
        assert "ovng0" not in a.host.devices()
    assert left() == before


def test_tun_problems_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pair(start=False) as (a, _), a.host.inside():
        with pytest.raises(SystemProblem, match="ovng0 exists already"):
            open_tun("ovng0")
        with pytest.raises(SystemProblem, match="lo exists already"):
            open_tun("lo")
    for name in ("", "a" * 16, "a b", "a/b"):
        with pytest.raises(SystemProblem, match="not an interface name"):
            open_tun(name)
    monkeypatch.setattr("ovng.io.tun.DEVICE", str(tmp_path / "missing"))
    with pytest.raises(SystemProblem, match="modprobe tun"):
        open_tun("ovng0")


def test_ids_are_whole() -> None:
    """All 64 bits of an ID count: a peer whose ID differs in one bit is a stranger."""
    with pair() as (a, b), a.host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        near = NodeID(a.id ^ 1 << 63)
        stranger.sendto(frame.build(1, 1, 0, b.id, near, 1) + bytes(60), (b.outer, PORT))
        until(lambda: b.drops.get("no_session") == 1)
        assert ("unknown_data", near) in b.events()
