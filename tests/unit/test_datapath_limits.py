"""The limits of a generation: what it seals up to them, what is told, and what waits behind them."""

from __future__ import annotations

import ipaddress

import pytest

from ovng.limits import HARD_BLOCKS, HARD_PACKETS, REKEY_BLOCKS, REKEY_PACKETS
from tests.datapath_rig import AES, BACK, IV, KEY, OTHER, OUT, PEER, Rig, opened, seal, until
from tests.unit.packets import NO_VNET, UDP, Packet

BLOCKS = (len(OUT) + 15) // 16


def both_wait(rig: Rig) -> None:
    """Two packets have come up for want of a key."""

    def told() -> bool:
        rig.heard += rig.path.events()
        return rig.heard.count(("no_key", PEER, OUT)) == 2

    until(told)


@pytest.mark.parametrize("bound", [{"soft_packets": 2, "hard_packets": 4}, {"soft_blocks": 8, "hard_blocks": 16}])
def test_limits_of_a_generation(rig: Rig, bound: dict[str, int]) -> None:
    """Four packets of 60 bytes are 16 blocks."""
    rig.know_peer(send_limits=bound)
    for _ in range(6):
        rig.send(OUT)
    assert [opened(rig.left())[0] for _ in range(4)] == [1, 2, 3, 4]
    rig.expect(("soft_limit", PEER, 7))
    rig.expect(("hard_limit", PEER, 7))
    both_wait(rig)
    assert len(rig.heard) == 4
    rig.path.install_send(PEER, 7, AES, KEY[::-1], IV)
    rig.send(OUT)
    assert opened(rig.left(), key=KEY[::-1]) == (1, OUT)


@pytest.mark.parametrize(
    "near",
    [{"first_packet": REKEY_PACKETS - 1}, {"first_block": REKEY_BLOCKS - 2 * BLOCKS + 1}],
    ids=["packets", "blocks"],
)
def test_the_real_soft_limit_is_told_behind_its_last_packet(rig: Rig, near: dict[str, int]) -> None:
    """2^28 packets and 2^34 blocks are within it; what is above is sealed all the same."""
    rig.know_peer(send_limits=near)
    first = near.get("first_packet", 1)
    for number in (first, first + 1):
        rig.send(OUT)
        assert opened(rig.left()) == (number, OUT)
    assert rig.path.events() == []
    rig.send(OUT)
    assert opened(rig.left()) == (first + 2, OUT)
    rig.expect(("soft_limit", PEER, 7))
    assert len(rig.heard) == 1


@pytest.mark.parametrize(
    "near",
    [{"first_packet": HARD_PACKETS - 1}, {"first_block": HARD_BLOCKS - 2 * BLOCKS + 1}],
    ids=["packets", "blocks"],
)
def test_nothing_is_sealed_behind_the_real_hard_limit(rig: Rig, near: dict[str, int]) -> None:
    """2^29 packets and 2^36 blocks are sealed; the next packet waits for a key, and so does one after it."""
    rig.know_peer(send_limits=near)
    first = near.get("first_packet", 1)
    for number in (first, first + 1):
        rig.send(OUT)
        assert opened(rig.left()) == (number, OUT)
    for _ in range(2):
        rig.send(OUT)
    both_wait(rig)
    assert ("soft_limit", PEER, 7) in rig.heard
    assert rig.heard.count(("hard_limit", PEER, 7)) == 1
    assert rig.path.stats()["sent_packets"] == 2


def test_the_last_number_of_a_generation_is_opened(ready: Rig) -> None:
    for number in (HARD_PACKETS - 1, HARD_PACKETS):
        ready.deliver(seal(number))
        assert ready.arrived() == NO_VNET + BACK
    ready.deliver(seal(HARD_PACKETS + 1))
    until(lambda: ready.drops("replay_number") == 1)


def test_a_limit_is_told_even_if_the_ring_was_full() -> None:
    rig = Rig(ring_bytes=64)
    try:
        rig.know_peer(send_limits={"soft_packets": 0})
        rig.path.add_route(ipaddress.ip_network("10.77.0.3/32"), OTHER)
        bare = Packet(b"", protocol=UDP, destination="10.77.0.3").build()  # 8 + 8 + 28 of the ring's 64 bytes
        rig.send(bare)
        until(lambda: rig.path.stats()["tun_reads"] == 1)
        rig.send(OUT)
        rig.left()
        assert rig.drops("event_ring_full") == 1
        assert rig.path.events() == [("no_key", OTHER, bare)]
        rig.send(OUT)
        rig.expect(("soft_limit", PEER, 7))
    finally:
        rig.close()
