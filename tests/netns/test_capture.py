"""What an eavesdropper gets: a capture of a whole run, and the logs, hold none of the secrets and plaintexts used.

The same search finds the plaintext in a capture of the TUN, and each secret in a file that does hold it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from ovng.demo.capture import Capture, contains
from ovng.demo.net import wait_until
from ovng.ids import NodeID
from ovng.wire.header import Header, PacketType
from tests.netns.rig import Iperf, Rig, Stream, deployed, ping, say

pytestmark = pytest.mark.root

MARKER = b"<<ovng acceptance: nobody but bob may read this>>"
DEBUG = "log_level: debug"


def encodings(secret: bytes) -> Iterator[bytes]:
    """The ways in which bytes could turn up somewhere: as they are, reversed, as text of all kinds."""
    yield secret
    yield secret[::-1]
    for spelled in (secret.hex(), secret.hex(":"), secret.hex(" "), secret.hex("\n")):
        yield spelled.encode()
        yield spelled.upper().encode()
    for shift in range(3):  # wherever it begins in a longer text, its middle has one of three forms
        aligned = secret[shift : shift + (len(secret) - shift) // 3 * 3]
        yield base64.b64encode(aligned)
        yield base64.urlsafe_b64encode(aligned)
    yield repr(secret)[2:-1].encode()
    yield "".join(f"\\x{byte:02x}" for byte in secret).encode()
    yield ", ".join(map(str, secret)).encode()
    yield str(int.from_bytes(secret, "big")).encode()
    yield secret.decode("latin-1").encode("utf-16-le")


def profile_secrets(profile: Path) -> list[bytes]:
    """The private key in a profile: as its text, DER, and bare number."""
    text = profile.read_text()
    begin, end = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
    body = text[text.index(begin) + len(begin) : text.index(end)]
    lines = [line.strip().encode() for line in body.split()]
    der = base64.b64decode("".join(body.split()))
    key = serialization.load_der_private_key(der, None)
    assert isinstance(key, EllipticCurvePrivateKey)
    scalar = key.private_numbers().private_value.to_bytes(32, "big")
    # All of it but its end, which is the public key and stands in the certificate; 16 bytes of the number betray it.
    return [*lines[:1], der[: der.index(scalar) + 32], scalar, scalar[:16], scalar[16:]]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with deployed(start=False, switch=DEBUG, alice=f"{DEBUG}\nrekey_seconds: 2", bob=DEBUG) as made:
        yield made


def test_a_whole_run_shows_nothing(rig: Rig) -> None:
    outside = [Capture(rig.switch.host, node.name) for node in rig.nodes]
    rig.start()
    at_tun = Capture(rig.bob.host, "ovng0")
    ping(rig.alice, rig.bob.addresses[0])
    with Stream(rig.alice, rig.bob, 200, text=MARKER) as there, Stream(rig.bob, rig.alice, 200, text=MARKER) as back:
        Iperf(rig.alice, rig.bob, 1, "-b", "50M").finish()
        wait_until(lambda: min(there.count, back.count) > 100, "streams")
        wait_until(lambda: rig.alice.status()["peers"][0]["generation"] >= 2, "two rekeys")
    rig.readdress(rig.alice)()
    rig.seen_at(rig.alice)
    rig.switch.kill()
    rig.switch.start()
    with Stream(rig.bob, rig.alice, 200, text=MARKER) as back:
        wait_until(lambda: back.count > 50, "traffic after the restart of the Switch", 30)
    assert at_tun.stop() == 0
    for node in rig.nodes:
        node.stop()
    rig.switch.stop()
    assert [capture.stop() for capture in outside] == [0, 0], "the captures are not whole"

    plain = [MARKER, MARKER[10:40]]
    keys = [secret for member in (rig.switch, *rig.nodes) for secret in profile_secrets(member.profile)]
    tickets = ticket_keys(rig.network.folder / "state" / "ticket-keys")
    needles = {needle for secret in (*plain, *keys, *tickets) for needle in encodings(secret)}
    assert min(map(len, needles)) >= 16

    positive = rig.net.directory / "all-of-it"
    positive.write_bytes(b"\n".join(needles))
    assert [needle for needle in needles if not contains(positive, needle)] == [], "the search does not find"
    assert at_tun.contains(MARKER) and not at_tun.contains(keys[0])
    logs = [path for path in rig.net.directory.glob("*.log") if "-ovng-" in path.name]
    assert len(logs) == 4
    for path in (*(capture.path for capture in outside), *logs):
        found = [needle for needle in needles if contains(path, needle)]
        assert found == [], f"{path.name} holds {found}"
    sizes = [sum(map(len, capture.packets())) for capture in outside]
    say(f"{len(needles)} forms of {len(plain) + len(keys) + len(tickets)} secrets: in none of {len(logs)} logs, nor of")
    say(f"{sum(sizes) >> 20} MiB captured at the Switch; the marker is in the TUN's capture")
    assert min(sizes) > 6 << 20
    alice, bob = NodeID.parse(rig.alice.id), NodeID.parse(rig.bob.id)
    handshake = [Header(PacketType.CONTROL, 0, 0, dst, src, 0).pack() for dst, src in ((alice, bob), (bob, alice))]
    for capture in outside:  # what was searched is the run, with the handshakes in it
        assert all(capture.contains(header) for header in handshake)


def ticket_keys(path: Path) -> list[bytes]:
    """The keys in the Switch's file: version 1, count 1, then number 4, date 8 and key 32 of each."""
    data = path.read_bytes()
    assert len(data) == 2 + 44 * data[1] and data[1] >= 1
    return [data[start + 12 : start + 44] for start in range(2, len(data), 44)]
