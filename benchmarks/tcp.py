"""TCP transfers by iperf3 with cubic, whatever the system's default is, as the receiver counts them.

Whole seconds: iperf3 cuts off what is behind the point, and takes 0 for ever.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from benchmarks.star import Star
from benchmarks.systems.base import Tunnel
from ovng.demo.net import Process, wait_until
from ovng.errors import SystemProblem

CONGESTION_CONTROL = "cubic"
_PORT = 5201


@dataclass(frozen=True)
class Transfer:
    """What arrived."""

    bytes: int
    gbit_s: float


class TcpMeter:
    """An iperf3 server at `b`, and clients at `a` that transfer in either direction."""

    def __init__(self, star: Star, tunnel: Tunnel) -> None:
        self._star, self._tunnel = star, tunnel
        self._server = star.b.start("iperf3", "iperf3", "--server", "--bind", tunnel.b)
        wait_until(self._listening, "iperf3 server")

    def transfer(self, seconds: int, streams: int, *, reverse: bool = False) -> Transfer:
        """From `a` to `b`, or in `reverse`. Raises SystemProblem."""
        command = self._star.a.command(*self._client(seconds, streams, reverse))
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
        return read_transfer(done.stdout)

    def start(self, seconds: int, *, both: bool = False) -> Process:
        """One stream from `a` to `b`, or one each way; this returns when it runs, and it ends by itself."""
        ways = ["--bidir"] if both else []
        running = self._star.a.start("iperf3", *self._client(seconds, 1, False), *ways)
        wait_until(lambda: f":{_PORT}" in self._star.a.run("ss", "-Htn", "state", "established"), "iperf3 stream")
        return running

    def _client(self, seconds: int, streams: int, reverse: bool) -> list[str]:
        command = ["iperf3", "--json", "--client", self._tunnel.b, "--bind", self._tunnel.a]
        command += ["--time", str(seconds), "--parallel", str(streams), "--congestion", CONGESTION_CONTROL]
        return [*command, "--reverse"] if reverse else command

    def _listening(self) -> bool:
        self._server.check()
        return f":{_PORT} " in self._star.b.run("ss", "-Hltn")


def read_transfer(output: str) -> Transfer:
    """iperf3's JSON, as its receiver counted. Raises SystemProblem with iperf3's word when it failed."""
    try:
        document = json.loads(output)
    except ValueError:
        raise SystemProblem(f"iperf3 said: {output.strip()[:200] or 'nothing'}") from None
    if "error" in document:
        raise SystemProblem(f"iperf3: {document['error']}")
    received, sender = document["end"]["sum_received"], document["end"].get("sender_tcp_congestion")
    if sender not in (None, CONGESTION_CONTROL):
        raise SystemProblem(f"iperf3 used {sender}, not {CONGESTION_CONTROL}")
    if not received["bytes"]:
        raise SystemProblem("nothing arrived")
    return Transfer(received["bytes"], received["bits_per_second"] / 1e9)
