"""What runs ahead of other programs: all threads of a service, as its profile says, and none of the user's programs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from ovng import limits
from ovng.demo.deployment import COMMAND, Member
from ovng.demo.net import wait_until
from ovng.io import niceness
from tests.netns.uplinks import two_uplinks

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not niceness.is_permitted(), reason="needs CAP_SYS_NICE"),
]

_NICE = 19 - 3  # field 19 of proc_pid_stat(5); the first behind the name is 3


def nice_values(member: Member) -> set[int]:
    """Of its threads, by the kernel."""
    assert member.process is not None
    found = set()
    for thread in Path(f"/proc/{member.process.pid}/task").iterdir():
        with suppress(OSError):  # it has ended
            found.add(int((thread / "stat").read_text().rpartition(") ")[2].split()[_NICE]))
    return found


def test_services_and_hooks(tmp_path: Path) -> None:
    hook = tmp_path / "hooks" / "10-nice"
    hook.parent.mkdir(mode=0o755)
    hook.write_text(f'#!/bin/sh\n[ "$1" = handover ] && nice > {tmp_path}/new && mv {tmp_path}/new {tmp_path}/told\n')
    hook.chmod(0o755)
    with two_uplinks(alice=f"hooks: {hook.parent}\n", bob="nice: 5\n") as rig:
        rig.meet()
        assert nice_values(rig.switch) == {limits.NICE}
        assert nice_values(rig.alice) - {0} == {limits.NICE}  # 0: while it starts a hook
        assert nice_values(rig.bob) == {5}
        assert (rig.alice.status()["nice"], rig.bob.status()["nice"]) == (limits.NICE, 5)
        rig.alice.host.ip("link", "set", "wifi", "down")
        wait_until((tmp_path / "told").exists, "hook")
    assert (tmp_path / "told").read_text() == "0\n"


@pytest.mark.skipif(not niceness.AUTOGROUP.exists(), reason="a kernel without autogroups")
def test_a_session_of_its_own_runs_ahead_of_other_sessions() -> None:
    """As an init system starts it; one that was started in a shell leaves the shell's session alone."""
    with two_uplinks() as rig:
        rig.bob.stop()
        process = rig.bob.start(wrapper=("setsid", *COMMAND))
        rig.bob.wait("attachment", attached=True)
        assert rig.alice.process is not None
        of = {name: Path(f"/proc/{pid}/autogroup").read_text() for name, pid in
              (("bob", process.pid), ("alice", rig.alice.process.pid), ("shell", "self"))}  # fmt: skip
    assert of["bob"].endswith(f" nice {limits.NICE}\n")
    assert of["alice"] == of["shell"]
