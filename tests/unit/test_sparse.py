"""Which flows are sparse: by what they have sent, and never so that a packet overtakes one of its own flow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng._fast.sparse import BURST, CELLS, QUIET_MS, RATE, SparseFlows
from tests.unit.packets import TCP, UDP, Packet, icmp_echo

NOW = 1_000_000
KEY = 0x9E37_79B9_7F4A_7C15


def udp(size: int, port: int = 1, version: int = 4) -> bytes:
    return Packet(bytes(size), version=version, protocol=UDP, ports=(port, 53)).build()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_flow_is_sparse_until_it_has_sent_a_burst(version: int, protocol: int) -> None:
    flows = SparseFlows(KEY)
    packet = Packet(bytes(1000), version=version, protocol=protocol).build()
    verdicts = [flows.put(packet, NOW) for _ in range(100)]
    assert verdicts == [True] * (BURST // len(packet)) + [False] * (100 - BURST // len(packet))


def test_what_trickles_stays_sparse() -> None:
    flows = SparseFlows(KEY)
    packet = udp(RATE * 10 - 28)
    assert all(flows.put(packet, NOW + 10 * i) for i in range(1000))
    assert not all(flows.put(packet, NOW + 10_000 + 9 * i) for i in range(1000))


def test_bulk_stays_bulk_until_it_was_quiet() -> None:
    flows = SparseFlows(KEY)
    assert not flows.put(udp(BURST), NOW)
    assert not flows.put(udp(1), NOW + QUIET_MS - 1)
    assert not flows.put(udp(1), NOW + 2 * QUIET_MS - 2)  # what is small must not overtake, either
    assert flows.put(udp(1), NOW + 3 * QUIET_MS - 2)


@pytest.mark.parametrize(
    "other",
    [
        udp(1, port=2),
        udp(1, version=6),
        Packet(b"x", protocol=TCP, ports=(1, 53)).build(),
        Packet(b"x", protocol=UDP, ports=(1, 53), destination="10.77.0.3").build(),
        icmp_echo("10.77.0.1", "10.77.0.2"),
    ],
)
def test_other_flows_are_others(other: bytes) -> None:
    flows = SparseFlows(KEY)
    assert not flows.put(udp(BURST), NOW)
    assert flows.put(other, NOW)


def test_fragments_are_one_flow_whatever_stands_where_ports_would() -> None:
    flows = SparseFlows(KEY)

    def fragment(size: int, field: int, port: int) -> bytes:
        packet = bytearray(udp(size, port))
        packet[6:8] = field.to_bytes(2, "big")
        return bytes(packet)

    assert not flows.put(fragment(BURST, 0x2000, 1), NOW)  # more follow
    assert not flows.put(fragment(1, 0x00B9, 2), NOW)  # an offset
    assert flows.put(fragment(1, 0x4000, 1), NOW)  # DF


@given(st.binary(max_size=120), st.integers(0, 2**64 - 1))
def test_any_bytes_are_judged(packet: bytes, now_ms: int) -> None:
    flows = SparseFlows(KEY)
    assert flows.put(packet, now_ms) in (True, False)


def test_keys_spread_flows_differently() -> None:
    """Whom a bulk flow takes its priority depends on the key; few at a time."""
    hit, packet = [], bytearray(udp(1))
    at = packet.index((1).to_bytes(2, "big") + (53).to_bytes(2, "big"))  # the source port; a checksum nobody asks for

    def put(flows: SparseFlows, port: int) -> bool:
        packet[at : at + 2] = port.to_bytes(2, "big")
        return flows.put(bytes(packet), NOW + port // 100)

    for key in (1 << 63 | 12345, KEY, 0xD6E8_FEB8_6659_FD93):
        flows = SparseFlows(key)
        assert not flows.put(udp(BURST), NOW)
        hit.append({port for port in range(2, 65536) if not put(flows, port)})
    assert all(0 < len(ports) < 20 * 65536 / CELLS for ports in hit), [len(ports) for ports in hit]
    assert hit[0] != hit[1] != hit[2]
