"""What the node asks in private: addresses, routes; and the revocation list, which is none."""

from __future__ import annotations

import ipaddress

import pytest

from ovng.forwarding.clientevents import CrlArrived, CrlNumber, NeedTls, Resolved, RoutesChanged, SwitchRestarted
from ovng.forwarding.resolver import ASKING_MAX
from ovng.ids import IPAddress, NodeID
from ovng.session.keys import master_keys
from ovng.wire.header import PacketType, parse_header
from ovng.wire.private import Changed, Private, Resolve, ResolveStatus, parse_private, parse_sealed, private_header
from ovng.wire.private import Resolved as ResolvedMessage
from ovng.wire.report import CrlPiece, ReportKind, Update, parse_report
from tests.attachment_fixture import AWAY, OFFICE, SWITCH, THIRD, TRUCK, TestAead, after, prefix
from tests.client_scene import ClientScene

ADDRESS = ipaddress.ip_address("10.77.0.2")


@pytest.fixture
def scene() -> ClientScene:
    """With an office that holds ADDRESS and a route, at a Switch that has run for 10 s."""
    scene = ClientScene()
    scene.other(OFFICE, "10.77.0.2/32", "192.168.8.0/24", at=AWAY)
    scene.pass_time(10)
    scene.log.clear()
    return scene


def questions(scene: ClientScene, datagrams: list[bytes]) -> list[Private]:
    """Requests among what the client sent, opened."""
    key = TestAead(1, master_keys(scene.private_master)[0])
    found = []
    for datagram in datagrams:
        if parse_header(datagram).type == PacketType.PRIVATE:
            header, nonce, sealed = parse_sealed(datagram)
            plaintext = key.open(nonce, header, sealed)
            assert plaintext is not None
            found.append(parse_private(plaintext))
    return found


def from_switch(scene: ClientScene, message: Private) -> bytes:
    header, nonce = private_header(TRUCK, SWITCH), scene.random(12)
    return header + nonce + TestAead(1, master_keys(scene.private_master)[1]).seal(nonce, header, message.pack())


def ask(scene: ClientScene, address: IPAddress = ADDRESS) -> Resolved:
    """The answer, after as many packets as it takes."""
    if scene.client.resolve(address, scene.now) is None:
        scene.exchange()
    answer = scene.client.resolve(address, scene.now)
    assert answer is not None
    return answer


def test_asked_once_and_held(scene: ClientScene) -> None:
    found = ask(scene)
    assert (found.address, found.nodes, found.prefix) == (ADDRESS, (OFFICE,), prefix("10.77.0.2/32"))
    assert scene.seen(Resolved) == [found]
    assert ask(scene) == found
    assert questions(scene, scene.sent()) == []


def test_a_question_is_repeated_until_answered(scene: ClientScene) -> None:
    scene.client.resolve(ADDRESS, scene.now)
    sent = [(at, questions(scene, [datagram])) for at, datagram in scene.run_client(8)]
    tries = [(at, asked[0]) for at, asked in sent if asked]
    assert len({message.request for _, message in tries if isinstance(message, Resolve)}) == 1
    assert 5 <= len(tries) <= 9
    assert 0.2 <= tries[1][0] - tries[0][0] <= 0.4


def test_a_question_nobody_repeats_is_dropped(scene: ClientScene) -> None:
    scene.client.resolve(ADDRESS, scene.now)
    scene.run_client(31)
    assert [at for at, datagram in scene.run_client(30) if questions(scene, [datagram])] == []


def test_nobody_is_an_answer_too(scene: ClientScene) -> None:
    nobody = ask(scene, ipaddress.ip_address("10.77.9.9"))
    assert nobody.status == ResolveStatus.NOBODY and nobody.nodes == ()


def test_who_appears_is_told(scene: ClientScene) -> None:
    late = ipaddress.ip_address("10.77.0.3")
    ask(scene, late)
    scene.other(NodeID(600), "10.77.0.3/32", at=THIRD, seed=20)
    scene.pass_time(3)
    assert scene.seen(Resolved)[-1].nodes == (600,)


def test_not_yet_is_asked_again() -> None:
    scene = ClientScene()
    scene.now = after(scene.now, -8)  # the Switch started 2 s ago
    scene.client.resolve(ADDRESS, scene.now)
    scene.exchange()
    assert scene.seen(Resolved) == []
    scene.other(OFFICE, "10.77.0.2/32", at=AWAY)
    scene.pass_time(2)
    assert scene.seen(Resolved)[-1].nodes == (OFFICE,)


