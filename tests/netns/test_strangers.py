"""Strangers change nothing: handshakes with the wrong papers, floods with the right IDs, a replay of everything."""

from __future__ import annotations

import itertools
import os
import random
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from ovng.clock import now
from ovng.demo.capture import Capture
from ovng.demo.deployment import COMMAND, SOURCE, Member
from ovng.demo.net import Host, run, wait_until
from ovng.ids import Locator, NodeID
from ovng.pki.trust import Trust
from ovng.session import events
from ovng.wire.header import Header, PacketType
from tests.netns.rig import PORT, Rig, Stream, conversation, deployed, deployed_among_strangers, ping, rss, say
from tests.netns.stranger import Flood, Forger, Stranger, impostor_from, trust_from

pytestmark = pytest.mark.root

SWITCH = Locator.of("192.0.2.1", PORT)
FLOOD_RATE = 20_000  # datagrams per second
MEMORY = 4 << 20  # bytes of growth that count as flat


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with deployed_among_strangers() as made:
        yield made


@pytest.fixture
def stranger(rig: Rig) -> Host:
    return rig.net.hosts[-1]


@pytest.fixture(scope="module")
def papers(rig: Rig) -> dict[str, Callable[[], Trust]]:
    """Wrong ones, by what is wrong: each is made to be shown under bob's or mallory's ID."""
    ca = rig.network.folder / "ca.crt"
    for name in ("carol", "mallory"):
        rig.network.ca("issue", name, "-o", f"{name}.ovng")
    elsewhere = rig.net.directory / "elsewhere"
    elsewhere.mkdir()
    words = ["init", "acme", "--prefix", "10.77.0.0/16", "--switch", f"192.0.2.1:{PORT}"]
    run("env", "-C", str(elsewhere), f"PYTHONPATH={SOURCE}", *COMMAND, "ca", *words)
    run("env", "-C", str(elsewhere / "acme"), f"PYTHONPATH={SOURCE}", *COMMAND, "ca", "issue", "bob", "-o", "bob.ovng")
    ours, theirs = rig.network.folder / "carol.ovng", elsewhere / "acme" / "bob.ovng"
    return {
        "no certificate": lambda: impostor_from(ours, ca, silent=True),
        "another CA's certificate": lambda: impostor_from(theirs, ca),
        "another node's certificate": lambda: impostor_from(ours, ca),
    }


WRONG = ["no certificate", "another CA's certificate", "another node's certificate"]


@pytest.mark.parametrize("wrong", WRONG)
def test_the_switch_attaches_no_stranger(
    rig: Rig, stranger: Host, papers: dict[str, Callable[[], Trust]], wrong: str
) -> None:
    before, table, granted = state(rig), rig.table(), rig.counter("attach_granted")
    with closing(Stranger(stranger, SWITCH, NodeID.parse(rig.bob.id), papers[wrong]())) as impostor:
        impostor.attach()
        assert impostor.run(lambda seen: any(isinstance(event, events.AttachFailed) for event in seen))
        (failure,) = (event for event in impostor.events if isinstance(event, events.AttachFailed))
        assert not impostor.run(lambda seen: any(isinstance(event, events.Attached) for event in seen), 0.5)
    say(f"with {wrong}, the Switch: {failure.reason} {failure.detail}")
    assert failure.reason in ("refused_by_peer", "peer_unknown_identity")
    assert rig.counter("attach_granted") == granted
    assert same_nodes(rig.table(), table)
    assert state(rig) == before


@pytest.mark.parametrize("wrong", WRONG)
def test_a_node_talks_to_no_stranger(
    rig: Rig, stranger: Host, papers: dict[str, Callable[[], Trust]], wrong: str
) -> None:
    """Mallory is attached, so the Switch forwards what she sends; at alice's she shows somebody else's papers."""
    mallory = trust_from(rig.network.folder / "mallory.ovng")
    me = mallory.identity.id
    before = state(rig)
    with closing(Stranger(stranger, SWITCH, me, mallory)) as honest:
        honest.attach()
        assert honest.run(lambda seen: any(isinstance(event, events.Attached) for event in seen))
        dishonest = Stranger(stranger, SWITCH, me, papers[wrong]())
        dishonest.socket.close()
        dishonest.socket = honest.socket  # a live locator of hers
        dishonest.connect(NodeID.parse(rig.alice.id))
        assert dishonest.run(lambda seen: any(isinstance(event, events.ConnectFailed) for event in seen))
        (failure,) = (event for event in dishonest.events if isinstance(event, events.ConnectFailed))
        assert not any(isinstance(event, events.SessionUp) for event in dishonest.events)
    say(f"with {wrong}, a node: {failure.reason} {failure.detail}")
    assert failure.reason in ("refused_by_peer", "peer_unknown_identity")
    assert str(me) not in rig.alice.sessions()
    assert state(rig) == before


