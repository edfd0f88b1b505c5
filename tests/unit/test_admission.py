from __future__ import annotations

from ovng.forwarding.admission import HintLimit, RateLimit
from ovng.ids import Locator


def place(i: int, port: int = 1_000) -> Locator:
    return Locator.of(f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}", port)


def test_so_many_per_second_and_key() -> None:
    limit = RateLimit(3)
    assert [limit.allow(b"a", 5.0) for _ in range(4)] == [True, True, True, False]
    assert limit.allow(b"b", 5.5)
    assert not limit.allow(b"a", 5.99)
    assert limit.allow(b"a", 6.0)


def test_memory_of_a_rate_limit_is_bounded() -> None:
    limit = RateLimit(1, capacity=100)
    assert sum(limit.allow(i, 1.0) for i in range(1_000)) == 100
    assert limit.allow(5_000, 2.0)


def test_a_clock_that_went_back_does_not_lock_anybody_out() -> None:
    limit = RateLimit(1)
    assert limit.allow(b"a", 100.0)
    assert limit.allow(b"a", 50.0)


def test_one_hint_per_interval_source_and_id() -> None:
    hints = HintLimit(1.0, 50, RateLimit(1_000))
    here, there = place(1), place(1, port=1_001)
    assert hints.allow(here, 7, 10.0)
    assert not hints.allow(here, 7, 10.999)
    assert hints.allow(here, 8, 10.5), "another ID"
    assert hints.allow(there, 7, 10.5), "another source"
    assert hints.allow(here, 7, 11.0)
    assert not hints.allow(here, 7, 11.9), "an interval that crosses the turn of generations"
    assert not hints.allow(here, 7, 11.999)
    assert hints.allow(here, 7, 12.0)


def test_at_most_50_per_second_and_prefix() -> None:
    hints = HintLimit(1.0, 50, RateLimit(1_000))
    assert sum(hints.allow(place(i), 7, 10.0) for i in range(200)) == 50
    assert hints.allow(place(256), 7, 10.0), "the next /24"
    assert hints.allow(place(3), 7, 11.0), "the next second"


def test_so_many_in_all() -> None:
    hints = HintLimit(1.0, 50, RateLimit(120))
    assert sum(hints.allow(place(i << 8), 7, 10.0) for i in range(500)) == 120


def test_memory_of_hints_is_bounded() -> None:
    hints = HintLimit(1.0, 50, RateLimit(1_000))
    for second in range(5):
        for i in range(5_000):
            hints.allow(place(i << 8), 7, 10.0 + second)
    assert len(hints._recent) + len(hints._before) <= 2_000


def test_sites_are_24_and_56_bits() -> None:
    assert Locator.of("192.0.2.1", 1).site == Locator.of("192.0.2.254", 2).site
    assert Locator.of("192.0.2.1", 1).site != Locator.of("192.0.3.1", 1).site
    assert Locator.of("2001:db8:0:ff::1", 1).site == Locator.of("2001:db8::1", 1).site
    assert Locator.of("2001:db8:0:100::1", 1).site != Locator.of("2001:db8::1", 1).site
