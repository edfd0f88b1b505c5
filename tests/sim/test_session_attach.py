"""Attachment of nodes to the Switch by TLS: over loss, from other places, refused, and by a Switch that is none."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ovng.ids import Locator
from ovng.session.events import Attached, AttachFailed, AttachRequested, AttachSettled
from ovng.wire.header import Header, PacketType
from ovng.wire.inner import Attach, Close, CloseReason, Grant, GrantStatus, Inner, Ping, Pong
from tests.pki_fixture import Network as Ca
from tests.sim.harness import Host, World
from tests.sim.network import CALM, LOSS_30, LOSS_50, ROUGH, Weather

START = Attach(1, 0, 0xABCD, 25)


def grant_to(request: AttachRequested, status: GrantStatus = GrantStatus.GRANTED) -> Grant:
    return Grant(status, 1, 86_400, 77, Locator.unpack(request.context), 0, b"ticket")


def network_of(ca: Ca, seed: int = 1, weather: Weather = CALM, nodes: int = 1) -> tuple[World, Host, list[Host]]:
    """A Switch that grants all, and nodes."""
    world = World(seed, weather)
    switch = world.add(ca.switch())
    switch.grants = grant_to
    return world, switch, [world.add(ca.node()) for _ in range(nodes)]


def attach(node: Host, request: Attach = START) -> None:
    node.manager.attach(node.world.now, request)
    node.drain()


def attached(node: Host) -> list[Attached]:
    return [event for event in node.events if isinstance(event, Attached)]


def failures(node: Host) -> list[AttachFailed]:
    return [event for event in node.events if isinstance(event, AttachFailed)]


@pytest.mark.parametrize("weather", [CALM, LOSS_30, LOSS_50, ROUGH], ids=["calm", "30%", "50%", "rough"])
@pytest.mark.parametrize("seed", range(5))
def test_both_ends_share_the_masters(ca: Ca, weather: Weather, seed: int) -> None:
    world, switch, (node,) = network_of(ca, seed, weather)
    attach(node)
    assert world.run(60, lambda: bool(attached(node) and switch.settled()))
    (mine,), (theirs,) = attached(node), switch.settled()
    assert mine.switch_id == switch.id and theirs.node_id == node.id
    assert (mine.report_master, mine.private_master) == (theirs.report_master, theirs.private_master)
    assert mine.report_master != mine.private_master
    assert mine.grant == Grant(0, 1, 86_400, 77, node.locator, 0, b"ticket")
    (request,) = switch.all(AttachRequested)
    assert isinstance(request, AttachRequested)
    assert request.request == START and request.identity == node.member.identity


def test_the_first_datagram_goes_to_id_zero(ca: Ca) -> None:
    world, switch, (node,) = network_of(ca)
    attach(node)
    assert world.run(5, lambda: bool(switch.settled()))
    headers = [Header(PacketType.CONTROL, 0, 0, switch.id, node.id, 0).pack(), world.seen[0][:28]]
    assert headers[1] == headers[0][:4] + bytes(8) + headers[0][12:]
    assert all(datagram[4:12] in (node.id.packed(), switch.id.packed()) for datagram in world.seen[1:])


def test_nothing_per_node_is_kept_at_the_switch(ca: Ca) -> None:
    world, switch, nodes = network_of(ca, nodes=10)
    for node in nodes:
        attach(node)
    assert world.run(10, lambda: len(switch.settled()) == 10)
    world.run(70)
    assert len(switch.manager._table) == 0 and not switch.manager._attach_server._attempts
    assert switch.manager.deadline(world.now) is None
    for node in nodes:
        assert len(node.manager._table) == 0
        assert node.manager.deadline(world.now) is None


def test_again_when_already_attached(ca: Ca) -> None:
    world, switch, (node,) = network_of(ca)
    attach(node)
    assert world.run(5, lambda: bool(switch.settled()))
    attach(node, Attach(2, 1, 0xABCD, 25))
    assert world.run(5, lambda: len(switch.settled()) == 2)
    masters = {event.report_master for event in attached(node)} | {event.report_master for event in switch.settled()}
    assert len(masters) == 2


def test_asking_twice_the_same_is_asking_once(ca: Ca) -> None:
    world, switch, (node,) = network_of(ca)
    for _ in range(5):
        attach(node)
    assert world.run(5, lambda: bool(switch.settled()))
    world.run(30)
    assert len(switch.settled()) == 1


@pytest.mark.parametrize("after", [0.0, 0.03, 0.05, 0.07, 0.09])
def test_address_change_in_the_middle(ca: Ca, after: float) -> None:
    """The cookie was bound to the old locator: the Switch gives a new one, and the same attempt goes on."""
    world, switch, (node,) = network_of(ca, weather=Weather(delay_min=0.02, delay_max=0.02))
    attach(node)
    world.run(after)
    node.locator = Locator.of("198.51.100.9", 999)
    start = world.now.mono
    assert world.run(20, lambda: bool(attached(node) and switch.settled()))
    assert world.now.mono - start < 3
    assert not failures(node) and len(switch.all(AttachRequested)) == 1


@pytest.mark.parametrize(
    ("status", "reason", "final"),
    [
        (GrantStatus.SUPERSEDED, "refused_superseded", True),
        (GrantStatus.REVOKED, "refused_revoked", True),
        (GrantStatus.FULL, "refused_full", False),
    ],
)
def test_refused(ca: Ca, status: GrantStatus, reason: str, final: bool) -> None:
    world, switch, (node,) = network_of(ca)
    switch.grants = lambda request: grant_to(request, status)
    attach(node)
    world.run(20)
    found = failures(node)
    assert {(event.reason, event.final) for event in found} == {(reason, final)}
    assert len(found) == 1 if final else 3 <= len(found) <= 6
    assert not attached(node) and not switch.settled()
    switch.grants = grant_to
    attach(node)
    assert world.run(30, lambda: bool(attached(node)))


def test_unreachable_switch_is_tried_for_ever_with_backoff(ca: Ca) -> None:
    world, switch, (node,) = network_of(ca)
    world.network.down.add(switch.id)
    attach(node)
    world.run(600)
    found = failures(node)
    assert 5 <= len(found) <= 10
    assert {event.reason for event in found} == {"timeout"}
    waits = [event.retry_seconds for event in found]
    assert waits[0] < 1.3 and all(a < b for a, b in pairwise(waits[:5]))
    world.network.down.clear()
    node.manager.retry_now(world.now)
    node.drain()
    assert world.run(2, lambda: bool(attached(node))), "it connects as soon as it is told that it can"


def test_silent_owner_at_the_switch_ends_in_a_timeout(ca: Ca) -> None:
    world, switch, (node,) = network_of(ca)
    switch.grants = lambda request: None
    attach(node)
    world.run(61)
    assert failures(node)[0].reason == "timeout"
    world.run(1)
    request = next(event for event in switch.events if isinstance(event, AttachRequested))
    switch.manager.grant(request.ref, grant_to(request), world.now)  # too late: ignored
    switch.drain()
    assert not attached(node)


def test_a_node_cannot_play_the_switch(ca: Ca) -> None:
    """The right CA's node certificate at the Switch's address."""
    world = World()
    node, liar = world.add(ca.node()), world.add(ca.node())
    world.switch = liar
    liar.manager._env.kind = "switch"  # it answers at dst 0, as the real one does
    liar.grants = grant_to
    attach(node)
    world.run(5)
    assert failures(node)[0].reason == "not_a_switch"
    assert not attached(node) and not liar.all(AttachSettled)


def test_a_switch_cannot_play_a_node(ca: Ca) -> None:
    world = World()
    node, switch = world.add(ca.node()), world.add(ca.switch())
    switch.manager._env.kind = "node"
    world.switch = None
    node.connect(switch)
    switch.connect(node)
    world.run(70)
    assert not node.manager.sessions() and not switch.manager.sessions()
    assert not node.data.receive and not node.data.send


def test_sessions_are_not_made_with_the_switch(ca: Ca) -> None:
    world, switch, (node,) = network_of(ca)
    node.connect(switch)
    world.run(70)
    assert not node.manager.sessions() and not switch.manager.sessions()
    assert not node.data.receive and not switch.all(AttachRequested)


@pytest.mark.parametrize("seed", range(4))
def test_many_nodes_at_once_over_loss(ca: Ca, seed: int) -> None:
    """More than may be pending at a time: the rest is let in as room comes."""
    world, switch, nodes = network_of(ca, seed, LOSS_30, nodes=0)
    member = [ca.node() for _ in range(20)]
    nodes = [world.add(each) for each in member]
    for node in nodes:
        attach(node)
    assert world.run(60, lambda: all(attached(node) for node in nodes))
    assert world.run(30, lambda: {event.node_id for event in switch.settled()} == {node.id for node in nodes})


def test_another_request_in_the_middle_begins_again(ca: Ca) -> None:
    world, switch, (node,) = network_of(ca)
    attach(node)
    world.run(0.07)
    other = Attach(2, 9, 0xABCD, 30)
    attach(node, other)
    assert world.run(5, lambda: bool(attached(node)))
    world.run(5)
    assert len(attached(node)) == 1
    assert [event.request for event in switch.events if isinstance(event, AttachRequested)][-1] == other
    assert len(switch.settled()) == 1


def test_shutdown_and_new_certificate_in_the_middle(ca: Ca) -> None:
    world, switch, (node, leaving) = network_of(ca, nodes=2)
    attach(node)
    attach(leaving)
    world.run(0.07)
    leaving.manager.shutdown(world.now)
    leaving.drain()
    renewed = ca.renew(node.member)
    node.manager.replace_trust(renewed.trust, world.now)
    node.drain()
    assert world.run(5, lambda: bool(switch.settled()))
    world.run(70)
    assert [event.node_id for event in switch.settled()] == [node.id]
    last = next(event for event in reversed(switch.events) if isinstance(event, AttachRequested))
    assert last.identity.serial == renewed.identity.serial
    assert not attached(leaving) and len(switch.manager._table) == 0


def test_revoked_between_request_and_grant() -> None:
    ca = Ca()
    world, switch, (node,) = network_of(ca)
    switch.grants = lambda request: None
    attach(node)
    assert world.run(5, lambda: bool(switch.all(AttachRequested)))
    assert switch.member.trust.offer_crl(ca.revoke(node.member))
    switch.manager.revocation_changed(world.now)
    switch.drain()
    world.run(0.5)
    assert failures(node)[0].reason == "refused_revoked" and failures(node)[0].final
    assert not switch.settled()


@pytest.mark.parametrize(
    ("end", "message", "reason"),
    [
        ("switch", Pong(1), "not_a_grant"),
        ("switch", START, "not_a_grant"),
        ("node", Pong(1), "not_a_request"),
        ("node", START, "attach_twice"),
        ("node", Close(CloseReason.SHUTDOWN), "peer_shutdown"),
        ("switch", Close(CloseReason.SUPERSEDED), "peer_superseded"),
    ],
)
def test_what_has_no_place_in_an_attachment(ca: Ca, end: str, message: Inner, reason: str) -> None:
    world, switch, (node,) = network_of(ca)
    switch.grants = lambda request: None
    attach(node)
    assert world.run(5, lambda: bool(switch.all(AttachRequested)))
    world.run(0.1)
    client, server = node.manager._attach_client._attempt, switch.manager._attach_server._proved[node.id]
    assert client is not None
    (client if end == "node" else server).send(message)
    for host in (node, switch):
        host.manager.retry_now(world.now)
        host.drain()
    world.run(0.5)
    assert (switch if end == "node" else node).manager.counters[reason] == 1


def test_ping_is_answered_during_an_attachment(ca: Ca) -> None:
    world, switch, (node,) = network_of(ca)
    requests: list[AttachRequested] = []
    switch.grants = requests.append
    attach(node)
    assert world.run(5, lambda: bool(requests))
    world.run(0.1)
    client = node.manager._attach_client._attempt
    assert client is not None
    client.send(Ping(5))  # PONG is none of what a node expects here: it shows that the Switch has answered
    node.manager.retry_now(world.now)
    node.drain()
    world.run(0.5)
    assert node.manager.counters["not_a_grant"] == 1