def test_an_honest_stranger_would_have_come_in(rig: Rig, stranger: Host) -> None:
    """The same machinery with the right papers: the tests above refuse for the papers and nothing else."""
    mallory = trust_from(rig.network.folder / "mallory.ovng")
    with closing(Stranger(stranger, SWITCH, mallory.identity.id, mallory)) as honest:
        honest.attach()
        assert honest.run(lambda seen: any(isinstance(event, events.Attached) for event in seen))
        honest.connect(NodeID.parse(rig.alice.id))
        assert honest.run(lambda seen: any(isinstance(event, events.SessionUp) for event in seen))
        wait_until(lambda: str(mallory.identity.id) in rig.alice.sessions(), "the session at alice's")
        honest.manager.shutdown(now())
        assert honest.run(lambda _: not honest.manager.busy)
    wait_until(lambda: str(mallory.identity.id) not in rig.alice.sessions(), "end of the session")


def test_a_flood_changes_nothing(rig: Rig, stranger: Host) -> None:
    flood(rig, stranger, 100_000)


@pytest.mark.long
def test_a_long_flood_changes_nothing(rig: Rig, stranger: Host) -> None:
    flood(rig, stranger, 1_000_000)


def flood(rig: Rig, stranger: Host, count: int) -> None:
    """Half rubbish, half good headers with known IDs, from wrong and right sources, at a rate the machine can carry."""
    rig.meet()
    members = (rig.switch, *rig.nodes)
    locators = {node.name: rig.locator(node) for node in rig.nodes}
    with ExitStack() as stack:
        wrong = stack.enter_context(closing(Flood(stranger, SWITCH)))
        right = stack.enter_context(closing(Forger(rig.alice.host)))
        made = datagrams(rig, random.Random(1))

        def send(number: int) -> None:
            """Every fourth datagram comes from where alice is, the others from the stranger."""
            start, sent = now().mono, 0
            while sent < number:
                wrong.send(itertools.islice(made, 192))
                for datagram in itertools.islice(made, 64):
                    right.send(locators["alice"], SWITCH, datagram)
                sent += 256
                wait_until(lambda: now().mono - start > sent / FLOOD_RATE, "pace")  # noqa: B023

        send(count // 10)  # buffers, counters and limiters have their size
        before, table = state(rig), rig.table()
        memory = [resident(member) for member in members]
        received = rig.counter("received")
        with Stream(rig.alice, rig.bob, 200) as there, Stream(rig.bob, rig.alice, 200) as back:
            wait_until(lambda: there.count > 20 and back.count > 20, "streams")
            started = now().mono
            send(count)
            seconds = now().mono - started
            answers = wrong.answers()
            there.stop()
            back.stop()
        taken = rig.counter("received") - received
    growth = [resident(member) - size for member, size in zip(members, memory, strict=True)]
    say(f"{count} datagrams in {seconds:.1f} s, {taken} received; {len(answers)} hints; lost {there.lost()} of")
    say(f"{there.sent} there and {back.lost()} of {back.sent} back; grown by {[size >> 10 for size in growth]} KiB")
    assert taken >= count * 0.95, "the flood did not arrive, so it proves nothing"
    assert (there.lost(), back.lost()) == (0, 0)
    assert same_nodes(rig.table(), table)
    assert state(rig) == before
    assert max(growth) < MEMORY, "memory is not flat"
    assert len(answers) <= 2 + 60 * seconds, "more hints than the limits allow"


def test_a_replay_of_everything_changes_nothing(rig: Rig) -> None:
    """All frames of a run, handshakes and reports included, once more from where they came, in the same order."""
    captures = []
    with ExitStack() as stack:
        rig.bob.stop()
        wait_until(lambda: rig.bob.id not in rig.alice.sessions(), "end of the session")
        for node in rig.nodes:
            captures.append(Capture(rig.switch.host, node.name, filter=f"udp port {PORT}"))
        rig.bob.start()
        rig.bob.wait("attachment", attached=True)
        rig.meet()
        with Stream(rig.alice, rig.bob, 200) as stream:
            wait_until(lambda: stream.count > 200, "stream")
        assert all(capture.stop() == 0 for capture in captures)
        wires = {(host.name, device): stack.enter_context(wire(host, device)) for host, device in ends(rig)}
        before, table, delivered = state(rig), rig.table(), received_inner(rig)
        replayed = 0
        for node, capture in zip(rig.nodes, captures, strict=True):
            for frame in capture.packets():
                to_switch = frame[30:34] == SWITCH.address[12:]
                end = wires[(node.host.name, "switch") if to_switch else ("switch", node.name)]
                end.send(frame[:40] + b"\0\0" + frame[42:])  # a UDP checksum left to the card was never filled in
                replayed += 1
        wait_until(lambda: replays(rig) > 100, "replayed packets at the nodes")
        ping(rig.alice, rig.bob.addresses[0])
    after = received_inner(rig)
    say(f"replay of {replayed} frames: {replays(rig)} counted as replayed DATA, the rest under other reasons")
    assert replayed > 400
    assert all(new - old < 20 for new, old in zip(after, delivered, strict=True)), "replayed packets were delivered"
    assert same_nodes(rig.table(), table)
    assert state(rig) == before


def test_a_switch_that_names_the_wrong_node_gets_nothing_delivered_there() -> None:
    """Carol is a member as good as any; the Switch says that bob's address is hers."""
    marker = b"<<for bob alone>>"
    with deployed(start=False) as rig:
        carol_host = rig.net.host("carol")
        rig.net.join(rig.switch.host, carol_host, ["198.51.106.1/24"], ["198.51.106.2/24"])
        carol_host.default_via("198.51.106.1")
        carol = rig.network.node(carol_host, "carol")
        lie = f"{rig.bob.addresses[0]}={carol.id}"
        rig.switch.start(wrapper=[sys.executable, "-m", "tests.netns.lying_switch"], env={"LIE": lie})
        rig.switch.wait("Switch that serves", kind="switch")
        for node in (*rig.nodes, carol):
            node.start()
            node.wait("attachment", attached=True)
        at_carol = Capture(carol_host, "ovng0")
        at_bob = Capture(rig.bob.host, "ovng0")
        with rig.alice.host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(5):
                sender.sendto(marker, (rig.bob.addresses[0], 9))
            wait_until(lambda: count(rig.alice, "address_not_proven") > 0, "refusal of the answer")
        words = rig.alice.host.run("sh", "-c", f"ping -n -c 3 -i 0.2 -W 2 {rig.bob.addresses[0]} || true")
        assert "Unreachable" in words, words
        (session,) = rig.alice.status()["peers"]
        assert (session["id"], session["tx_packets"]) == (carol.id, 0)
        assert [peer["rx_packets"] for peer in carol.status()["peers"]] == [0]
        ping(rig.alice, carol.addresses[0])
        ping(rig.alice, rig.bob.addresses[1])  # about which it does not lie
        at_bob.stop()
        at_carol.stop()
        assert not at_carol.contains(marker)
        assert sum(1 for _ in at_carol.packets()) > 0, "the capture at carol's saw nothing at all"


# -- Means


def state(rig: Rig) -> list[list[tuple[Any, ...]]]:
    """What no stranger may change, as both nodes see it."""
    return [conversation(node.status()) for node in rig.nodes]


def same_nodes(after: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> bool:
    """Whether the Switch's table is the same but for the times that run."""
    running = ("grant_seconds", "lease_seconds")

    def facts(table: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {node: {k: v for k, v in entry.items() if k not in running} for node, entry in table.items()}

    return facts(after) == facts(before)


def count(member: Member, reason: str) -> int:
    """One of its counters."""
    return int(member.status()["counters"].get(reason, 0))


def replays(rig: Rig) -> int:
    """DATA that both nodes have counted as replayed."""
    return sum(count(node, "replay_duplicate") for node in rig.nodes)


def resident(member: Member) -> int:
    """Its resident memory in bytes."""
    assert member.process is not None
    return rss(member.process)


def datagrams(rig: Rig, rng: random.Random) -> Iterator[bytes]:
    """Without end: every other one rubbish, the rest with a good header, known IDs and a payload of no sense."""
    alice, bob, switch = (NodeID.parse(member.id) for member in (rig.alice, rig.bob, rig.switch))
    rubbish = os.urandom(1 << 16)
    heads = []
    for kind in PacketType:
        for src, dst in ((alice, bob), (bob, alice), (alice, switch), (bob, switch), (alice, NodeID(0))):
            for key_id in range(0, 256, 5):
                heads.append(Header(kind, key_id, 0, dst, src, rng.getrandbits(40)).pack())
    while True:
        size, at = rng.randrange(1, 300), rng.randrange(1 << 15)
        yield rubbish[at : at + size]
        yield rng.choice(heads) + rubbish[at : at + size]


def ends(rig: Rig) -> list[tuple[Host, str]]:
    """Both ends of both nodes' cables."""
    return [end for node in rig.nodes for end in ((node.host, "switch"), (rig.switch.host, node.name))]


def wire(host: Host, device: str) -> socket.socket:
    """A socket that puts whole frames on a device."""
    with host.inside():
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        made.bind((device, 0))
        return made


def received_inner(rig: Rig) -> list[int]:
    """Inner packets that each node has delivered."""
    return [sum(peer["rx_packets"] for peer in node.status()["peers"]) for node in rig.nodes]
