"""Bad input on the wire, in profiles, and from the machine: dropped and counted, or one line that says what to do."""

from __future__ import annotations

import re
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ovng.demo.capture import Capture
from ovng.demo.deployment import SOURCE, Member, configure
from ovng.demo.net import Host, Process, wait_until
from ovng.ids import UNKNOWN_LOCATOR, Locator, NodeID
from ovng.limits import HEADER_SIZE, MAX_DATAGRAM
from ovng.wire.control import Cookie, Hello, Stream, StreamPart
from ovng.wire.header import Header, PacketType
from ovng.wire.report import Ack, Common, ReportKind, Update
from tests.netns.rig import PORT, Rig, conversation, deployed, deployed_among_strangers, ping
from tests.netns.stranger import Flood, Forger
from tests.netns.wallclock import WallClock

pytestmark = pytest.mark.root

SWITCH = Locator.of("192.0.2.1", PORT)
DAY = 86_400


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with deployed_among_strangers() as made:
        yield made


# -- On the wire


class Ids:
    """Who is who, and how to write a datagram of each kind."""

    def __init__(self, rig: Rig) -> None:
        self.switch, self.alice, self.bob = (NodeID.parse(m.id) for m in (rig.switch, rig.alice, rig.bob))
        self.boot, self.grant = int(rig.switch.status()["boot"], 16), rig.table()[rig.alice.id]["grant"]
        self.nobody = NodeID(0x0123456789ABCDEF)

    def datagram(self, kind: PacketType, src: int, dst: int, payload: bytes, key_id: int = 0, number: int = 0) -> bytes:
        return Header(kind, key_id, 0, NodeID(dst), NodeID(src), number).pack() + payload

    def control(self, payload: bytes, src: int | None = None, dst: int = 0) -> bytes:
        return self.datagram(PacketType.CONTROL, self.bob if src is None else src, dst, payload)

    def report(self, kind: ReportKind, **other: int) -> bytes:
        fields = {"dst": self.switch, "src": self.alice, "number": 1 << 30, "boot_id": self.boot, "grant": self.grant}
        common = Common(**{**fields, **other})
        return Update(kind, common, UNKNOWN_LOCATOR, 25).pack(bytes(32))


def at_the_switch(ids: Ids) -> dict[str, tuple[str, bytes]]:
    """What is wrong → its counter, and a datagram; all from a place where no node is."""
    good = ids.datagram(PacketType.DATA, ids.alice, ids.bob, bytes(100), 1, 1)
    private = ids.datagram(PacketType.PRIVATE, ids.alice, ids.switch, bytes(60))
    part = StreamPart(1, 0, 0, b"x")
    return {
        "empty": ("drop_too_short", b""),
        "truncated header": ("drop_too_short", good[: HEADER_SIZE - 1]),
        "another version": ("drop_version", b"\x21" + good[1:]),
        "version 0": ("drop_version", b"\x01" + good[1:]),
        "type 0": ("drop_type", b"\x10" + good[1:]),
        "type 5": ("drop_type", b"\x15" + good[1:]),
        "unknown flag": ("drop_flags", good[:2] + b"\x80\x00" + good[4:]),
        "from ID 0": ("drop_src_zero", ids.datagram(PacketType.DATA, 0, ids.bob, bytes(100))),
        "from itself": ("drop_src_is_dst", ids.datagram(PacketType.DATA, ids.bob, ids.bob, bytes(100))),
        "from the Switch": ("drop_src_is_switch", ids.datagram(PacketType.DATA, ids.switch, ids.bob, bytes(100))),
        "DATA for the Switch": ("drop_endpoint_type", ids.datagram(PacketType.DATA, ids.alice, 0, bytes(100))),
        "oversized CONTROL": ("drop_endpoint_size", ids.control(bytes(1232 - HEADER_SIZE + 1))),
        "the largest datagram": ("drop_endpoint_size", ids.control(bytes(MAX_DATAGRAM - HEADER_SIZE))),
        "REPORT for a node": ("drop_misdirected", ids.datagram(PacketType.REPORT, ids.alice, ids.bob, bytes(64), 1)),
        "DATA of nobody": ("drop_unattached", ids.datagram(PacketType.DATA, ids.nobody, ids.bob, bytes(100))),
        "CONTROL from elsewhere": ("drop_control_source", ids.control(Hello(7).pack(), ids.alice, ids.bob)),
        "CONTROL of no kind": ("control_kind", ids.control(b"\x09" + bytes(24))),
        "truncated HELLO": ("truncated", ids.control(Hello(7).pack()[:-1])),
        "HELLO with more behind it": ("trailing", ids.control(Hello(7).pack() + b"x")),
        "HELLO that is not padded": ("hello_padding", ids.control(Hello(7).pack()[:-1] + b"x")),
        "COOKIE unasked": ("unknown_attempt", ids.control(Cookie(7, bytes(16)).pack())),
        "STREAM with a forged cookie": ("cookie_not_good", ids.control(Stream(7, part, bytes(16)).pack())),
        "REPORT of no kind": ("report_kind", ids.datagram(PacketType.REPORT, ids.alice, ids.switch, bytes(64), 99)),
        "truncated REPORT": ("report_length", ids.report(ReportKind.MOVE)[:-1]),
        "REPORT too long": ("report_length", ids.report(ReportKind.CONFIRM) + b"x"),
        "REPORT of another boot": ("challenge_boot_id", ids.report(ReportKind.MOVE, boot_id=1)),
        "REPORT under another grant": ("challenge_grant", ids.report(ReportKind.MOVE, grant=1)),
        "forged REPORT": ("report_tag", ids.report(ReportKind.MOVE)),
        "an answer, sent to the Switch": (
            "report_direction",
            Ack(Common(ids.switch, ids.alice, 1, ids.boot, ids.grant), UNKNOWN_LOCATOR, 75, 0, bytes(8)).pack(
                bytes(32)
            ),
        ),
        "REPORT to ID 0": ("not_for_me", ids.report(ReportKind.MOVE, dst=0)),
        "truncated PRIVATE": ("private_length", private[: HEADER_SIZE + 20]),
        "PRIVATE from elsewhere": ("private_elsewhere", private),
        "PRIVATE of nobody": (
            "private_unattached",
            ids.datagram(PacketType.PRIVATE, ids.nobody, ids.switch, bytes(60)),
        ),
    }


