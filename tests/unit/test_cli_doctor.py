"""`ovng doctor` on this machine, whatever it has."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ovng.cli.main import main
from ovng.io import machine, sysctl
from ovng.io.machine import State
from tests.kernel_refusal import in_a_thread, needs_seccomp, refuse_timestamps


def test_json_and_text_agree(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--json"])
    document = json.loads(capsys.readouterr().out)
    missing = [check["name"] for check in document["checks"] if check["state"] == "missing"]
    assert status == (1 if missing else 0)
    assert document["ok"] == (not missing)
    names = [check["name"] for check in document["checks"]]
    assert len(set(names)) == len(names)
    assert {"TUN", "CAP_NET_ADMIN", "libcrypto", "UDP GSO", "IPv6", "clock"} <= set(names)
    assert main(["doctor"]) == status
    text = capsys.readouterr().out
    assert all(f"{name} " in text for name in names)


def test_what_is_not_right_says_what_to_do() -> None:
    for check in machine.examine():
        assert check.advice or check.state is State.OK


def test_hooks(tmp_path: Path) -> None:
    def found() -> machine.Check:
        return next(check for check in machine.examine(hooks=tmp_path) if check.name == "hooks")

    assert found().value == f"none in {tmp_path}"
    for name in ("10-a", "20-b"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert (found().state, found().value) == (State.OK, f"10-a, 20-b in {tmp_path}")
    (tmp_path / "10-a").chmod(0o775)
    assert (found().state, found().value) == (State.WARN, f"20-b in {tmp_path}, 1 refused")
    assert found().advice == f"{tmp_path}/10-a: others may write to it: run chmod go-w {tmp_path}/10-a"


@needs_seccomp
def test_a_kernel_that_does_not_say_when_datagrams_came() -> None:
    def found() -> machine.Check:
        (check,) = (check for check in machine.examine() if check.name == "UDP timestamps")
        return check

    assert in_a_thread(found).state is State.OK

    def refused() -> machine.Check:
        refuse_timestamps()
        return found()

    assert in_a_thread(refused).state is State.WARN


def doctor(*prefix: str, arguments: tuple[str, ...] = ()) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status and checks by name, from a process of its own."""
    command = [*prefix, sys.executable, "-m", "ovng.cli.main", "doctor", "--json", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_a_libcrypto_that_is_none() -> None:
    status, checks = doctor(arguments=("--libcrypto", "/nonexistent/libcrypto.so"))
    assert status == 1
    assert checks["libcrypto"]["state"] == "missing"
    assert "/nonexistent/libcrypto.so" in checks["libcrypto"]["advice"]


@pytest.mark.parametrize("lacks", [[], ["pyroute2"], ["netifaces"], ["pyroute2", "netifaces"]], ids=",".join)
def test_it_names_the_watcher_and_why(tmp_path: Path, lacks: list[str]) -> None:
    for name in lacks:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n")
    watcher = doctor("env", f"PYTHONPATH={tmp_path}")[1]["network watcher"]
    state, name = {
        (): ("ok", "netlink"),
        ("pyroute2",): ("warn", "polling with netifaces every 1 s"),
        ("netifaces",): ("ok", "netlink"),
        ("pyroute2", "netifaces"): ("missing", "none"),
    }[tuple(lacks)]
    assert (watcher["state"], watcher["value"]) == (state, name)
    assert ("no pyroute2 here" in watcher["advice"]) == ("pyroute2" in lacks)
    assert ("pip install 'ovng[poll]'" in watcher["advice"]) == (state == "missing")


@pytest.mark.skipif(not machine.has_capability(12), reason="gives up CAP_NET_ADMIN, so it must have it")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_without_the_right_to_make_interfaces() -> None:
    status, checks = doctor("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    assert status == 1
    assert checks["CAP_NET_ADMIN"]["state"] == "missing"
    assert checks["TUN"]["state"] == "missing"
    assert "CAP_NET_ADMIN" in checks["TUN"]["advice"]


class TestSysctl:
    def test_read(self) -> None:
        assert sysctl.read("kernel.ostype") == "Linux"
        assert sysctl.read("kernel.no_such_thing") is None
        assert sysctl.ip_forward(4) in (True, False)
        assert sysctl.buffer_limit("receive") > 0

    def test_an_interface_with_a_dot(self) -> None:
        assert sysctl._path("net.ipv4.conf.eth0/5.forwarding") == Path("/proc/sys/net/ipv4/conf/eth0.5/forwarding")

    def test_no_way_out_of_proc_sys(self) -> None:
        with pytest.raises(ValueError, match="etc"):
            sysctl.read("//.//.etc.passwd")
