"""What `ovng._fast` cuts and joins, with the kernel as oracle: a corpus and mutants of it, one router for all."""

from __future__ import annotations

import pytest

from tests.fuzz.mutate import corpus, inputs
from tests.fuzz.run import CORPUS
from tests.fuzz.targets.kernel import check
from tests.netns.router import router

MUTANTS = 500
LONG = 100_000


@pytest.mark.root
@pytest.mark.parametrize("mutants", [MUTANTS, pytest.param(LONG, marks=pytest.mark.long)])
def test_corpus_and_mutants(mutants: int) -> None:
    stream = inputs(CORPUS / "kernel", seed=mutants)
    with router() as oracle:
        for _ in range(len(corpus(CORPUS / "kernel")) + mutants):
            data = next(stream)
            try:
                check(oracle, data)
            except Exception as error:
                raise AssertionError(f"kernel is broken by {data.hex()}") from error
