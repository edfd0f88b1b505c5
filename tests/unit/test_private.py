from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.errors import Malformed
from ovng.ids import NodeID, Prefix
from ovng.limits import MAX_CONTROL_DATAGRAM
from ovng.wire.header import PacketType, parse_header
from ovng.wire.private import (
    PRIVATE_MIN,
    ROUTES_PER_PAGE,
    Changed,
    Private,
    Resolve,
    Resolved,
    ResolveStatus,
    Route,
    RouteList,
    Routes,
    parse_private,
    parse_sealed,
    private_header,
)

NODE = NodeID(0x1111_2222_3333_4444)

u16, u64 = st.integers(0, 65_535), st.integers(0, (1 << 64) - 1)
ids = st.integers(1, (1 << 64) - 1).map(NodeID)
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    address = draw(addresses)
    return ipaddress.ip_network((address, draw(st.integers(0, address.max_prefixlen))), strict=False)


routes = st.builds(Route, prefixes(), ids)
found = st.builds(
    Resolved,
    u64,
    st.just(ResolveStatus.FOUND),
    u16,
    prefixes(),
    st.lists(ids, min_size=1, max_size=8).map(tuple),
)
not_found = st.builds(
    Resolved, u64, st.sampled_from([ResolveStatus.NOBODY, ResolveStatus.NOT_YET]), u16, prefixes(), st.just(())
)
messages: st.SearchStrategy[Private] = st.one_of(
    st.builds(Resolve, u64, addresses),
    found,
    not_found,
    st.builds(Routes, u64, u16),
    st.builds(
        RouteList,
        u64,
        u64,
        st.just(65_535),
        st.integers(0, 60_000),
        st.lists(routes, max_size=ROUTES_PER_PAGE).map(tuple),
    ),
    st.builds(Changed, u64, u64, st.none() | prefixes()),
)


@given(messages)
def test_round_trip(message: Private) -> None:
    plaintext = message.pack()
    assert parse_private(plaintext) == message
    assert PRIVATE_MIN <= 28 + 12 + len(plaintext) + 16 <= MAX_CONTROL_DATAGRAM


def test_layouts_of_protocol_section_7() -> None:
    four, six = ipaddress.ip_address("10.77.0.2"), ipaddress.ip_network("fd00::/64")
    assert Resolve(5, four).pack() == bytes.fromhex("01 0000000000000005 04 0a4d0002")
    assert Resolved(5, ResolveStatus.FOUND, 300, six, (NODE,)).pack() == bytes.fromhex(
        "02 0000000000000005 00 012c 40 06 fd000000000000000000000000000000 01 1111222233334444"
    )
    assert Routes(5, 44).pack() == bytes.fromhex("03 0000000000000005 002c")
    assert RouteList(5, 7, 1, 0, (Route(ipaddress.ip_network("192.168.8.0/24"), NODE),)).pack() == bytes.fromhex(
        "04 0000000000000005 0000000000000007 0001 0000 01 1111222233334444 04 18 c0a80800"
    )
    assert Changed(1, 7).pack() == bytes.fromhex("05 0000000000000001 0000000000000007 00")
    assert Changed(1, 7, six).pack() == bytes.fromhex(
        "05 0000000000000001 0000000000000007 06 40 fd000000000000000000000000000000"
    )


@pytest.mark.parametrize(
    ("plaintext", "reason"),
    [
        ("", "truncated"),
        ("00 0000000000000005", "private_kind"),
        ("06 0000000000000005", "private_kind"),
        ("01 0000000000000005 05 0a4d0002", "family"),
        ("01 0000000000000005 04 0a4d00", "truncated"),
        ("01 0000000000000005 04 0a4d000200", "trailing"),
        ("02 0000000000000005 03 012c 20 04 0a4d0002 00", "resolve_status"),
        ("02 0000000000000005 00 012c 20 04 0a4d0002 00", "count"),
        ("02 0000000000000005 01 012c 20 04 0a4d0002 01 1111222233334444", "count"),
        ("02 0000000000000005 00 012c 20 04 0a4d0002 09" + "1111222233334444" * 9, "count"),
        ("02 0000000000000005 00 012c 20 04 0a4d0002 01 0000000000000000", "id_zero"),
        ("02 0000000000000005 00 012c 18 04 0a4d0002 01 1111222233334444", "prefix"),
        ("02 0000000000000005 00 012c 21 04 0a4d0002 01 1111222233334444", "prefix"),
        ("04 0000000000000005 0000000000000007 0000 0000 01 1111222233334444 04 18 c0a80800", "count"),
        ("04 0000000000000005 0000000000000007 0001 0000 01 1111222233334444 04 18 c0a80801", "prefix"),
        ("05 0000000000000001 0000000000000007 00 00", "trailing"),
        ("05 0000000000000001 0000000000000007 01", "truncated"),
        ("05 0000000000000001 0000000000000007 01 00", "family"),
    ],
)
def test_refused_with_its_reason(plaintext: str, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_private(bytes.fromhex(plaintext))
    assert caught.value.reason == reason


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_malformed(plaintext: bytes) -> None:
    try:
        message = parse_private(plaintext)
    except Malformed:
        return
    assert message.pack() == plaintext


def test_sealed_is_split_where_it_was_joined() -> None:
    header = private_header(NodeID(2), NODE)
    assert parse_header(header).type == PacketType.PRIVATE
    parts = parse_sealed(header + b"n" * 12 + b"c" * 30)
    assert parts == (header, b"n" * 12, b"c" * 30)


@pytest.mark.parametrize("size", [PRIVATE_MIN - 1, MAX_CONTROL_DATAGRAM + 1])
def test_sealed_has_bounds(size: int) -> None:
    with pytest.raises(Malformed) as caught:
        parse_sealed(bytes(size))
    assert caught.value.reason == "private_length"