def test_the_switch_drops_and_counts(rig: Rig) -> None:
    """Each under its own reason, with no answer larger than itself, and with no effect."""
    cases = at_the_switch(Ids(rig))
    before, table = conversation(rig.alice.status()), {node: entry["active"] for node, entry in rig.table().items()}
    larger = []
    with closing(Flood(rig.net.hosts[-1], SWITCH)) as flood:
        for what, (counter, datagram) in cases.items():
            count = rig.counter(counter)
            flood.socket.sendto(datagram, ("::ffff:192.0.2.1", PORT))
            wait_until(lambda: rig.counter(counter) == count + 1, f"{counter} for {what}")  # noqa: B023
            larger += [(what, len(answer), len(datagram)) for answer in flood.answers() if len(answer) > len(datagram)]
    assert larger == []
    assert conversation(rig.alice.status()) == before
    assert {node: entry["active"] for node, entry in rig.table().items()} == table


def test_the_switch_drops_what_comes_from_the_right_place(rig: Rig) -> None:
    """An attacker on alice's network writes her address as the source."""
    ids, place = Ids(rig), rig.locator(rig.alice)
    cases = {
        "PRIVATE forged": ("private_forged", ids.datagram(PacketType.PRIVATE, ids.alice, ids.switch, bytes(60))),
        "REPORT forged": ("report_tag", ids.report(ReportKind.BYE)),
        "DATA for nobody": (
            "drop_unknown_destination",
            ids.datagram(PacketType.DATA, ids.alice, ids.nobody, bytes(60)),
        ),
    }
    before = conversation(rig.alice.status())
    with closing(Forger(rig.alice.host)) as forger:
        for what, (counter, datagram) in cases.items():
            count = rig.counter(counter)
            forger.send(place, SWITCH, datagram)
            wait_until(lambda: rig.counter(counter) == count + 1, f"{counter} for {what}")  # noqa: B023
    assert rig.table()[rig.alice.id]["state"] == "attached"
    assert conversation(rig.alice.status()) == before
    ping(rig.alice, rig.bob.addresses[0])


