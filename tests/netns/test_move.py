"""Addresses change under running transfers: no session notices, and nothing goes to the old address any more."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise

import pytest

from ovng.clock import now
from ovng.demo.capture import Capture
from ovng.demo.deployment import Member
from ovng.demo.net import Host, wait_until
from tests.netns.rig import Iperf, Rig, Stream, conversation, deployed, host_of, ping, say

pytestmark = pytest.mark.root

MOVE_WINDOW = 0.010


@pytest.fixture(scope="module", params=[4, 6], ids=["outer-v4", "outer-v6"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with deployed(outer=request.param) as made:
        yield made


def test_one_node_moves_under_iperf(rig: Rig) -> None:
    rig.meet()
    before = [conversation(node.status()) for node in rig.nodes]
    old = rig.where(rig.alice)
    transfer = Iperf(rig.alice, rig.bob, 4, "-b", "200M")
    wait_until(lambda: rig.bob.status()["peers"][0]["rx_packets"] > 1000, "transfer")
    move = rig.readdress(rig.alice)
    moved = now().mono
    move()
    rig.seen_at(rig.alice)
    in_table = now().mono - moved
    assert transfer.running, "the transfer was over before the move was"
    silent(rig, rig.alice, old)
    report = transfer.finish()
    assert [conversation(node.status()) for node in rig.nodes] == before
    assert rates(report)[-5:].count(0) == 0, "the transfer stands still after the move"
    say(f"one move, v{rig.outer}: {gap(rig.alice):.0f} ms until told, {in_table * 1000:.0f} ms until in the table,")
    say(f"iperf3 stood still for {standstill(report):.1f} s, {report['end']['sum_received']['bytes'] >> 20} MiB in all")


def test_a_move_costs_few_packets(rig: Rig) -> None:
    """What a move loses is what was on its way; numbered datagrams both ways tell how much that is."""
    rig.meet()
    with Stream(rig.alice, rig.bob, 500) as there, Stream(rig.bob, rig.alice, 500) as back:
        wait_until(lambda: there.count > 100 and back.count > 100, "streams")
        move = rig.readdress(rig.alice)
        moved = now().mono
        move()
        rig.seen_at(rig.alice)
        count = there.count, back.count
        wait_until(lambda: there.count > count[0] + 200 and back.count > count[1] + 200, "streams after the move")
        for stream in (there, back):
            stream.stop()
    silences = there.longest_silence(moved), back.longest_silence(moved)
    assert max(silences) < 1.0
    assert there.duplicates == back.duplicates == 0
    say(f"a move, v{rig.outer} outside: gap {gap(rig.alice):.0f} ms; silence {silences[0] * 1000:.0f} ms there,")
    say(f"{silences[1] * 1000:.0f} ms back; {there.lost()} and {back.lost()} of 500 packets per second lost")


@pytest.mark.alone
def test_both_nodes_move_at_once_under_iperf(rig: Rig) -> None:
    rig.meet()
    before = [conversation(node.status()) for node in rig.nodes]
    transfer = Iperf(rig.alice, rig.bob, 5)
    received = rig.bob.status()["peers"][0]["rx_packets"]
    wait_until(lambda: rig.bob.status()["peers"][0]["rx_packets"] > received + 1000, "transfer")
    for _ in range(6):  # a busy machine may need more than one try to move both so close together
        within = move_both(rig)
        for node in rig.nodes:
            rig.seen_at(node)
        if within < MOVE_WINDOW:
            break
    assert transfer.running, "the transfer was over before the moves were"
    report = transfer.finish()
    assert [conversation(node.status()) for node in rig.nodes] == before
    assert rates(report)[-5:].count(0) == 0, "the transfer stands still after the moves"
    assert within < MOVE_WINDOW, f"this machine could not move both within 10 ms, but in {within * 1000:.1f} ms"
    for node in rig.nodes:
        assert node.process is not None
        assert re.search(r"moved: the Switch sees .* \d+ ms after the change", node.process.output)
    say(f"both within {within * 1000:.1f} ms, v{rig.outer}: {gap(rig.alice):.0f} and {gap(rig.bob):.0f} ms until told,")
    say(f"iperf3 stood still for {standstill(report):.1f} s, {report['end']['sum_received']['bytes'] >> 20} MiB in all")


def test_a_nat_forgets() -> None:
    """The NAT before alice loses its table and gives another port: her next packet heals both directions."""
    with deployed() as rig, ExitStack() as stack:
        put_behind_nat(rig, ports="40000-40999")
        rig.meet()
        before = [conversation(node.status()) for node in rig.nodes]
        (first, *_) = rig.table()[rig.alice.id]["locators"]
        assert 40_000 <= int(first.rpartition(":")[2]) <= 40_999, f"not behind the NAT: {first}"
        there = stack.enter_context(Stream(rig.alice, rig.bob, 200))
        back = stack.enter_context(Stream(rig.bob, rig.alice, 200))
        wait_until(lambda: there.count > 50 and back.count > 50, "streams")
        translate(rig.net.hosts[-1], "50000-50999")
        rebound = now().mono
        wait_until(lambda: port_of(rig, rig.alice) in range(50_000, 51_000), "the new port in the Switch's table")
        settled = now().mono
        wait_until(lambda: back.later(settled) > 20 and there.later(settled) > 20, "traffic both ways after it")
        there.stop()
        back.stop()
        assert [conversation(node.status()) for node in rig.nodes] == before
        assert back.longest_silence(rebound) < 2.0 and there.longest_silence(rebound) < 2.0
        say(
            f"NAT rebinding: silence {there.longest_silence(rebound) * 1000:.0f} ms there,"
            f" {back.longest_silence(rebound) * 1000:.0f} ms back"
        )


# -- Means


def move_both(rig: Rig) -> float:
    """Move both at once; the time from before the first change to after the second, in seconds."""
    moves = [rig.readdress(node) for node in rig.nodes]
    threads = [threading.Thread(target=move) for move in moves]
    started = now().mono
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return now().mono - started


def silent(rig: Rig, node: Member, address: str, packets: int = 2_000) -> None:
    """While traffic goes on, nothing to or from `address` is on the node's cable."""
    capture = Capture(rig.switch.host, node.name, snaplen=96, filter=f"udp and host {address}")
    start = rig.bob.status()["peers"][0]["rx_packets"]
    wait_until(lambda: rig.bob.status()["peers"][0]["rx_packets"] > start + packets, "traffic after the move")
    assert capture.stop() == 0
    seen = sum(1 for _ in capture.packets())
    assert seen == 0, f"{seen} packets on the old path after the move"


