"""The corpus is what `seed.py` writes and what was found later, and it is small."""

from __future__ import annotations

import pytest

from tests.fuzz import targets
from tests.fuzz.run import CORPUS
from tests.fuzz.seed import MAKERS

FILE_MAX, TOTAL_MAX = 2_048, 300_000
KINDS = ("seed-", "run-", "found-", "crash-")


@pytest.mark.parametrize("name", targets.NAMES)
def test_seeds_are_those_that_the_script_writes(name: str) -> None:
    """Messages have not changed since, or the corpus is of yesterday: run `python -m tests.fuzz.seed`."""
    made = MAKERS[name]()
    kept = {path.name: path.read_bytes() for path in (CORPUS / name).iterdir()}
    assert set(made) == {file for file in kept if file.startswith(("seed-", "run-"))}
    assert {file: made[file] for file in made if file.startswith("seed-")} == {
        file: data for file, data in kept.items() if file.startswith("seed-")
    }


@pytest.mark.parametrize("name", ["wire_messages", "tls_inner", "certificate"])
def test_what_a_real_run_says_now_passes(name: str) -> None:
    target = targets.load(name)
    fresh = [data for file, data in MAKERS[name]().items() if file.startswith("run-")]
    assert fresh
    for data in fresh:
        target(data)


def test_the_corpus_is_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert all(path.name.startswith(KINDS) for path in files)
    assert max(path.stat().st_size for path in files) < FILE_MAX
    assert sum(path.stat().st_size for path in files) < TOTAL_MAX
