"""Keys end: a live node is revoked, and keys are replaced every few seconds under traffic without a lost packet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from ovng.clock import now
from ovng.demo.net import wait_until
from tests.netns.rig import Iperf, Rig, Stream, deployed, ping, say

pytestmark = pytest.mark.root

REKEY = "rekey_seconds: 5"


def test_a_live_node_is_revoked() -> None:
    with deployed() as rig:
        rig.meet()
        carol_host = rig.net.host("carol")
        rig.net.join(rig.switch.host, carol_host, ["198.51.106.1/24"], ["198.51.106.2/24"])
        carol_host.default_via("198.51.106.1")
        carol = rig.network.node(carol_host, "carol")
        carol.start()
        carol.wait("attachment", attached=True)
        for node in rig.nodes:
            ping(node, carol.addresses[0])
        assert set(rig.alice.sessions()) == {rig.bob.id, carol.id}
        kept = rig.alice.sessions()[carol.id]
        bob = rig.bob.process
        assert bob is not None

        rig.network.ca("revoke", "bob")
        rig.switch.reload()
        revoked = now().mono
        wait_until(lambda: rig.bob.id not in rig.alice.sessions(), "end of alice's session", 5)
        wait_until(lambda: rig.bob.id not in carol.sessions(), "end of carol's session", 5)
        wait_until(lambda: rig.bob.id not in rig.table(), "end of bob's attachment", 5)
        wait_until(lambda: bob.status is not None, "end of the revoked node", 5)
        took = now().mono - revoked
        assert took < 5.0
        assert bob.status == 3
        assert "this node's certificate was revoked" in bob.output.splitlines()[-1]
        for node in (rig.alice, carol):
            assert node.process is not None
            assert f"session with {rig.bob.id} ended (revoked)" in node.process.output
        assert {node.status()["crl_number"] for node in (rig.alice, carol)} == {1}
        assert rig.switch.status()["crl_number"] == 1
        assert rig.alice.sessions() == {carol.id: kept}, "another session suffered"
        say(f"revocation: sessions ended everywhere and the node told after {took:.2f} s")

        again = rig.bob.start()
        assert again.wait(20) == 3, "a revoked node came back"
        assert "this node's certificate was revoked" in again.output.splitlines()[-1]
        assert rig.bob.id not in rig.table()


@pytest.fixture(scope="module")
def quick() -> Iterator[Rig]:
    """Both nodes replace keys every 5 s."""
    with deployed(alice=REKEY, bob=REKEY) as made:
        yield made


@pytest.mark.alone
def test_rekeying_loses_no_packet(quick: Rig) -> None:
    rekey(quick, 20)


@pytest.mark.long
def test_rekeying_loses_no_packet_for_a_minute(quick: Rig) -> None:
    rekey(quick, 60)


def rekey(rig: Rig, seconds: float) -> None:
    """Numbered datagrams both ways and a TCP transfer that leaves the machine air, over several generations."""
    session = rig.meet()[rig.bob.id]
    first = rig.alice.status()["peers"][0]["generation"]
    before, traffic = counters(rig), packets(rig)
    transfer = Iperf(rig.alice, rig.bob, seconds, "-b", "50M")
    with Stream(rig.alice, rig.bob, 1000) as there, Stream(rig.bob, rig.alice, 1000) as back:
        report = transfer.finish()["end"]
        there.stop()
        back.stop()
    (peer,) = rig.alice.status()["peers"]
    generations = peer["generation"] - first
    sent_there, received_there, sent_back, received_back = (
        new - old for new, old in zip(packets(rig), traffic, strict=True)
    )
    lost, rate = sent_there - received_there + sent_back - received_back, report["sum_received"]["bits_per_second"]
    say(f"{generations} rekeys in {seconds} s: {there.lost()} of {there.sent}, {back.lost()} of {back.sent} datagrams")
    say(f"lost, TCP at {rate / 1e6:.0f} Mbit/s; {lost} of all {sent_there + sent_back} packets")
    counted = {name: count - before[name] for name, count in counters(rig).items() if count != before[name]}
    assert peer["session"] == session
    assert generations >= seconds // 5 - 1
    assert (there.lost(), back.lost()) == (0, 0), f"{there.gaps()}, {back.gaps()}; {counted}"
    assert there.duplicates == back.duplicates == 0
    assert (sent_there, sent_back) == (received_there, received_back), counted
    assert sent_there > there.sent + report["sum_received"]["bytes"] // 1400
    for node in rig.nodes:
        (link,) = json.loads(node.host.ip("-json", "-statistics", "link", "show", "dev", "ovng0"))
        assert (link["stats64"]["tx"]["dropped"], link["stats64"]["rx"]["dropped"]) == (0, 0)


def packets(rig: Rig) -> list[int]:
    """Sent by alice and received by bob, sent by bob and received by alice; once nothing is on its way."""

    def counts() -> list[int]:
        ends = [
            (node.status()["peers"][0]["tx_packets"], node.status()["peers"][0]["rx_packets"]) for node in rig.nodes
        ]
        return [ends[0][0], ends[1][1], ends[1][0], ends[0][1]]

    last: list[list[int]] = [[]]

    def settled() -> bool:
        previous, last[0] = last[0], counts()
        return previous == last[0]

    wait_until(settled, "end of the traffic")
    return last[0]


def counters(rig: Rig) -> Counter[str]:
    """Everything that either node and the Switch count, by member and reason."""
    members = (rig.switch, rig.alice, rig.bob)
    return Counter({f"{m.name} {name}": n for m in members for name, n in m.status()["counters"].items()})