def test_a_node_drops_and_counts(rig: Rig) -> None:
    """Somebody on the way writes the Switch's address as the source; one real packet of bob's is the model."""
    ids, place = Ids(rig), rig.locator(rig.alice)
    capture = Capture(rig.switch.host, "alice", filter=f"udp src port {PORT}")
    ping(rig.alice, rig.bob.addresses[0], count=3)
    assert capture.stop() == 0
    real = next(
        frame[42:]
        for frame in capture.packets()
        if frame[42] == 0x11 and len(frame) == 42 + HEADER_SIZE + 84 + 16  # DATA: a ping's 84 bytes and the tag
    )
    used = real[1]
    ack = Ack(Common(ids.alice, ids.switch, 1, ids.boot, ids.grant), place, 75, 0, bytes(8))
    foreign = Ack(Common(ids.alice, ids.switch, 1, ids.boot ^ 1, ids.grant), place, 75, 0, bytes(8))
    cases = {
        "truncated header": ("too_short", real[:20]),
        "DATA without a tag": ("too_short", real[: HEADER_SIZE + 15]),
        "another version": ("version", b"\x21" + real[1:]),
        "type 5": ("type", b"\x15" + real[1:]),
        "unknown flag": ("flags", real[:2] + b"\x80\x00" + real[4:]),
        "for somebody else": ("misaddressed", real[:4] + ids.nobody.packed() + real[12:]),
        "without session": ("no_session", real[:12] + ids.nobody.packed() + real[20:]),
        "unknown key": ("unknown_key", real[:1] + bytes([used ^ 0x80]) + real[2:]),
        "replayed": ("replay_duplicate", real),
        "packet number 0": ("replay_number", real[:20] + bytes(8) + real[28:]),
        "forged payload": ("aead_forged", later(real)[:-1] + bytes([real[-1] ^ 1])),
        "forged header": ("aead_forged", later(real)),
        "CONTROL of no kind": ("control_kind", ids.control(b"\x09" + bytes(24), ids.bob, ids.alice)),
        "STREAM of no attempt": ("unknown_attempt", ids.control(Cookie(7, bytes(16)).pack(), ids.bob, ids.alice)),
        "answer of another boot": ("boot_id", foreign.pack(bytes(32))),
        "forged answer": ("report_tag", ack.pack(bytes(32))),
        "forged PRIVATE": ("private_forged", ids.datagram(PacketType.PRIVATE, ids.switch, ids.alice, bytes(60))),
        "PRIVATE of another": ("private_unexpected", ids.datagram(PacketType.PRIVATE, ids.bob, ids.alice, bytes(60))),
    }
    before = conversation(rig.alice.status())
    with closing(Forger(rig.switch.host)) as forger:
        for what, (counter, datagram) in cases.items():
            count = counters(rig.alice)[counter]
            forger.send(SWITCH, place, datagram)
            wait_until(lambda: counters(rig.alice)[counter] == count + 1, f"{counter} for {what}")  # noqa: B023
    with closing(Flood(rig.switch.host, place)) as fragments:
        fragments.send([ids.datagram(PacketType.CONTROL, ids.bob, ids.alice, bytes(9000))])
        wait_until(lambda: counters(rig.alice)["control_too_big"] == 1, "control_too_big for oversized CONTROL")
    assert conversation(rig.alice.status()) == before
    ping(rig.alice, rig.bob.addresses[0])


def later(datagram: bytes) -> bytes:
    """The same with a packet number that was not used yet."""
    return datagram[:20] + (int.from_bytes(datagram[20:28], "big") + 1000).to_bytes(8, "big") + datagram[28:]


# -- Profiles


def add_a_line(path: Path) -> None:
    with path.open("a") as file:
        file.write("\ncolour: red\n")


BAD_PROFILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an unknown key": (add_a_line, r":\d+: colour: is not a known key"),
    "a bad address": (lambda path: configure(path, addresses='["10.77.0.300"]'), r":\d+: addresses: .*10\.77\.0\.300"),
    "somebody else's address": (
        lambda path: configure(path, addresses='["10.77.0.9"]'),
        r":\d+: addresses: .*not in the",
    ),
    "a bad number": (lambda path: configure(path, mtu="100"), r":\d+: mtu: "),
    "a bad Switch": (lambda path: configure(path, switch='["192.0.2.1"]'), r":\d+: switch: "),
    "a key that others may read": (lambda path: path.chmod(0o644), r": others may read it .*chmod 600"),
    "no YAML": (lambda path: path.write_text("a: [b"), r":\d+: "),
    "no file": (Path.unlink, r": cannot be opened: No such file"),
}


@pytest.mark.parametrize("what", BAD_PROFILES)
def test_a_bad_profile(rig: Rig, tmp_path: Path, what: str) -> None:
    change, words = BAD_PROFILES[what]
    profile = copy(rig.alice.profile, tmp_path)
    change(profile)
    process = start(rig.net.hosts[-1], "up", profile)
    assert process.wait(15) == 2
    assert re.fullmatch(rf"ovng: {re.escape(str(profile))}{words}.*\n", process.output), process.output


