"""Log lines: one per message, nothing of a peer's that could forge another, none that floods."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from ovng.clock import Now
from ovng.io import logs


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """The logger of all ovng, put back afterwards: other tests read it through pytest."""
    logger = logging.getLogger("ovng")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield logger
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def at(mono: float) -> Now:
    return Now(mono, mono, 1e9)


def test_level_and_single_handler(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logs.setup("info")
    logs.setup("info")
    logging.getLogger("ovng.io.x").info("attached")
    logging.getLogger("ovng.io.x").debug("detail")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(" INFO attached")


def test_the_journal_gets_priorities(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    logs.setup("debug")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logging.getLogger("ovng").log(level, "x")
    assert capsys.readouterr().err.split() == ["<7>x", "<6>x", "<4>x", "<3>x", "<3>x"]


def test_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("info")
    try:
        raise ValueError("with\nlines")
    except ValueError:
        logging.getLogger("ovng").exception("a\nb\r\nc")
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202eabc", "\\u202eabc"),
        ("back\\slash", "back\\\\slash"),
        (b"\xff\x00ok", "\\xff\\x00ok"),
        ("x" * 201, "x" * 200 + "…"),
        (b"x" * 1_000_000, "x" * 200 + "…"),
        ("", ""),
    ],
)
def test_escape(text: str | bytes, shown: str) -> None:
    assert logs.escape(text) == shown


def test_limiter(caplog: pytest.LogCaptureFixture) -> None:
    limiter = logs.Limiter(logging.getLogger("ovng.test"), seconds=10)
    with caplog.at_level(logging.INFO, "ovng.test"):
        said = [limiter.log(logging.INFO, "replay", "replayed", at(second)) for second in (0, 1, 9.9, 10, 11)]
        assert limiter.log(logging.INFO, "other", "another", at(11))
    assert said == [True, False, False, True, False]
    assert [record.getMessage() for record in caplog.records] == ["replayed", "replayed (2 more like it)", "another"]


def test_limiter_is_bounded() -> None:
    limiter = logs.Limiter(logging.getLogger("ovng.test"), seconds=10)
    for number in range(1_000):
        limiter.log(logging.DEBUG, str(number), "x", at(0))
    assert len(limiter._kinds) == 256
    assert not limiter.log(logging.DEBUG, "999", "x", at(1))