def test_asked_again_after_use_and_only_then(scene: ClientScene) -> None:
    ask(scene)
    scene.client.resolve(ipaddress.ip_address("192.168.8.1"), scene.now)
    scene.exchange()
    scene.pass_time(100)
    assert scene.client.resolve(ADDRESS, scene.now) is not None
    scene.pass_time(150)
    assert scene.client.resolve(ADDRESS, scene.now) is not None, "used; the other is not"
    asked = 0
    for _ in range(100):
        scene.now = after(scene.now, 1)
        scene.client.handle_timer(scene.now)
        found = scene.sent()
        asked += len([one for one in questions(scene, found) if isinstance(one, Resolve)])
        for datagram in found:
            for out in scene.at_switch(datagram):
                if out.to == scene.place:
                    scene.give(out.datagram)
    assert asked == 1
    assert scene.client.resolve(ADDRESS, scene.now) is not None
    assert scene.client.resolve(ipaddress.ip_address("192.168.8.1"), scene.now) is None


def test_an_answer_stays_good_while_the_switch_is_away(scene: ClientScene) -> None:
    ask(scene)
    scene.client.resolve(ADDRESS, scene.now)
    scene.run_client(310)
    assert scene.client.resolve(ADDRESS, scene.now) is not None


def test_unasked_answers_are_nothing(scene: ClientScene) -> None:
    scene.client.resolve(ADDRESS, scene.now)
    (question,) = questions(scene, scene.sent())
    assert isinstance(question, Resolve)
    evil = (NodeID(666),)
    for forged in (
        ResolvedMessage(question.request ^ 1, ResolveStatus.FOUND, 300, prefix("10.77.0.2/32"), evil),
        ResolvedMessage(question.request, ResolveStatus.FOUND, 300, prefix("10.77.0.3/32"), evil),
        ResolvedMessage(question.request, ResolveStatus.FOUND, 300, prefix("::/0"), evil),
        Resolve(question.request, ADDRESS),
    ):
        scene.give(from_switch(scene, forged))
    assert scene.client.counters["private_unasked"] == 4
    assert scene.client.resolve(ADDRESS, scene.now) is None


def test_pushes_count_by_a_rising_counter(scene: ClientScene) -> None:
    ask(scene)
    push = from_switch(scene, Changed(10, 1, prefix("10.77.0.0/16")))
    scene.give(push)
    scene.client.handle_timer(scene.now)
    assert len(questions(scene, scene.sent())) >= 1
    scene.run_client(40)
    before = scene.client.counters["private_unasked"]
    scene.give(push)
    scene.give(from_switch(scene, Changed(9, 1, prefix("10.77.0.0/16"))))
    assert scene.client.counters["private_unasked"] == before + 2


def test_questions_are_bounded(scene: ClientScene) -> None:
    for i in range(2 * ASKING_MAX):
        scene.client.resolve(ipaddress.IPv4Address(0x0A4E_0000 + i), scene.now)
    assert len(questions(scene, scene.sent())) == ASKING_MAX


def test_another_holder_is_an_event(scene: ClientScene) -> None:
    ask(scene)
    scene.other(NodeID(601), "10.77.0.2/32", at=THIRD, seed=21)
    scene.pass_time(3)
    assert scene.seen(Resolved)[-1].nodes == (OFFICE, 601)


# -- Private keys


def test_without_keys_what_is_asked_waits_for_tls() -> None:
    scene = ClientScene(attach=False)
    scene.other(OFFICE, "10.77.0.2/32", at=AWAY)
    assert scene.client.resolve(ADDRESS, scene.now) is None
    assert scene.sent() == []
    scene.now = after(scene.now, 1)
    scene.attach()
    scene.exchange()
    assert scene.seen(Resolved)[-1].nodes == (OFFICE,)


def test_after_a_restart_what_is_new_needs_tls_in_the_background(scene: ClientScene) -> None:
    ask(scene)
    scene.restart_switch()
    scene.client.network_changed(scene.now)
    scene.exchange()
    assert scene.seen(SwitchRestarted) and not scene.seen(NeedTls)
    assert scene.client.resolve(ADDRESS, scene.now) is not None, "held answers stay good"
    assert scene.client.resolve(ipaddress.ip_address("10.77.0.3"), scene.now) is None
    (need,) = scene.seen(NeedTls)
    assert need.background and need.reason == "private_keys_lost"


def test_nak_no_private_keys_needs_tls_and_an_echo(scene: ClientScene) -> None:
    """The Switch restarted between two reports: the node does not know yet."""
    scene.restart_switch()
    assert scene.client.grant is not None
    scene.client.network_changed(scene.now)
    scene.exchange()
    scene.client.grant.private_keys = True  # as if it had not learned of it
    scene.client.resolve(ipaddress.ip_address("10.77.0.9"), scene.now)
    scene.exchange()
    assert [need.reason for need in scene.seen(NeedTls)] == ["private_keys_lost"]
    assert not scene.client.grant.private_keys