def test_an_expired_certificate(rig: Rig, tmp_path: Path) -> None:
    """On a clock that is 400 days ahead; certificates are good for 365."""
    profile = copy(rig.alice.profile, tmp_path)
    clock = WallClock(rig.net.directory)
    clock.shift(400 * DAY)
    environment = [f"{key}={value}" for key, value in clock.env.items()]
    process = start(rig.net.hosts[-1], "up", profile, "env", *environment)
    assert process.wait(15) == 2
    pattern = (
        rf"ovng: {re.escape(str(profile))}:\d+: certificate: expired on \d{{4}}-\d\d-\d\d .*`ovng ca renew alice`.*\n"
    )
    assert re.fullmatch(pattern, process.output), process.output


def test_the_wrong_verb(rig: Rig) -> None:
    for verb, profile, other in (("up", rig.switch.profile, "ovng switch"), ("switch", rig.alice.profile, "ovng up")):
        process = start(rig.net.hosts[-1], verb, profile)
        assert process.wait(15) == 2
        assert re.fullmatch(rf"ovng: .*: kind: this profile is for `{other}`\n", process.output)


# -- The machine


def test_no_permission_for_a_tun(rig: Rig, tmp_path: Path) -> None:
    profile = copy(rig.alice.profile, tmp_path)
    process = start(rig.net.hosts[-1], "up", profile, "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    assert process.wait(15) == 1
    assert re.fullmatch(r"ovng: no permission .*: run as root or give the process CAP_NET_ADMIN\n", process.output)


def test_an_interface_of_that_name(rig: Rig, tmp_path: Path) -> None:
    profile = copy(rig.alice.profile, tmp_path)
    configure(profile, interface="switch")
    host = rig.net.hosts[-1]
    process = start(host, "up", profile)
    assert process.wait(15) == 1
    assert re.fullmatch(r"ovng: the interface switch exists already: choose another name .*\n", process.output)
    assert "switch" in host.devices(), "somebody else's interface was removed"


@pytest.mark.parametrize("verb", ["up", "switch"])
def test_a_port_in_use(rig: Rig, tmp_path: Path, verb: str) -> None:
    host = rig.net.hosts[-1]
    profile = copy(rig.alice.profile if verb == "up" else rig.switch.profile, tmp_path)
    configure(profile, **({"port": str(PORT)} if verb == "up" else {"listen": f'["[::]:{PORT}"]'}))
    with host.inside():
        other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        other.bind(("::", PORT))
    with closing(other):
        process = start(host, verb, profile)
        assert process.wait(15) == 1
    assert re.fullmatch(rf"ovng: UDP \[::\]:{PORT} is in use: stop the other process .*\n", process.output)
    assert "ovng0" not in host.devices()


@pytest.mark.parametrize("verb", ["up", "switch"])
def test_no_libcrypto(rig: Rig, tmp_path: Path, verb: str) -> None:
    profile = copy(rig.alice.profile if verb == "up" else rig.switch.profile, tmp_path)
    configure(profile, libcrypto="/nonexistent")
    process = start(rig.net.hosts[-1], verb, profile)
    assert process.wait(15) == 1
    assert re.fullmatch(r"ovng: .*/nonexistent.*\n", process.output), process.output
    assert "install" in process.output and "libcrypto:" in process.output, "it does not say what to do"


def test_an_unreachable_switch() -> None:
    """The node says so, tries on, and connects when it can."""
    with deployed(start=False) as rig:
        process = rig.alice.start()
        wait_until(lambda: "no answer from the Switch" in process.output, "a word about it", 15)
        assert not rig.alice.status()["switch"]["attached"]
        (line,) = (line for line in process.output.splitlines() if "no answer from the Switch" in line)
        assert "192.0.2.1:5140" in line and "trying on" in line
        rig.switch.start()
        rig.alice.wait("attachment", 20, attached=True)
        wait_until(
            lambda: "the Switch answers again" in process.output or "attached to Switch" in process.output, "word"
        )
        rig.bob.start()
        rig.bob.wait("attachment", attached=True)
        rig.meet()


# -- Means


def start(host: Host, verb: str, profile: Path, *wrapper: str) -> Process:
    """An ovng of its own: with a runtime directory beside the profile."""
    env = {"OVNG_RUNTIME_DIR": str(profile.parent / "run"), "PYTHONPATH": SOURCE}
    return host.start("bad", *wrapper, sys.executable, "-m", "ovng.cli.main", verb, str(profile), env=env)


def copy(profile: Path, folder: Path) -> Path:
    made = folder / profile.name
    made.write_bytes(profile.read_bytes())
    made.chmod(0o600)
    return made


def counters(node: Member) -> Counter[str]:
    return Counter(node.status()["counters"])
