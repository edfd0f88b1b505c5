"""Route messages without pyroute2 are to the byte and to the value what pyroute2 makes of them."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.io import rtnetlink as rt
from ovng.io.nlmessages import Address, Link, Message, Route
from ovng.io.rtnetlink import _lean_classes, _message_classes

WRITTEN: list[tuple[int, dict[str, Any]]] = [
    (rt.RTM_GETLINK, {"attrs": [("IFLA_IFNAME", "ovng0")]}),
    (
        rt.RTM_NEWLINK,
        {
            "index": 7,
            "flags": 1,
            "change": 1,
            "attrs": [("IFLA_MTU", 1400), ("IFLA_TXQLEN", 1000), ("IFLA_IFALIAS", "ovng")],
        },
    ),
    (rt.RTM_GETADDR, {}),
    (
        rt.RTM_GETROUTE,
        {"family": 2, "dst_len": 32, "flags": 0x2000, "attrs": [("RTA_DST", "192.0.2.1"), ("RTA_OIF", 3)]},
    ),
    (rt.RTM_GETROUTE, {"family": 10, "dst_len": 128, "attrs": [("RTA_DST", "2001:db8::1"), ("RTA_MARK", 0x100)]}),
]


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


V4, V6 = bytes([192, 0, 2, 1]), bytes.fromhex("20010db8000000000000000000000001")
HOPS = struct.pack("=HBBi", 16, 0, 0, 3) + attribute(5, V4) + struct.pack("=HBBi", 28, 0, 0, 4) + attribute(5, V6)[:20]
READ = [
    message(16, struct.pack("=BxHiII", 0, 1, 3, 0x1043, 0) + attribute(3, b"wlan0\0") + attribute(4, b"\xdc\5\0\0")),
    message(16, struct.pack("=BxHiII", 0, 65534, 9, 0x41, 0) + attribute(3, b"ovng1\0") + attribute(20, b"ovng\0")),
    message(
        20, struct.pack("=BBBBI", 2, 24, 0x80, 0, 3) + attribute(1, V4) + attribute(2, V4) + attribute(8, b"\x80\0\0\0")
    ),
    message(20, struct.pack("=BBBBI", 10, 64, 0, 0, 3) + attribute(1, V6) + attribute(99, b"what")),
    message(
        24,
        struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0)
        + attribute(4, b"\3\0\0\0")
        + attribute(5, V4)
        + attribute(6, b"\x58\2\0\0")
        + attribute(15, b"\xfe\0\0\0"),
    ),
    message(
        24,
        struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0)
        + attribute(4, b"\3\0\0\0")
        + attribute(18, struct.pack("=H", 10) + V6),
    ),
    message(24, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0) + attribute(9, HOPS[:16])),
]
ASKED = {
    **dict.fromkeys((16,), ("IFLA_IFNAME", "IFLA_MTU", "IFLA_IFALIAS")),
    **dict.fromkeys((20,), ("IFA_LOCAL", "IFA_ADDRESS", "IFA_FLAGS")),
    **dict.fromkeys((24,), ("RTA_OIF", "RTA_GATEWAY", "RTA_PRIORITY", "RTA_TABLE", "RTA_PREFSRC", "RTA_DST")),
}


@pytest.mark.parametrize(("kind", "fields"), WRITTEN)
def test_what_we_ask_is_the_same_bytes(kind: int, fields: dict[str, Any]) -> None:
    made = []
    for classes in (_message_classes(), _lean_classes()):
        said = classes[kind]()
        for name, value in fields.items():
            said[name] = value
        said["header"]["type"], said["header"]["flags"] = kind, 5
        said["header"]["sequence_number"], said["header"]["pid"] = 9, 0
        said.encode()
        made.append(bytes(said.data))
    assert made[0] == made[1]


@pytest.mark.parametrize("data", READ)
def test_what_the_kernel_says_has_the_same_values(data: bytes) -> None:
    kind = struct.unpack_from("=H", data, 4)[0]
    theirs, ours = (classes[kind](data) for classes in (_message_classes(), _lean_classes()))
    theirs.decode()
    ours.decode()
    for name in type(ours).fields:
        assert ours[name] == theirs[name], name
    for name in ASKED[kind]:
        assert ours.get_attr(name) == theirs.get_attr(name), name
    via = theirs.get_attr("RTA_VIA") if kind == 24 else None
    if via is not None:
        assert ours.get_attr("RTA_VIA")["addr"] == via["addr"]
    for our_hop, their_hop in zip(
        ours.get_attr("RTA_MULTIPATH") or (),
        (theirs.get_attr("RTA_MULTIPATH") if kind == 24 else None) or (),
        strict=True,
    ):
        assert our_hop["oif"] == their_hop["oif"] == 3
        assert our_hop.get_attr("RTA_GATEWAY") == their_hop.get_attr("RTA_GATEWAY") == "192.0.2.1"


@pytest.mark.parametrize("kind", [Link, Address, Route])
@given(data=st.binary(max_size=120))
def test_any_bytes_are_values_or_a_refusal(kind: type[Message], data: bytes) -> None:
    try:
        kind(bytes(16) + data).decode()
    except (ValueError, struct.error):
        pass
