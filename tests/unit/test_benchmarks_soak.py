"""The soak's verdict: what it must find, and that the counters it looks at are real ones."""

from __future__ import annotations

import pytest

from benchmarks.soak import LOST_TO_REKEY, REKEY_SECONDS, losses, session_faults
from benchmarks.usage import Resident, growth
from ovng._fast.node import INBOUND_DROPS, OUTBOUND_DROPS

OTHERS = ("event_ring_full", "inject_ring_full", "inject_full", "pending_dropped")
"""Those that the service adds: `node/status.py`, `node/overlay.py`, `NodeLoops.stats`."""


@pytest.mark.parametrize("prefix", LOST_TO_REKEY)
def test_every_counter_looked_at_exists(prefix: str) -> None:
    assert any(name.startswith(prefix) for name in (*INBOUND_DROPS, *OUTBOUND_DROPS, *OTHERS))


def test_only_what_rose_and_what_a_rekey_could_raise_is_a_loss() -> None:
    before = {"replay_old": 3, "sojourn": 1}
    assert losses("a", before, {"replay_old": 3, "sojourn": 9, "local_noise": 4}) == []
    assert losses("a", before, {"replay_old": 5, "aead_forged": 1}) == [
        "a: replay_old rose by 2",
        "a: aead_forged rose by 1",
    ]


def test_too_few_rekeys_and_a_new_session_are_faults() -> None:
    first = {"session": "01", "generation": 2}
    assert session_faults(first, {"session": "01", "generation": 12}, 10 * REKEY_SECONDS) == []
    (late,) = session_faults(first, {"session": "01", "generation": 3}, 10 * REKEY_SECONDS)
    assert late.startswith("1 rekeys where 8 were due")
    assert any("became 02" in fault for fault in session_faults(first, {"session": "02", "generation": 12}, 300))


def test_growth_counts_after_the_first_minute() -> None:
    def sample(seconds: float, mib: float) -> Resident:
        return Resident(seconds, {"a": mib})

    assert growth([sample(10, 20.0), sample(60, 41.0), sample(600, 42.9)]) == []
    assert growth([sample(60, 41.0), sample(600, 43.1)]) == ["a: memory grew from 41.0 to 43.1 MiB"]
