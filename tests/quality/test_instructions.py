"""No part of the data path costs more instructions per packet than it did: a regression that noise cannot touch."""

from __future__ import annotations

import platform

import pytest

from benchmarks.instructions import OPERATIONS, RENEW, bounds, exceeded, measured


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the bounds are those of x86-64")
def test_no_packet_costs_more_than_its_bound() -> None:
    costs = measured()
    assert all(cost["own"] > 0 for cost in costs.values()), "nothing of ours was counted"
    assert exceeded(costs, bounds()) == []


def test_every_operation_has_a_bound() -> None:
    assert set(bounds()) == {operation.name for operation in OPERATIONS}


def test_what_costs_more_is_told() -> None:
    cost = {"own": 101.0, "libcrypto": 0.0, "libc": 0.0}
    assert exceeded({"seal": cost}, {"seal": 101}) == []
    (words,) = exceeded({"seal": cost}, {"seal": 100})
    assert "seal: 101 instructions per packet, the bound is 100" in words and RENEW in words
    assert exceeded({"new": cost}, {}) != []
