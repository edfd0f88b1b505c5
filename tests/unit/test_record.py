from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ovng.forwarding.record import (
    FLAG_WANTS_ROUTES,
    NO_MASTER,
    RECORD_SIZE,
    Record,
    needs_ageing,
    record_flags,
    record_grant,
    serial_hash,
)

u8, u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
masters = st.binary(min_size=32, max_size=32)
fours = st.lists(u32, min_size=4, max_size=4)
records = st.builds(
    Record,
    masters,
    masters,
    u64,
    st.binary(min_size=8, max_size=8),
    u32,
    u16,
    u32,
    u8,
    fours,
    fours,
    st.binary(min_size=4, max_size=4).map(bytearray),
)


def record(ends: int = 1_000, lease: int = 0) -> Record:
    return Record(b"r" * 32, NO_MASTER, 1, b"s" * 8, ends, 7, lease=[0, lease, 0, 0])


@given(records)
def test_round_trip_in_128_bytes(it: Record) -> None:
    data = it.pack()
    assert len(data) == RECORD_SIZE
    assert Record.unpack(data) == it
    assert record_grant(data) == it.grant
    assert record_flags(data) == it.flags


@given(records, u32)
def test_ageing_looks_at_grant_and_leases(it: Record, boot: int) -> None:
    ended = it.ends <= boot or any(0 < lease <= boot for lease in it.lease)
    assert needs_ageing(it.pack(), boot) == ended


def test_a_lease_that_never_was_does_not_end() -> None:
    assert not needs_ageing(record(lease=0).pack(), 999.9)
    assert needs_ageing(record(lease=500).pack(), 500)
    assert not needs_ageing(record(lease=501).pack(), 500.9)


def test_private_keys_are_there_or_not() -> None:
    it = record()
    assert not it.has_private_keys
    it.private_master = b"p" * 32
    assert Record.unpack(it.pack()).has_private_keys


def test_secrets_are_in_no_repr() -> None:
    assert "rrrr" not in repr(record())


def test_serials_of_any_size() -> None:
    assert len({serial_hash(serial) for serial in (0, 1, 255, 256, 1 << 159)}) == 5
    assert FLAG_WANTS_ROUTES < 256
