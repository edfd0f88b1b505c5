"""The demo's story: a Switch, a laptop, a truck with a LAN behind it, and a laptop that changes networks mid-transfer.

         laptop ───────── switch ───────── truck ───── box
    198.51.100.2 .1               .1 203.0.113.2      192.168.8.10
     then .101.2      192.0.2.1:5140      192.168.8.1

The Switch has an address of its own, as a public server has. Box knows nothing of ovng: the truck is its router.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from ovng.clock import now
from ovng.demo.capture import Capture, contains
from ovng.demo.deployment import SOURCE, Member, Network
from ovng.demo.net import Host, Net, Process, wait_until
from ovng.demo.transfer import MARKER
from ovng.demo.uplinks import CABLE, plug_in, pull_out
from ovng.errors import SystemProblem

TRANSFER_BYTES = 1_000 << 20
MOVE_AT = 0.4  # of the transfer
PORT = 7000
PINGS = 20
SNAPLEN_AT_TUN = 512  # enough to see the marker; the TUN need not be kept whole
TRANSFER_SECONDS = 200.0
PREFERS_CABLE = f"uplinks:\n- interface: {CABLE}\n  priority: 1\n"
SWITCH_ADDRESS = "192.0.2.1"
BOX = "192.168.8.10"

Say = Callable[[str], None]


@dataclass
class Result:
    """What the demo saw. Times are milliseconds."""

    handshake_ms: float = 0.0
    ping_ms: float = 0.0
    transfer_bytes: int = 0
    transfer_ok: bool = False
    transfer_gbit_s: float = 0.0
    move_gap_ms: float = 0.0
    sessions_before_move: list[str] = field(default_factory=list)
    sessions_after_move: list[str] = field(default_factory=list)
    captured_bytes_at_switch: int = 0
    plaintext_seen_at_switch: bool = True
    plaintext_seen_at_tun: bool = False
    make_before_break_ms: float = 0.0
    make_before_break_lost: int = 0
    break_before_make_ms: float = 0.0
    break_before_make_lost: int = 0
    clean_teardown: bool = False

    def faults(self) -> list[str]:
        """What is not as it must be, in words; empty after a good run."""
        checks = {
            "the transfer did not arrive whole": self.transfer_ok,
            "the move changed the sessions": self.sessions_before_move == self.sessions_after_move != [],
            "the capture at the Switch is not whole": self.captured_bytes_at_switch >= self.transfer_bytes,
            "the Switch's wire shows plaintext": not self.plaintext_seen_at_switch,
            "the search finds no plaintext where there is some": self.plaintext_seen_at_tun,
            "a move to a better uplink lost packets": self.make_before_break_lost == 0,
            "something was left behind": self.clean_teardown,
        }
        return [fault for fault, good in checks.items() if not good]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def tell(say: Say, transfer_bytes: int = TRANSFER_BYTES) -> Result:
    """Run the whole story; `say` gets a line at every step. Raises SystemProblem when a step cannot be done at all."""
    result = Result()
    with Net("ovng-demo") as net:
        story = _Story(net, say, result)
        try:
            story.run(transfer_bytes)
        except SystemProblem:
            for line in story.last_words():
                say(line)
            raise
    say("everything is taken down" if result.clean_teardown else "something was left behind")
    return result


class _Story:
    def __init__(self, net: Net, say: Say, result: Result) -> None:
        self.net, self.say, self.result = net, say, result
        self.switch_host, self.laptop_host, self.truck_host, self.box = map(
            net.host, ("switch", "laptop", "truck", "box")
        )
        self._wire()
        say("four machines: switch, laptop, truck, and a box on the truck's LAN")
        network = Network(net, "demo", prefixes=["10.77.0.0/16"], switch=[f"{SWITCH_ADDRESS}:5140"])
        self.switch = network.switch(self.switch_host)
        self.truck = network.node(self.truck_host, "truck", "--route", "192.168.8.0/24", settings="forward: true")
        self.laptop = network.node(self.laptop_host, "laptop", settings=PREFERS_CABLE)
        say("a CA, a profile for the Switch and one for each node")

    def _wire(self) -> None:
        switch = self.switch_host
        switch.add_address("lo", f"{SWITCH_ADDRESS}/32")
        self.net.join(switch, self.laptop_host, ["198.51.100.1/24", "198.51.101.1/24"], ["198.51.100.2/24"])
        self.net.join(switch, self.truck_host, ["203.0.113.1/24"], ["203.0.113.2/24"])
        self.net.join(self.truck_host, self.box, ["192.168.8.1/24"], [f"{BOX}/24"])
        self.laptop_host.default_via("198.51.100.1")
        self.laptop_host.ip("link", "add", CABLE, "type", "veth", "peer", "name", "laptop2", "netns", switch.namespace)
        self.laptop_host.add_address(CABLE, "198.51.102.2/24")
        switch.add_address("laptop2", "198.51.102.1/24")
        switch.ip("link", "set", "laptop2", "up")
        self.truck_host.default_via("203.0.113.1")
        self.box.default_via("192.168.8.1")

    def run(self, transfer_bytes: int) -> None:
        self._start()
        self._meet()
        with ExitStack() as captures:
            self._transfer(transfer_bytes, captures)
        self._change_uplinks()
        self._end()

    def _start(self) -> None:
        self.switch.start()
        self.switch.wait("Switch that serves", kind="switch")
        for node in (self.truck, self.laptop):
            node.start()
        for node in (self.truck, self.laptop):
            status = node.wait("attachment", attached=True)
            rtt = status["switch"].get("rtt_ms")
            self.say(f"{node.name} ({node.id}, {node.addresses[0]}) attached" + (f", rtt {rtt:.2f} ms" if rtt else ""))
        wait_until(lambda: self.laptop.status()["routes"]["taken"], "route to the LAN behind the truck")

    def _meet(self) -> None:
        started = now().mono
        self.laptop_host.run("ping", "-n", "-c", "1", "-W", "10", self.truck.addresses[0])
        first = (now().mono - started) * 1000
        (peer,) = self.laptop.status()["peers"]
        self.result.handshake_ms = peer.get("handshake_ms", first)
        self.say(
            f"laptop and truck met: TLS handshake {self.result.handshake_ms:.1f} ms ({peer['group']}),"
            f" data under {peer['cipher']}, first ping after {first:.0f} ms"
        )
        output = self.laptop_host.run("ping", "-n", "-c", str(PINGS), "-i", "0.05", self.truck.addresses[0])
        found = re.search(r"rtt [^=]*= ([\d.]+)/([\d.]+)/", output)
        if found is None:
            raise SystemProblem("ping gave no round trip time")
        self.result.ping_ms = float(found[2])
        self.say(f"ping through the tunnel: {found[2]} ms on average of {PINGS}")

    # -- The transfer, with a move in the middle

    def _transfer(self, total: int, captures: ExitStack) -> None:
        at_switch = Capture(self.switch_host, "laptop", filter="udp port 5140")
        captures.callback(at_switch.path.unlink, missing_ok=True)
        at_tun = Capture(self.truck_host, "ovng0", snaplen=SNAPLEN_AT_TUN)
        before = self.switch_host.received_bytes("laptop")
        receiver = self._python(self.box, "receive", BOX, str(PORT))
        wait_until(lambda: _progress(receiver) >= 0, "listening receiver")
        sender = self._python(self.laptop_host, "send", BOX, str(PORT), str(total))
        self.say(f"laptop sends {total / 1e9:.2f} GB over TCP to {BOX}, the box behind the truck")
        wait_until(lambda: _progress(receiver, sender) >= MOVE_AT * total, "progress", TRANSFER_SECONDS)
        moved = self._move()
        received = json.loads(receiver.finish(TRANSFER_SECONDS).splitlines()[-1])
        sent = json.loads(sender.finish().splitlines()[-1])
        self.result.sessions_after_move = self._sessions()
        self._judge_transfer(sent, received, moved)
        at_tun.stop()
        lost = at_switch.stop()
        self._judge_captures(at_switch, at_tun, lost, self.switch_host.received_bytes("laptop") - before)

    def _move(self) -> float:
        self.result.sessions_before_move = self._sessions()
        self.say("the laptop changes networks: 198.51.100.2 is gone, now it has 198.51.101.2")
        moved = now().mono
        self.laptop_host.readdress("switch", ["198.51.101.2/24"], ["198.51.101.1"])
        return moved

    def _judge_transfer(self, sent: dict[str, Any], received: dict[str, Any], moved: float) -> None:
        result = self.result
        result.transfer_bytes = received["bytes"]
        result.transfer_ok = (sent["bytes"], sent["sha256"]) == (received["bytes"], received["sha256"])
        result.transfer_gbit_s = round(received["bytes"] * 8 / received["seconds"] / 1e9, 3)
        gaps = [end - start for start, end in received["silences"] if end > moved]
        result.move_gap_ms = round(max(gaps, default=0.0) * 1000, 1)
        outcome = "is right" if result.transfer_ok else "IS WRONG"
        self.say(f"{received['bytes']} bytes arrived at {result.transfer_gbit_s:.2f} Gbit/s, their SHA-256 {outcome}")
        self.say(f"the longest silence after the move, seen by the box: {result.move_gap_ms:.0f} ms")
        same = "the same" if result.sessions_before_move == result.sessions_after_move else "NOT those from before"
        self.say(f"sessions as the truck sees them: {', '.join(result.sessions_after_move)}, {same}")

    def _judge_captures(self, at_switch: Capture, at_tun: Capture, lost: int, passed: int) -> None:
        result = self.result
        result.captured_bytes_at_switch = sum(map(len, at_switch.packets()))
        result.plaintext_seen_at_switch = at_switch.contains(MARKER)
        result.plaintext_seen_at_tun = contains(at_tun.path, MARKER)
        self.say(
            f"a capture at the Switch ({result.captured_bytes_at_switch / 1e9:.2f} GB; {passed / 1e9:.2f} GB passed,"
            f" {lost} packets missed) shows {'PLAINTEXT' if result.plaintext_seen_at_switch else 'no plaintext'};"
            f" one at the truck's TUN shows {'it' if result.plaintext_seen_at_tun else 'NONE'}"
        )

    # -- A better uplink comes, and goes

    def _change_uplinks(self) -> None:
        result, target = self.result, self.truck.addresses[0]
        made = plug_in(self.laptop, target, "198.51.102.1")
        result.make_before_break_ms, result.make_before_break_lost = made.gap_ms, made.lost
        self.say(f"a cable is plugged in, a better uplink: gap {made.gap_ms:.0f} ms, {made.lost} pings lost")
        broke = pull_out(self.laptop, target, "switch")
        result.break_before_make_ms, result.break_before_make_lost = broke.gap_ms, broke.lost
        self.say(f"it is pulled out again, without warning: gap {broke.gap_ms:.0f} ms, {broke.lost} pings lost")

    def last_words(self) -> list[str]:
        """What the members logged last, to find out why the story did not come to its end."""
        members = (self.switch, self.truck, self.laptop)
        return [
            f"{member.name} said: {line}"
            for member in members
            if member.process is not None
            for line in member.process.output.splitlines()[-3:]
        ]

    def _sessions(self) -> list[str]:
        return sorted(self.truck.sessions().values())

    @staticmethod
    def _python(host: Host, *words: str) -> Process:
        environment = {"PYTHONPATH": SOURCE}
        return host.start(words[0], sys.executable, "-m", "ovng.demo.transfer", *words, env=environment)

    # -- The end

    def _end(self) -> None:
        members: list[Member] = [self.laptop, self.truck, self.switch]
        statuses = [member.stop() for member in members]
        left = [host.name for host in (self.laptop_host, self.truck_host) if "ovng0" in host.devices()]
        routes = self.laptop_host.ip("route").count("192.168.8.0")
        self.result.clean_teardown = not any(statuses) and not left and not routes


def _progress(receiver: Process, *others: Process) -> int:
    """Bytes received so far; -1 before it listens."""
    for process in (receiver, *others):
        if process.status:
            process.check()
    lines = receiver.output.splitlines()
    return max((json.loads(line).get("bytes", 0) for line in lines), default=-1)
