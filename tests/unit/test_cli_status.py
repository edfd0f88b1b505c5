"""The status view from documents, and the verb against a live control socket."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ovng.cli.main import main
from ovng.cli.render import bytes_text, columns, duration, printable
from ovng.cli.status import lines
from tests.service_fixture import Service, running

NODE: dict[str, Any] = {
    "name": "truck",
    "kind": "node",
    "id": "3f9a-77c1-02be-5d40",
    "network": "fleet",
    "version": "0.1.0",
    "uptime_seconds": 7_512.3,
    "switch": {
        "id": "aaaa-0000-0000-0001",
        "locator": "192.0.2.1:5140",
        "rtt_ms": 12.34,
        "attached": True,
        "boot": "00ff",
        "grant": 3,
        "moves": [],
    },
    "peers": [
        {
            "id": "bbbb-0000-0000-0002",
            "session": "00c0ffee",
            "generation": 2,
            "age_seconds": 59,
            "cipher": "AES-256-GCM",
            "group": "x25519",
            "rtt_ms": None,
            "rx_packets": 9,
            "tx_packets": 9,
            "rx_bytes": 1_536,
            "tx_bytes": 3_000_000_000,
            "prefixes": ["192.168.8.0/24", "10.77.0.3/32"],
        }
    ],
    "paths": [
        {"path": 0, "uplink": "wlan0", "state": "ready", "active": True, "rtt_ms": 12.34, "loss": 0.25, "mtu": 1452},
        {"path": 1, "uplink": "", "state": "joining", "metered": True, "rtt_ms": None, "loss": None},
    ],
    "handovers": [
        {"handover": 1},
        {
            "handover": 2,
            "at": 1_763_800_000.5,
            "before_path": 1,
            "before_uplink": "",
            "path": 0,
            "uplink": "wlan0",
            "cause": "silent",
            "gap_out_ms": 250.0,
            "gap_back_ms": 291.5,
            "held": 0,
            "sent_later": 2,
            "replayed": None,
            "lost": 3,
        },
    ],
    "routes": {
        "taken": [{"prefix": "192.168.8.0/24", "via": "bbbb-0000-0000-0002"}],
        "refused": [{"prefix": "0.0.0.0/0", "via": "bbbb-0000-0000-0002", "reason": "not in accept_routes"}],
    },
    "locators": [{"locator": "198.51.100.7:40000", "since": 1_763_800_000.5, "gap_ms": 31.5}],
    "counters": {"replayed": 3, "truncated": 0},
    "offloads": {"gso": True, "uso": False},
    "warnings": ["the certificate ends in 12 days"],
    "certificate": {"not_after": 1_900_000_000, "days_left": 12},
}
SWITCH: dict[str, Any] = {
    "name": "hub",
    "kind": "switch",
    "id": "aaaa-0000-0000-0001",
    "network": "fleet",
    "uptime_seconds": 5,
    "nodes": [
        {
            "id": "bbbb-0000-0000-0002",
            "locators": ["198.51.100.7:40000"],
            "active": "198.51.100.7:40000",
            "state": "attached",
            "lease_seconds": 61,
        }
    ],
    "node_count": 2_000,
    "counters": {},
    "warnings": [],
}


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("utc")
def test_node() -> None:
    text = "\n".join(lines(NODE))
    assert text.startswith("node truck  3f9a-77c1-02be-5d40  network fleet  up 2 h 5 min\n")
    assert "switch aaaa-0000-0000-0001  192.0.2.1:5140  rtt 12.3 ms  attached" in text
    assert "bbbb-0000-0000-0002  00c0ffee.2  59 s  AES-256-GCM  x25519  -    1.5 KiB   2.8 GiB  192.168.8.0/24" in text
    assert "refused: not in accept_routes" in text
    assert "0*    wlan0          ready    12.3 ms  25 %  1452  -" in text
    assert "1     any (metered)  joining  -        -     -     -" in text
    assert "handover 2  2025-11-22 08:26:40  any (path 1) → wlan0 (path 0): silent\n" in text
    assert "gap 250.0 ms out, 291.5 ms back; 0 held, 2 sent later, ? replayed, 3 lost\n" in text
    assert "198.51.100.7:40000     2025-11-22 08:26:40  31.5 ms" in text
    assert "replayed  3" in text
    assert "truncated" not in text
    assert "offloads: gso on, uso off" in text
    assert "warning: the certificate ends in 12 days" in text


def test_not_attached_and_alone() -> None:
    text = "\n".join(lines({**NODE, "switch": {"attached": None}, "peers": []}))
    assert "NOT ATTACHED" in text
    assert "no sessions" in text


def test_switch() -> None:
    text = "\n".join(lines(SWITCH))
    assert "2000 nodes, 1 of them shown" in text
    assert "bbbb-0000-0000-0002  198.51.100.7:40000  attached  1 min 1 s" in text


@pytest.mark.parametrize("document", [NODE, SWITCH])
def test_every_part_may_be_missing(document: dict[str, Any]) -> None:
    """A service of another version answers another document."""
    for key in document:
        assert list(lines({name: value for name, value in document.items() if name != key}))
        assert list(lines({**document, key: None}))


@pytest.mark.parametrize("since", ["x", None, float("inf"), float("nan"), 1e30])
def test_an_instant_that_is_none(since: object) -> None:
    assert any(
        line.startswith("1.2.3.4:5  ") for line in lines({"locators": [{"locator": "1.2.3.4:5", "since": since}]})
    )


def test_nothing_moves_the_cursor() -> None:
    hostile = {**NODE, "name": "a\x1b[2Jb", "warnings": ["x\r\nfake line", "\u202eright to left"]}
    for line in lines(hostile):
        assert line == printable(line)
        assert "\x1b" not in line
        assert "\n" not in line
        assert "\u202e" not in line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[
            (0, "0 s"),
            (59.9, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_605, "1 h"),
            (90_061, "1 d 1 h"),
        ],
        *[(-3, "0 s"), (None, "-"), ("x", "-"), (True, "-")],
    ],
)
def test_duration(seconds: object, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1 << 30, "1.0 GiB"), (1 << 50, "1024.0 TiB"), (None, "-")],
)
def test_bytes(count: object, text: str) -> None:
    assert bytes_text(count) == text


def test_columns_align() -> None:
    assert list(columns(("A", "B"), [("long", "x"), ("s", "")])) == ["A     B", "long  x", "s"]


# -- The verb


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("OVNG_RUNTIME_DIR", str(tmp_path))
    with running("truck", {"status": NODE}) as service:
        yield service


def test_json_is_what_the_service_says(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", "truck"]) == 0
    assert json.loads(capsys.readouterr().out) == NODE


def test_the_only_one_needs_no_name(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert capsys.readouterr().out == "\n".join(lines(NODE)) + "\n"


def test_found_by_its_profile(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the name is read: the rest may be wrong by now."""
    profile = tmp_path / "anything.ovng"
    profile.write_text("ovng: 1\nname: truck\ncertificate: expired\n")
    profile.chmod(0o600)
    assert main(["status", "--json", str(profile)]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "truck"


def test_several_need_a_name(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    with running("hub", {"status": SWITCH}):
        assert main(["status"]) == 1
        assert capsys.readouterr().err == "ovng: several run here: name one of hub, truck\n"
        assert main(["status", "hub"]) == 0


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        ("office", 1, "ovng: office is not running\n"),
        ("../etc/passwd", 2, "cannot be opened"),
        ("..", 2, "is no name"),
        ("no\nname", 2, "is no name"),
        ("missing.ovng", 2, "missing.ovng: cannot be opened"),
    ],
)
def test_bad_targets(
    service: Service, capsys: pytest.CaptureFixture[str], target: str, status: int, message: str
) -> None:
    assert main(["status", target]) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OVNG_RUNTIME_DIR", str(tmp_path / "none"))
    assert main(["status"]) == 1
    assert "nothing runs here" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
