"""A router's userland here: busybox ash runs our scripts, and what they call is a recorder or the real thing.

`stand-ins` are scripts of our own beside this file. `netifd's own` are netifd-proto.sh and jshn.sh of a machine that
has them (below OPENWRT_PREFIX, or /), with the real `jshn`; `ubus` is a recorder with both.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.quality.sources import ROOT

FEED = ROOT / "openwrt"
FILES = FEED / "net" / "ovng" / "files"
STANDINS = Path(__file__).parent / "standins"
PREFIX = Path(os.environ.get("OPENWRT_PREFIX", "/"))
PATH = os.pathsep.join([str(STANDINS), f"{PREFIX}/bin", f"{PREFIX}/usr/bin", os.environ["PATH"]])
KINDS = ("stand-ins", "netifd's own")


def ash() -> list[str]:
    """The shell of a router."""
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed: the router's shell")
    return ["busybox", "ash"]


class Router:
    """Runs the handler and the hotplug script in `place`."""

    def __init__(self, place: Path, kind: str) -> None:
        self.place = place
        self.etc, self.run_dir, self.calls_file = place / "etc", place / "run", place / "calls"
        proto = place / "netifd" / "proto"
        for directory in (self.etc, self.run_dir, proto, place / "answers"):
            directory.mkdir(parents=True)
        shutil.copy(FILES / "ovng.sh", proto)
        self.jshn = STANDINS / "jshn.sh"
        if kind == "stand-ins":
            shutil.copy(STANDINS / "netifd-proto.sh", proto.parent)
        else:
            shares = (PREFIX / share / "libubox/jshn.sh" for share in ("share", "usr/share", "usr/local/share"))
            self.jshn = next((path for path in shares if path.exists()), self.jshn)
            script = next(iter(PREFIX.glob("lib/netifd/netifd-proto.sh")), None)
            if script is None or shutil.which("jshn", path=PATH) is None:
                pytest.skip("netifd-proto.sh and jshn are not on this machine (OPENWRT_PREFIX)")
            for name in ("netifd-proto.sh", "utils.sh"):
                text = (script.parent / name).read_text()
                text = text.replace("/usr/local/share/libubox/jshn.sh", str(self.jshn))
                (proto.parent / name).write_text(text)
        self._proto = proto
        self.env = {
            "PATH": PATH,
            "PYTHON": sys.executable,
            "STANDINS": str(STANDINS),
            "NETIFD_MAIN_DIR": str(proto.parent),
            "UBUS_CALLS": str(self.calls_file),
            "UBUS_ANSWERS": str(place / "answers"),
            "UCI_SHOW": "",
            "OVNG_ETC": str(self.etc),
            "OVNG_RUN": str(self.run_dir),
            "JSHN": str(self.jshn),
        }

    def _ash(self, *words: str, **env: str) -> str:
        done = subprocess.run(
            [*ash(), *words],
            cwd=self._proto,
            env=self.env | env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""
        return done.stdout

    def handler(self, action: str, interface: str = "ovng0", config: dict[str, Any] | None = None, **env: str) -> None:
        """As netifd runs it."""
        self._ash("./ovng.sh", "ovng", action, interface, json.dumps({"proto": "ovng", **(config or {})}), **env)

    def dump(self) -> dict[str, Any]:
        """What the handler says of itself."""
        said: dict[str, Any] = json.loads(self._ash("./ovng.sh", "", "dump"))
        return said

    def hotplug(self, action: str, **env: str) -> None:
        """As netifd's events run it."""
        self._ash(str(FILES / "ovng.hotplug"), ACTION=action, **env)

    def answer(self, call: str, value: Any) -> None:
        """What a call of ubus gives."""
        (self.place / "answers" / call).write_text(json.dumps(value))

    def calls(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What ubus was asked."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        return [tuple(json.loads(line)) for line in lines]

    def notified(self) -> list[dict[str, Any]]:
        """What netifd was told; the interface is left out."""
        told = [
            message for path, method, message in self.calls() if (path, method) == ("network.interface", "notify_proto")
        ]
        assert all(message.pop("interface") for message in told)
        return told
