"""Whom a node believes: wrong CAs, wrong IDs, no certificate, expired, revoked; and how revocation spreads."""

from __future__ import annotations

import ssl

import pytest

from ovng.ids import NodeID
from ovng.pki.trust import ALPN, Trust
from ovng.session.attempt import Attempt
from ovng.session.events import Attached, ConnectFailed, CrlChanged, InstallReceive, InstallSend, SessionUp
from ovng.wire.inner import Attach, Crl, Inner
from tests.pki_fixture import WALL, Member
from tests.pki_fixture import Network as Ca
from tests.sim.harness import Host, World, connected, talk
from tests.sim.network import Weather
from tests.sim.test_session_attach import grant_to


def assert_strangers(world: World, one: Host, other: Host, seconds: float = 5) -> tuple[str, str]:
    """Whoever starts, no key is installed anywhere and no session comes; the reasons told to each owner."""
    reasons = []
    for source, target in ((one, other), (other, one)):
        source.connect(target)
        world.run(seconds)
        found = [event for event in source.events if isinstance(event, ConnectFailed)]
        reasons.append(found[-1].reason if found else "")
    for host in (one, other):
        assert not any(isinstance(event, InstallReceive | InstallSend | SessionUp) for event in host.events)
        assert not host.manager.sessions() and not host.data.receive and not host.data.send
    world.run(200)
    for host in (one, other):
        assert host.manager.deadline(world.now) is None, "nothing is left of it"
    return reasons[0], reasons[1]


def test_another_ca(ca: Ca) -> None:
    world = World()
    one, other = world.add(ca.node()), world.add(Ca().node())  # same network name, same everything else
    assert assert_strangers(world, one, other) == ("certificate_refused", "certificate_refused")


def test_another_network_of_the_same_ca(ca: Ca) -> None:
    other_name = Ca("othernet")
    other_name.authority, other_name.ca = ca.authority, ca.ca
    world = World()
    one, other = world.add(ca.node()), world.add(other_name.node())
    assert assert_strangers(world, one, other) == ("other_network", "other_network")


def test_right_ca_but_another_nodes_certificate(ca: Ca) -> None:
    """The lying Switch: datagrams for `right` are led to `wrong`, which answers as well as it can."""
    world = World()
    one, right, wrong = (world.add(ca.node()) for _ in range(3))
    impostor = Host(world, wrong.member, wrong.config, watch_traffic=False)
    impostor.id = right.id
    impostor.start()
    impostor.data.me = right.id
    impostor.manager._env.me = right.id  # speaks with the right ID, but can prove only its own
    world.hosts[right.id] = impostor
    one.connect(impostor)
    world.run(5)
    (failed,) = [event for event in one.events if isinstance(event, ConnectFailed)]
    assert failed.reason == "other_id" and str(wrong.id) in failed.detail
    assert not one.data.receive and not one.data.send and not one.manager.sessions()
    assert not impostor.data.receive and not impostor.data.send
    impostor.connect(one)
    world.run(5)
    assert not one.data.receive and not one.data.send
    assert one.manager.counters["other_id"] == 2


def test_switch_that_routes_to_the_wrong_node(ca: Ca) -> None:
    """As above, but the wrong node is an honest one: it drops what is not addressed to it, and nothing comes of it."""
    world = World()
    one, right, wrong = (world.add(ca.node()) for _ in range(3))
    world.routes = {right.id: wrong.id}
    one.connect(right)
    world.run(61)
    assert wrong.manager.counters["not_for_me"] > 20
    for host in (one, right, wrong):
        assert not host.data.receive and not host.data.send
    assert [event.reason for event in one.events if isinstance(event, ConnectFailed)] == ["timeout"]


class NoCertificate(Trust):
    """Knows the CA, shows nothing."""

    def client_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=self._ca.decode())
        context.set_alpn_protocols([ALPN])
        return context


