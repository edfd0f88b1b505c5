"""What fits each peer: the smaller of both ends' sizes; the data path hears it at once, applications a little later."""

from __future__ import annotations

import ipaddress

from ovng.clock import Now
from ovng.ids import NodeID
from ovng.node.sizes import SETTLED_SECONDS, Sizes
from tests.attachment_fixture import START, after
from tests.unit.packets import UDP, Packet

BOB, CAROL = NodeID(2), NodeID(3)
OWN6 = ipaddress.ip_address("fd77::1")


class Scene:
    """Sizes, and what they told to whom."""

    def __init__(self) -> None:
        self.now: Now = START
        self.fits: dict[NodeID, int] = {}
        self.reaches: list[int] = []
        self.errors: list[bytes] = []
        self.sizes = Sizes(self, lambda reach, now: self.reaches.append(reach), self.errors.append, [OWN6])

    def set_fits(self, peer: NodeID, size: int) -> None:
        self.fits[peer] = size

    def too_large(self, packet: Packet) -> bytes | None:
        self.errors.clear()
        self.sizes.on_too_large(BOB, packet.build()[:1232], self.now)
        return self.errors[0] if self.errors else None


def test_the_smaller_end_counts() -> None:
    scene = Scene()
    scene.sizes.reach_is(1444, scene.now)
    scene.sizes.on_told(BOB, 1300, scene.now)
    scene.sizes.on_told(CAROL, 8952, scene.now)
    assert scene.fits == {BOB: 1256, CAROL: 1400}
    scene.sizes.reach_is(1232, scene.now)
    assert scene.fits == {BOB: 1188, CAROL: 1188}
    assert scene.reaches == [1444, 1232]
    assert (scene.sizes.fits(BOB), scene.sizes.fits(NodeID(9))) == (1188, None)
    scene.sizes.on_session_down(BOB)
    assert scene.sizes.fits(BOB) is None


def test_a_new_generation_is_told_to_the_data_path_again() -> None:
    scene = Scene()
    scene.sizes.on_told(BOB, 1300, scene.now)
    scene.fits.clear()
    scene.sizes.on_told(BOB, 1300, scene.now)
    assert scene.fits == {BOB: 1188}


def test_applications_are_told_what_has_stood_for_a_while() -> None:
    scene = Scene()
    packet = Packet(bytes(1300), protocol=UDP, dont_fragment=True)
    assert scene.too_large(packet) is None, "nothing is known of the peer"
    scene.sizes.reach_is(1300, scene.now)
    scene.sizes.on_told(BOB, 1444, scene.now)
    assert scene.too_large(packet) is None
    scene.now = after(scene.now, SETTLED_SECONDS)
    error = scene.too_large(packet)
    assert error is not None
    assert error[20:22] == b"\x03\x04" and error[26:28] == (1256).to_bytes(2, "big")
    assert error[12:16] == packet.addresses[4:8], "from whom it was meant for: our own address would be a martian"
    assert error[28:] == packet.build()[:28]
    scene.sizes.on_told(BOB, 1300, scene.now)
    assert scene.too_large(packet) is not None, "what is said again has stood all the time"
    scene.sizes.reach_is(1232, scene.now)
    assert scene.too_large(packet) is None


def test_ipv6_is_never_told_less_than_1280() -> None:
    scene = Scene()
    scene.sizes.on_told(BOB, 1444, scene.now)
    scene.now = after(scene.now, 1)
    error = scene.too_large(Packet(bytes(1300), version=6, protocol=UDP))
    assert error is not None and len(error) == 1280
    assert error[40:42] == b"\x02\x00" and error[44:48] == (1280).to_bytes(4, "big")
    assert error[8:24] == OWN6.packed
