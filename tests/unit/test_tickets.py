from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.errors import Malformed
from ovng.forwarding.tickets import Ticket, TicketKeys, parse_ticket
from ovng.ids import NodeID
from ovng.limits import TICKET_MAX
from tests.attachment_fixture import SWITCH, TRUCK, WALL, TestAead, prefix, seeded

DAY = 86_400
TICKET = Ticket(
    TRUCK,
    513,
    int(WALL),
    int(WALL) + DAY,
    77,
    1 << 150,
    b"m" * 32,
    (prefix("10.77.0.2/32"), prefix("fd00::2/128"), prefix("192.168.8.0/24")),
    "gateways",
)


def keys(seed: int = 1, switch: NodeID = SWITCH) -> TicketKeys:
    return TicketKeys(switch, TestAead, seeded(seed))


def reason_of(keys: TicketKeys, data: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        keys.open_untrusted(data)
    return caught.value.reason


def test_what_was_sealed_opens() -> None:
    tickets = keys()
    data = tickets.seal(TICKET, WALL)
    assert tickets.open_untrusted(data) == TICKET
    assert b"m" * 16 not in data


def test_layout_of_protocol_section_6() -> None:
    assert Ticket(TRUCK, 1, 2, 3, 4, 0x0506, b"m" * 32, (prefix("10.0.0.0/8"),)).pack() == bytes.fromhex(
        "01 1111000000000001 0001 0000000000000002 0000000000000003 0000000000000004 02 0506"
        + "6d" * 32
        + "01 04 08 0a000000 00"
    )


@given(
    st.integers(1, (1 << 64) - 1).map(NodeID),
    st.integers(0, (1 << 160) - 1),
    st.lists(st.ip_addresses().map(ipaddress.ip_network), max_size=16).map(tuple),
    st.none() | st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True),
)
def test_every_ticket_of_16_prefixes_fits_512_bytes(
    node: NodeID, serial: int, prefixes: tuple[ipaddress.IPv4Network, ...], cluster: str | None
) -> None:
    ticket = Ticket(node, 65_535, 1, 2, 3, serial, b"m" * 32, prefixes, cluster)
    tickets = keys()
    data = tickets.seal(ticket, WALL)
    assert 0 < len(data) <= TICKET_MAX
    assert tickets.open_untrusted(data) == ticket


def test_more_prefixes_make_no_ticket() -> None:
    many = tuple(prefix(f"10.0.0.{i}/32") for i in range(17))
    assert keys().seal(Ticket(TRUCK, 1, 2, 3, 4, 5, b"m" * 32, many), WALL) == b""


def test_a_changed_bit_anywhere_is_refused() -> None:
    tickets = keys()
    data = tickets.seal(TICKET, WALL)
    for at in range(len(data)):
        forged = bytearray(data)
        forged[at] ^= 0x40
        assert reason_of(tickets, bytes(forged)) == ("ticket_key" if at < 4 else "ticket_forged")


@pytest.mark.parametrize("cut", [0, 3, 4, 15, 16, 31])
def test_a_cut_one_is_refused(cut: int) -> None:
    tickets = keys()
    assert reason_of(tickets, tickets.seal(TICKET, WALL)[:cut]) == "truncated"


def test_another_switchs_ticket_is_refused() -> None:
    mine, others = keys(), keys(switch=NodeID(99))
    data = mine.seal(TICKET, WALL)
    others.load(mine.dump())
    assert reason_of(others, data) == "ticket_forged"


def test_keys_are_replaced_daily_and_outlive_their_tickets() -> None:
    tickets = keys()
    first = tickets.seal(TICKET, WALL)
    second = tickets.seal(TICKET, WALL + DAY)
    assert first[:4] != second[:4]
    tickets.rotate(WALL + 2 * DAY - 1)
    assert tickets.open_untrusted(first) == TICKET
    tickets.rotate(WALL + 2 * DAY)
    assert reason_of(tickets, first) == "ticket_key"
    assert tickets.open_untrusted(second) == TICKET


def test_keys_survive_a_restart_and_are_told_to_be_stored() -> None:
    before, after = keys(1), keys(2)
    data = before.seal(TICKET, WALL)
    told = [before.changed]
    after.load(before.dump())
    told.append(before.changed)
    assert told == [True, False]
    assert after.open_untrusted(data) == TICKET
    after.rotate(WALL + 10)
    assert not after.changed, "the loaded key is the current one"


def test_a_clock_that_was_set_back_makes_a_new_key_and_keeps_the_old() -> None:
    tickets = keys()
    data = tickets.seal(TICKET, WALL)
    again = tickets.seal(TICKET, WALL - 10 * DAY)
    assert data[:4] != again[:4]
    assert tickets.open_untrusted(data) == tickets.open_untrusted(again) == TICKET


def test_a_clock_that_jumps_to_and_fro_makes_a_bounded_number_of_keys() -> None:
    tickets = keys()
    for i in range(100):
        tickets.rotate(WALL - i * DAY)
    assert len(tickets.dump()) <= 2 + 16 * 44


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    tickets = keys()
    tickets.rotate(WALL)
    for read in (tickets.open_untrusted, tickets.load, parse_ticket):
        try:
            read(data)
        except Malformed:
            pass


@given(st.data())
def test_any_change_of_a_plaintext_is_read_or_malformed(data: st.DataObject) -> None:
    plaintext = bytearray(TICKET.pack())
    plaintext[data.draw(st.integers(0, len(plaintext) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_ticket(bytes(plaintext))
    except Malformed:
        pass


def test_secrets_are_in_no_repr() -> None:
    assert "mmm" not in repr(TICKET)