def test_no_certificate(ca: Ca) -> None:
    world = World()
    member = ca.node()
    one, other = world.add(ca.node()), world.add(member)
    other.manager._env.trust = NoCertificate("testnet", member.ca, member.certificate, member.key, member.trust._load)
    other.connect(one)
    world.run(5)
    assert one.manager.counters["certificate_missing"] >= 1
    (failed,) = [event for event in other.events if isinstance(event, ConnectFailed)]
    assert failed.reason == "refused_by_peer"
    assert not one.data.receive and not one.manager.sessions() and not other.manager.sessions()


def test_expired(ca: Ca) -> None:
    world = World()
    one, other = world.add(ca.node()), world.add(ca.node(wall=WALL - 400 * 86_400.0, days=10))
    reasons = assert_strangers(world, one, other)
    assert "expired" in reasons[0]
    assert reasons[1] in ("peer_unknown_identity", "expired")


def test_clock_in_1970(ca: Ca) -> None:
    """Only notAfter refuses, and a clock that is behind does not see it."""
    world = World()
    world.clock.now = world.clock.now._replace(wall=86_400.0)
    one, other = world.add(ca.node()), world.add(ca.node())
    one.connect(other)
    assert world.run(5, lambda: connected(one, other))


def test_a_new_certificate_forgets_no_date(ca: Ca) -> None:
    """What the CA signed has passed for certain, also after a reload on a machine whose clock is behind."""
    world = World()
    one, other = world.add(ca.node()), world.add(ca.node(wall=WALL + 100 * 86_400.0))
    one.connect(other)
    assert world.run(5, lambda: connected(one, other))
    renewed = ca.renew(one.member)
    assert renewed.trust.signed_date < other.member.identity.not_before
    one.manager.replace_trust(renewed.trust, world.now)
    assert renewed.trust.signed_date == other.member.identity.not_before


# -- Revocation


def crl_to(ca: Ca, host: Host, *revoked: Member) -> bytes:
    """`host` learns by itself (as from its Switch) that these are revoked."""
    crl = ca.revoke(*revoked)
    assert host.member.trust.offer_crl(crl)
    host.manager.revocation_changed(host.world.now)
    host.drain()
    return crl


def three(ca: Ca) -> tuple[World, Host, Host, Host]:
    world = World()
    one, two, bad = (world.add(ca.node()) for _ in range(3))
    for source, target in ((one, two), (one, bad), (two, bad)):
        source.connect(target)
        assert world.run(5, lambda s=source, t=target: connected(s, t))  # type: ignore[misc]
    world.run(1)
    return world, one, two, bad


def test_revocation_ends_live_sessions_everywhere_and_says_why() -> None:
    ca = Ca()
    world, one, two, bad = three(ca)
    crl_to(ca, one, bad.member)
    world.run(5)
    for host in (one, two):  # two has heard of it from one only
        assert [(down.peer, down.reason) for down in host.downs()] == [(bad.id, "revoked")]
        assert all(peer != bad.id for peer, _ in host.data.receive) and bad.id not in host.data.send
        assert host.member.trust.crl_number == 1
    assert [(down.reason, down.text) for down in bad.downs()] == [("peer_revoked", "this certificate is revoked")] * 2
    (changed,) = [event for event in two.events if isinstance(event, CrlChanged)]
    assert changed.number == 1
    talk(world, one, two)
    bad.connect(one)
    one.connect(bad)
    world.run(100)
    assert not bad.manager.sessions() and bad.id not in one.data.send
    reasons = {event.reason for event in (*one.events, *bad.events) if isinstance(event, ConnectFailed)}
    assert reasons <= {"certificate_revoked", "refused_by_peer", "revoked"} and reasons


def test_newer_crl_is_passed_on_in_a_new_handshake() -> None:
    ca = Ca()
    world = World()
    one, two, bad = (world.add(ca.node()) for _ in range(3))
    assert one.member.trust.offer_crl(ca.revoke(bad.member))
    two.connect(one)
    assert world.run(5, lambda: connected(one, two) and two.member.trust.crl_number == 1)
    bad.connect(two)
    world.run(5)
    assert two.manager.counters["certificate_revoked"] == 1
    (failed,) = [event for event in bad.events if isinstance(event, ConnectFailed)]
    assert failed.reason == "refused_by_peer" and "revoked" in failed.detail


