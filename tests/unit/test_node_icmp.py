"""ICMP errors: well formed, and never where the RFCs forbid them."""

import ipaddress
import struct

from hypothesis import given
from hypothesis import strategies as st

from ovng.node.icmp import checksum, inner_addresses, unreachable

ROUTER4, ROUTER6 = ipaddress.ip_address("10.77.0.1").packed, ipaddress.ip_address("fd77::1").packed


def packet4(protocol: int = 17, payload: bytes = bytes(20), fragment: int = 0, dst: str = "10.77.0.9") -> bytes:
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, fragment, 64, protocol, 0,
        ipaddress.ip_address("10.77.0.2").packed, ipaddress.ip_address(dst).packed,
    )  # fmt: skip
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def packet6(following: int = 17, payload: bytes = bytes(20), dst: str = "fd77::9") -> bytes:
    addresses = ipaddress.ip_address("fd77::2").packed + ipaddress.ip_address(dst).packed
    return struct.pack("!IHBB", 6 << 28, len(payload), following, 64) + addresses + payload


def test_checksum_of_rfc1071_example() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == (~0xDDF2) & 0xFFFF


def test_ipv4_error_quotes_the_packet_and_sums_up() -> None:
    answer = unreachable(packet4(), ROUTER4)
    assert answer is not None
    assert checksum(answer[:20]) == 0 and checksum(answer[20:]) == 0
    assert answer[20:22] == b"\x03\x01"
    assert answer[28:] == packet4()[:28]
    assert inner_addresses(answer) == (ROUTER4, ipaddress.ip_address("10.77.0.2").packed)


def test_ipv6_error_quotes_the_packet_and_sums_up() -> None:
    answer = unreachable(packet6(payload=bytes(1400)), ROUTER6)
    assert answer is not None and len(answer) == 1280
    pseudo = answer[8:40] + struct.pack("!II", len(answer) - 40, 58)
    assert checksum(pseudo + answer[40:]) == 0
    assert answer[40:42] == b"\x01\x03"


def test_no_error_for_errors_groups_fragments_and_families() -> None:
    assert unreachable(packet4(protocol=1, payload=b"\x03" + bytes(20)), ROUTER4) is None
    assert unreachable(packet4(fragment=5), ROUTER4) is None
    assert unreachable(packet4(dst="224.0.0.1"), ROUTER4) is None
    assert unreachable(packet6(following=58, payload=b"\x01" + bytes(20)), ROUTER6) is None
    assert unreachable(packet6(dst="ff02::1"), ROUTER6) is None
    assert unreachable(packet4(), ROUTER6) is None
    assert unreachable(packet4(protocol=1, payload=b"\x08" + bytes(20)), ROUTER4) is not None


@given(st.binary(max_size=100))
def test_any_bytes_are_survived(data: bytes) -> None:
    for router in (ROUTER4, ROUTER6):
        answer = unreachable(data, router)
        assert answer is None or inner_addresses(answer) is not None
