"""The small parts of the session layer: agenda, backoff, admission, key IDs, configuration."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.ids import NodeID
from ovng.session.admission import SOURCES_MAX, AttemptAdmission, TokenBucket, UnknownDataAdmission
from ovng.session.agenda import Agenda
from ovng.session.backoff import Backoff, fraction, jittered
from ovng.session.config import SessionConfig
from ovng.session.receivekeys import ReceiveKeys

CHANCE = random.Random(1).randbytes

# -- Agenda


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 20))), st.integers(0, 20))
def test_agenda_does_what_a_sorted_dict_does(changes: list[tuple[int, int | None]], now: int) -> None:
    agenda: Agenda[int] = Agenda()
    plain: dict[int, float] = {}
    for key, when in changes:
        agenda.set(key, when)
        if when is None:
            plain.pop(key, None)
        else:
            plain[key] = when
        assert agenda.next() == min(plain.values(), default=None)
    due = agenda.due(now)
    assert sorted(due) == sorted(key for key, when in plain.items() if when <= now)
    assert [plain[key] for key in due] == sorted(plain[key] for key in due)
    assert agenda.due(now) == []
    assert agenda.next() == min((when for when in plain.values() if when > now), default=None)


def test_agenda_does_not_grow_with_changes() -> None:
    agenda: Agenda[str] = Agenda()
    for when in range(10_000, 0, -1):
        agenda.set("one", when)
    assert len(agenda._heap) < 100
    assert agenda.next() == 1


# -- Chance


def test_fraction_and_jitter() -> None:
    assert fraction(bytes) == 0.0
    assert 0.999 < fraction(lambda count: b"\xff" * count) < 1.0
    values = [jittered(10.0, 0.2, CHANCE) for _ in range(500)]
    assert 8.0 <= min(values) < 8.2 and 11.8 < max(values) <= 12.0


def test_backoff_doubles_up_to_its_end() -> None:
    backoff = Backoff(1.0, 60.0, CHANCE)
    waits = [backoff.next() for _ in range(10)]
    for wait, nominal in zip(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60], strict=True):
        assert 0.8 * nominal <= wait <= min(1.2 * nominal, 60)
    backoff.reset()
    assert backoff.next() <= 1.2


# -- Admission


def test_token_bucket() -> None:
    bucket = TokenBucket(10, 5, 0.0)
    assert [bucket.take(0.0) for _ in range(6)] == [True] * 5 + [False]
    assert [bucket.take(0.1), bucket.take(0.1)] == [True, False]
    assert [bucket.take(100.0) for _ in range(6)] == [True] * 5 + [False]


def test_attempts_per_source_and_in_all() -> None:
    admission = AttemptAdmission()
    assert sum(admission.admit(NodeID(1), b"", 0.0) for _ in range(100)) == 5
    assert sum(admission.admit(NodeID(1), b"", 1.0) for _ in range(100)) == 5
    assert sum(admission.admit(NodeID(source), b"", 1.0) for source in range(2, 1000)) == 200 - 5
    for source in range(2, 3 * SOURCES_MAX):
        admission.admit(NodeID(source), b"", 2.0)
    assert len(admission._sources._buckets) == SOURCES_MAX


def test_attempts_per_site_at_the_switch() -> None:
    admission = AttemptAdmission()
    assert sum(admission.admit(NodeID(source), b"here", 0.0) for source in range(1, 1000)) == 50
    assert admission.admit(NodeID(1), b"there", 0.0), "the same ID from elsewhere has a turn of its own"
    assert sum(admission.admit(NodeID(source), b"%d" % source, 0.0) for source in range(1, 1000)) == 200 - 51


def test_unknown_data_once_per_5_seconds_and_id() -> None:
    admission = UnknownDataAdmission()
    times = [step / 10 for step in range(101)]
    assert [time for time in times if admission.admit(NodeID(1), time)] == [0.0, 5.0, 10.0]
    assert sum(admission.admit(NodeID(source), 100.0) for source in range(2, 100)) == 20
    for source in range(2, 3 * SOURCES_MAX):
        admission.admit(NodeID(source), float(source))
    assert len(admission._last) == SOURCES_MAX


# -- Key IDs


def test_key_ids_go_round_from_a_random_start() -> None:
    keys = ReceiveKeys(lambda count: b"\xfe" * count)
    assert [keys.reserve() for _ in range(4)] == [254, 255, 0, 1]
    keys.release(255)
    assert keys.reserve() == 2, "one just released is not used again at once"


def test_a_key_id_in_use_is_never_given() -> None:
    keys = ReceiveKeys(bytes)
    in_use = []
    for _ in range(3):
        in_use.append(keys.reserve())
        keys.install(in_use[-1])
    for _ in range(600):
        key_id = keys.reserve()
        assert key_id not in in_use
        keys.release(key_id)
    keys.retire(1, 100.0)
    assert keys.due(99.9) == []
    assert 1 not in [keys.reserve() for _ in range(100)], "it still receives"
    assert keys.due(100.0) == [1]
    assert 1 in [keys.reserve() for _ in range(153)]


def test_a_fifth_generation_takes_the_place_of_the_one_nearest_its_end() -> None:
    keys = ReceiveKeys(bytes)
    for key_id in range(4):
        assert keys.install(keys.reserve()) == []
        keys.retire(key_id, 100.0 - key_id)
    assert keys.install(keys.reserve()) == [3]
    assert keys.installed == [0, 1, 2, 4]


def test_retiring() -> None:
    keys = ReceiveKeys(bytes)
    for _ in range(3):
        keys.install(keys.reserve())
    keys.retire(0, 50.0)
    keys.retire(1, 500.0)
    keys.retire(9, 1.0)  # never installed
    assert keys.next() == 50.0
    keys.hasten(100.0)
    assert keys.due(60.0) == [0] and keys.next() == 100.0
    assert keys.installed == [1, 2]
    assert keys.remove(1) and not keys.remove(1)
    assert keys.next() is None and keys.installed == [2]


# -- Configuration


def test_config_refuses_nonsense() -> None:
    assert SessionConfig().cipher_mask == 3 and SessionConfig(ciphers=(2,)).cipher_mask == 2
    for wrong in (0.5, 90_000.0):
        with pytest.raises(ValueError, match="rekey_seconds"):
            SessionConfig(rekey_seconds=wrong)
    for ciphers in ((), (3,), (1, 0)):
        with pytest.raises(ValueError, match="ciphers"):
            SessionConfig(ciphers=ciphers)