def test_a_crl_does_not_go_back_to_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    ca = Ca()
    _, one, two, bad = three(ca)
    sent: list[tuple[NodeID, NodeID]] = []
    true_send = Attempt.send

    def send(attempt: Attempt, message: Inner) -> None:
        if isinstance(message, Crl):
            sent.append((attempt._env.me, attempt.peer))
        true_send(attempt, message)

    monkeypatch.setattr(Attempt, "send", send)
    crl_to(ca, one, bad.member)
    one.world.run(5)
    assert two.member.trust.crl_number == one.member.trust.crl_number
    assert (one.id, two.id) in sent and (two.id, one.id) not in sent


def test_a_large_crl_passes_over_loss() -> None:
    ca = Ca()
    world = World(3, Weather(loss=0.3))
    one, two = (world.add(ca.node()) for _ in range(2))
    ca._revoked |= dict.fromkeys(range(1 << 120, (1 << 120) + 1000), WALL)
    crl = ca.revoke()
    assert 30_000 < len(crl) < 65_000
    assert one.member.trust.offer_crl(crl)
    two.connect(one)
    assert world.run(60, lambda: two.member.trust.crl_number == 1)


def test_forged_crl_changes_nothing() -> None:
    ca = Ca()
    world, one, two, bad = three(ca)
    forged = Ca().revoke(two.member)
    one.member.trust._crl_der = forged  # a peer that passes on what no CA of ours has signed
    one.member.trust._crl = type("Facts", (), {"number": 9, "serials": frozenset()})()
    one.manager.revocation_changed(world.now)
    one.drain()
    world.run(5)
    assert two.member.trust.crl_number == 0 and two.manager.counters["crl_not_taken"] == 1
    assert connected(two, bad) and not two.downs()


def test_certificate_revoked_in_the_middle_of_a_handshake() -> None:
    ca = Ca()
    for step in range(1, 14):
        world = World(1, Weather(delay_min=0.02, delay_max=0.02))
        one, bad = (world.add(ca.node()) for _ in range(2))
        bad.connect(one)
        world.run(0.01 * step)
        crl_to(ca, one, bad.member)
        world.run(10)
        assert not one.manager.sessions() and not one.data.receive and not one.data.send
        assert not bad.manager.sessions()


def test_the_switch_hears_of_a_crl_from_a_node_and_the_other_way_round() -> None:
    ca = Ca()
    world = World()
    switch = world.add(ca.switch())
    switch.grants = grant_to
    first, second = (world.add(ca.node()) for _ in range(2))
    bad = ca.node()
    assert first.member.trust.offer_crl(ca.revoke(bad))
    for node in (first, second):
        node.manager.attach(world.now, Attach(1, 0, 1, 25))
        node.drain()
        assert world.run(10, lambda n=node: any(isinstance(event, Attached) for event in n.events))  # type: ignore[misc]
        world.run(1)
    assert switch.member.trust.crl_number == second.member.trust.crl_number == 1
    revoked = world.add(bad)
    revoked.manager.attach(world.now, Attach(1, 0, 1, 25))
    revoked.drain()
    world.run(10)
    assert not any(isinstance(event, Attached) for event in revoked.events)
    assert len(switch.settled()) == 2
    assert len(switch.manager._table) == 0


@pytest.mark.parametrize("claimed", [0, 1])
def test_own_id_never_connects(ca: Ca, claimed: int) -> None:
    world = World()
    one = world.add(ca.node())
    one.manager.connect(one.id, world.now)
    one.manager.on_unknown_data(one.id, world.now)
    one.manager.on_unknown_data(NodeID(0), world.now)
    one.drain()
    assert not world.seen and one.manager.deadline(world.now) is None
