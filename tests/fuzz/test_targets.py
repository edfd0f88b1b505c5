"""Every target in the suite: its whole corpus, then mutants of it, then what hypothesis thinks of."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ovng.clock import Now
from ovng.forwarding.reports import Reports
from ovng.forwarding.store import Out
from ovng.ids import Locator
from ovng.wire.report import ReportKind
from tests.attachment_fixture import HOME, TRUCK, seeded
from tests.fuzz import targets
from tests.fuzz.choices import Choices, Script
from tests.fuzz.endpoint import Theatre
from tests.fuzz.mutate import corpus, inputs
from tests.fuzz.run import CORPUS

MUTANTS = {
    "wire_messages": 5_000,
    "switch_datagram": 700,
    "node_control": 60,
    "node_reports": 250,
    "bad_peer": 50,
    "reliable_stream": 1_500,
    "tls_inner": 5_000,
    "cookie_ticket": 1_000,
    "profile": 250,
    "certificate": 400,
    "control_socket": 600,
    "netlink": 250,
}
"""As many as some three seconds have room for."""
FEW = 40


def test_every_target_has_a_corpus() -> None:
    assert set(MUTANTS) == set(targets.PYTHON)
    assert {path.name for path in CORPUS.iterdir()} == set(targets.NAMES)
    assert all(corpus(CORPUS / name) for name in targets.NAMES)


@pytest.mark.parametrize("name", targets.PYTHON)
def test_corpus_and_mutants(name: str) -> None:
    """What breaks a law is in the assertion's report, and goes into the corpus as crash-NAME."""
    run(name, MUTANTS[name])


def run(name: str, mutants: int) -> None:
    """All inputs of the corpus and so many mutants, the same every time."""
    target, stream = targets.load(name), inputs(CORPUS / name, seed=1)
    for _ in range(len(corpus(CORPUS / name)) + mutants):
        data = next(stream)
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"{name} is broken by {data.hex()}") from error


@pytest.mark.parametrize("name", ["wire_messages", "tls_inner", "switch_datagram", "profile", "certificate"])
def test_any_bytes(name: str) -> None:
    target = targets.load(name)

    @settings(max_examples=FEW, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=600))
    @example(b"")
    def any_bytes(data: bytes) -> None:
        target(data)

    any_bytes()


# -- The tools themselves


def test_choices_read_what_a_script_says() -> None:
    choices = Choices(Script().u8(7).u16(513).u64(1 << 63).chunk(b"abc").rest(b"end").bytes())
    assert (choices.u8(), choices.u16(), choices.integer()) == (7, 513, 1 << 63)
    assert choices and choices.chunk() == b"abc" and choices.rest() == b"end"
    assert not choices and choices.u16() == 0 and choices.chunk() == b"" and not choices.flag()


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_a_change_ends_and_is_the_same_again(program: bytes, data: bytes) -> None:
    assert Choices(program).changed(data) == Choices(program).changed(data)
    assert Choices(b"").changed(data) == data


def test_a_broken_law_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets can fail: a Switch that forgets to count, changes something, or answers too much does not pass."""

    def forgets(self: Reports, datagram: bytes, source: Locator, now: Now) -> list[Out]:
        return []

    def changes(self: Reports, datagram: bytes, source: Locator, now: Now) -> list[Out]:
        self._table.remove(TRUCK)
        return []

    def talks(self: Reports, datagram: bytes, source: Locator, now: Now) -> list[Out]:
        return 2 * handle(self, datagram, source, now)

    theatre, handle = Theatre(seeded(1)), Reports.handle_untrusted
    report = theatre.nodes[0].report(ReportKind.REFRESH, boot_id=1, key=bytes(32))
    faults = ((talks, "larger"), (forgets, "neither answered nor counted"), (changes, "has changed something"))
    for fault, words in faults:
        monkeypatch.setattr(Reports, "handle_untrusted", fault)
        with pytest.raises(AssertionError, match=words):
            theatre.say(report, HOME)
