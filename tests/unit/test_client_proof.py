"""Which datagrams prove that the Switch is where they came from: its answers to what we said, and nothing else."""

from __future__ import annotations

from ovng.forwarding.client import AttachmentClient
from ovng.forwarding.registrar import Registrar
from ovng.ids import Locator
from ovng.wire.header import Header, PacketType
from ovng.wire.inner import Attach, AttachMode
from tests.attachment_fixture import AWAY, HOME, START, SWITCH, TRUCK, TestAead, after, identity, registrar, seeded

NOW = after(START, 10)


def attached() -> tuple[AttachmentClient, Registrar]:
    """A client and its Switch, after TLS."""
    client, switch = AttachmentClient(TRUCK, seeded(3), TestAead), registrar()
    client.start(START)
    masters = bytes(32), bytes(range(32))
    request = Attach(AttachMode.START, 0, 7, 25)
    grant = switch.attach(identity(TRUCK, "10.77.0.2/32"), request, HOME.packed(), *masters, START)
    switch.settle(TRUCK, masters[0], START)
    client.granted(SWITCH, grant, *masters, START)
    client.datagrams()
    return client, switch


def ask(client: AttachmentClient, switch: Registrar, source: Locator) -> bytes:
    """The Switch's answer to the client's next report, sent from `source`."""
    client.network_changed(NOW)
    (report,) = client.datagrams()
    (answer,) = switch.handle_report(report, source, NOW)
    return answer.datagram


def test_an_answer_proves_once() -> None:
    client, switch = attached()
    ack = ask(client, switch, HOME)
    assert client.receive_report(ack, NOW)
    assert not client.receive_report(ack, NOW), "a copy, from wherever, proves nothing"


def test_a_changed_answer_proves_nothing() -> None:
    client, switch = attached()
    ack = ask(client, switch, HOME)
    assert not client.receive_report(ack[:-1] + bytes([ack[-1] ^ 1]), NOW)
    assert not client.receive_report(ack[:-1], NOW)


def test_a_hint_proves_nothing() -> None:
    client, switch = attached()
    header = Header(PacketType.DATA, 1, 0, SWITCH, TRUCK, 1).pack()
    (hint,) = switch.handle_unmatched(header, AWAY, True, 200, NOW)
    assert not client.receive_report(hint.datagram, NOW)
    assert client.counters["mismatch"] == 1


def test_a_private_answer_proves_once() -> None:
    client, switch = attached()
    client.resolve(identity(TRUCK, "10.77.0.9/32").prefixes[0].network_address, NOW)
    (question,) = client.datagrams()
    (answer,) = switch.handle_private(question, HOME, NOW)
    assert client.receive_private(answer.datagram, NOW)
    assert not client.receive_private(answer.datagram, NOW)
    assert not client.receive_private(answer.datagram[:-1] + b"x", NOW)