def gap(node: Member) -> float:
    """Milliseconds of its last move, as its status tells."""
    last = node.status()["locators"][-1]
    assert last["gap_ms"] is not None
    return float(last["gap_ms"])


def rates(report: dict[str, object]) -> list[float]:
    """Bits per second of each tenth of a second."""
    intervals = report["intervals"]
    assert isinstance(intervals, list)
    return [entry["sum"]["bits_per_second"] for entry in intervals]


def standstill(report: dict[str, object]) -> float:
    """The longest row of tenths of a second in which nothing went, in seconds."""
    busy = [index for index, rate in enumerate(rates(report)) if rate > 0]
    return max((b - a - 1 for a, b in pairwise(busy)), default=0) / 10


def port_of(rig: Rig, node: Member) -> int:
    """The port at which the Switch reaches it."""
    entry = rig.table()[node.id]
    return int(entry["locators"][0].rpartition(":")[2]) if entry["locators"] else 0


def put_behind_nat(rig: Rig, ports: str) -> None:
    """Alice goes onto a private network behind a new host, which has her old place."""
    nat = rig.net.host("nat")
    alice = rig.alice.host
    alice.ip("link", "delete", "switch")
    rig.net.join(rig.switch.host, nat, ["198.51.100.1/24"], ["198.51.100.2/24"])
    rig.net.join(nat, alice, ["192.168.1.1/24"], ["192.168.1.2/24"])
    nat.default_via("198.51.100.1")
    nat.forward()
    translate(nat, ports)
    alice.default_via("192.168.1.1")
    wait_until(lambda: host_of(rig.table()[rig.alice.id]["active"]) == "198.51.100.2", "alice behind the NAT")
    wait_until(lambda: port_of(rig, rig.alice) in range(40_000, 41_000), "the NAT's port in the Switch's table")
    ping(rig.alice, rig.bob.addresses[0])


def translate(nat: Host, ports: str) -> None:
    """Masquerade to these ports from now on; what was known of running flows is forgotten."""
    nat.run("sh", "-c", "nft delete table ip nat 2>/dev/null || true")
    nat.nft(
        f"table ip nat {{ chain out {{ type nat hook postrouting priority 100;"
        f" oifname switch meta l4proto udp masquerade to :{ports}; }}\n}}\n"
    )
    with nat.inside(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter:  # NETLINK_NETFILTER
        delete, request_ack = 1 << 8 | 2, 5  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE; without attributes: all
        netfilter.send(struct.pack("=IHHII", 20, delete, request_ack, 1, 0) + struct.pack("=BBH", 0, 0, 0))
        answer = netfilter.recv(4096)
        (error,) = struct.unpack_from("=i", answer, 16)
        assert error == 0, f"conntrack was not flushed: {error}"
