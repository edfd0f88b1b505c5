"""The targets that reach `ovng._fast`, with their corpus and mutants of it; in sanitizer builds, too."""

from __future__ import annotations

import pytest

from tests.fuzz import targets
from tests.fuzz.test_targets import run

MUTANTS = {
    "frame": 20_000,
    "replay": 1_500,
    "segment": 1_500,
    "coalesce": 800,
    "node_path": 500,
    "switch_path": 500,
}
"""As many as some three seconds have room for."""


def test_all_are_here() -> None:
    assert set(MUTANTS) == set(targets.COMPILED)


@pytest.mark.parametrize("name", targets.COMPILED)
def test_corpus_and_mutants(name: str) -> None:
    run(name, MUTANTS[name])