def test_after_a_restart_what_is_used_is_asked_again_within_75_seconds() -> None:
    delays = []
    for i in range(12):
        scene = ClientScene(seed=i)
        scene.other(OFFICE, "10.77.0.2/32", "192.168.8.0/24", at=AWAY)
        scene.pass_time(10)
        ask(scene)
        scene.restart_switch()
        scene.client.network_changed(scene.now)
        scene.exchange()
        scene.log.clear()
        began = scene.now.mono
        while not scene.seen(NeedTls):
            scene.pass_time(0.5)
            assert scene.now.mono < began + 80
        delays.append(scene.now.mono - began)
    assert min(delays) >= 15
    assert max(delays) - min(delays) > 10, "spread"


# -- Routes


def test_routes_are_fetched_and_followed(scene: ClientScene) -> None:
    assert [str(route.prefix) for route in scene.client.routes.routes] == ["192.168.8.0/24"]
    scene.other(NodeID(700), *(f"172.16.{i}.0/24" for i in range(100)), at=THIRD, seed=30)
    scene.pass_time(4)
    changes = scene.seen(RoutesChanged)
    assert len(changes) == 1
    assert len(set(changes[-1].routes)) == 101
    assert scene.client.routes.routes == changes[-1].routes


def test_a_list_that_changes_between_pages_is_fetched_anew(scene: ClientScene) -> None:
    scene.other(NodeID(700), *(f"172.16.{i}.0/24" for i in range(100)), at=THIRD, seed=30)
    scene.client.routes.fetch(scene.now)
    (first,) = scene.sent()
    scene.give(scene.at_switch(first)[0].datagram)
    scene.other(NodeID(701), "172.17.0.0/24", at=THIRD, seed=31)
    scene.exchange()
    assert len(set(scene.client.routes.routes)) == 102


# -- Revocation list


def fetch(scene: ClientScene, number: int, der: bytes) -> None:
    scene.switch.set_crl(number, der, [])


def test_a_short_list_arrives_by_push(scene: ClientScene) -> None:
    der = bytes(i % 251 for i in range(3_000))
    fetch(scene, 3, der)
    scene.pass_time(1)
    assert scene.seen(CrlArrived) == [CrlArrived(3, der)]


def test_a_long_list_is_fetched(scene: ClientScene) -> None:
    der = bytes(i % 251 for i in range(20_000))
    fetch(scene, 3, der)
    scene.pass_time(5)
    assert scene.seen(CrlArrived) == [CrlArrived(3, der)]


def test_a_number_told_in_an_answer_is_fetched(scene: ClientScene) -> None:
    der = bytes(i % 251 for i in range(2_000))
    fetch(scene, 3, der)
    scene.switch.tick(after(scene.now, 0.1))  # the push is lost
    scene.client.network_changed(scene.now)
    scene.exchange()
    assert scene.seen(CrlNumber) == [CrlNumber(3)]
    scene.pass_time(5)
    assert scene.seen(CrlArrived) == [CrlArrived(3, der)]


def test_lost_pieces_are_asked_for_again(scene: ClientScene) -> None:
    der = bytes(i % 251 for i in range(6_000))
    fetch(scene, 3, der)
    scene.switch.tick(after(scene.now, 0.1))
    scene.client.network_changed(scene.now)
    scene.exchange()
    lost = 0
    for _ in range(4_000):
        due = scene.client.deadline(scene.now)
        assert due is not None
        scene.now = after(scene.now, max(0.0, due - scene.now.mono))
        scene.client.handle_timer(scene.now)
        for datagram in scene.sent():
            for out in scene.at_switch(datagram):
                report = parse_report(out.datagram) if parse_header(out.datagram).type == PacketType.REPORT else None
                if isinstance(report, CrlPiece) and scene.random(1)[0] < 150:
                    lost += 1
                    continue
                scene.give(out.datagram)
        if scene.seen(CrlArrived):
            break
    assert scene.seen(CrlArrived) == [CrlArrived(3, der)]
    assert lost


def test_requests_for_pieces_are_padded(scene: ClientScene) -> None:
    fetch(scene, 3, bytes(5_000))
    scene.pass_time(0.2, connected=False)
    scene.client.network_changed(scene.now)
    scene.exchange()
    asked = [datagram for _, datagram in scene.run_client(2) if len(datagram) == 1_232]
    assert asked
    report = parse_report(asked[0])
    assert isinstance(report, Update) and report.kind == ReportKind.GET_CRL


def test_a_list_that_is_held_is_not_fetched(scene: ClientScene) -> None:
    scene.client.crl_held(5)
    fetch(scene, 5, bytes(2_000))
    scene.pass_time(30)
    assert scene.seen(CrlArrived) == [] and scene.seen(CrlNumber) == []


def test_a_list_that_was_not_believed_is_not_fetched_at_once_again(scene: ClientScene) -> None:
    fetch(scene, 3, bytes(2_000))
    scene.pass_time(200)
    assert len(scene.seen(CrlArrived)) == 1
    scene.pass_time(200)
    assert len(scene.seen(CrlArrived)) == 2
    fetch(scene, 4, bytes(2_001))
    scene.pass_time(2)
    assert scene.seen(CrlArrived)[-1].number == 4, "a newer one is"
