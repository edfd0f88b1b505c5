"""What runs ahead of other programs: all threads of a service, as its profile says, and none of the user's programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovng import limits
from ovng.demo.deployment import Member
from ovng.demo.net import wait_until
from tests.netns.uplinks import two_uplinks

pytestmark = pytest.mark.root

_NICE = 19 - 3  # field 19 of proc_pid_stat(5); the first behind the name is 3


def niceness(member: Member) -> set[int]:
    """Of its threads, by the kernel."""
    assert member.process is not None
    threads = Path(f"/proc/{member.process.pid}/task").iterdir()
    return {int((thread / "stat").read_text().rpartition(") ")[2].split()[_NICE]) for thread in threads}


def test_services_and_hooks(tmp_path: Path) -> None:
    hook = tmp_path / "hooks" / "10-nice"
    hook.parent.mkdir(mode=0o755)
    hook.write_text(f"#!/bin/sh\nnice > {tmp_path}/told.new && mv {tmp_path}/told.new {tmp_path}/told\n")
    hook.chmod(0o755)
    with two_uplinks(alice=f"hooks: {hook.parent}\n", bob="nice: 5\n") as rig:
        rig.meet()
        assert niceness(rig.switch) == {limits.NICE}
        assert niceness(rig.alice) - {0} == {limits.NICE}  # 0: the thread that runs hooks, while there is one
        assert niceness(rig.bob) == {5}
        assert (rig.alice.status()["nice"], rig.bob.status()["nice"]) == (limits.NICE, 5)
        rig.alice.host.ip("link", "set", "wifi", "down")
        wait_until((tmp_path / "told").exists, "hook")
    assert (tmp_path / "told").read_text() == "0\n"
