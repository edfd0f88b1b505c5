"""Profiles: YAML that people write, and what `ovng ca renew` does to a file that they have changed.

A profile is read whole or refused in one printable line, which never shows the key. Replacing credentials keeps every
other line.
"""

from __future__ import annotations

import functools
import ipaddress
from pathlib import Path

from ovng.config.profile import NodeProfile, SwitchProfile, parse_profile
from ovng.config.render import render_node, render_switch, replace_credentials
from ovng.config.values import Endpoint
from ovng.config.yamlfile import parse_yaml
from ovng.errors import ConfigError
from ovng.io.credentials import memfd_path
from tests.fuzz.actors import bob, switch
from tests.fuzz.choices import Choices
from tests.pki_fixture import WALL, Member

PATH = Path("/etc/ovng/bob.ovng")
LINE_MAX = 1_000
NETWORK = [ipaddress.ip_network("10.77.0.0/16")]


def _credentials(member: Member) -> dict[str, bytes]:
    return {"ca": member.ca, "certificate": member.certificate, "key": member.key}


@functools.cache
def texts() -> tuple[str, ...]:
    """A node's profile and a Switch's, as `ovng ca issue` writes them, with their settings switched on."""
    node = render_node(
        name="bob",
        network="testnet",
        node_id=bob().id,
        switch=[Endpoint("vpn.example.net", 5140), Endpoint("2001:db8::1", 5140)],
        addresses=[ipaddress.ip_address("10.77.0.3")],
        network_prefixes=NETWORK,
        routes=[ipaddress.ip_network("192.168.7.0/24")],
        exits={},
        credentials=_credentials(bob()),
    )
    hub = render_switch(
        name="hub",
        network="testnet",
        node_id=switch().id,
        network_prefixes=NETWORK,
        listen=[Endpoint("::", 5140)],
        credentials=_credentials(switch()),
    )
    settings = ("accept_routes", "exit", "interface", "mtu", "keepalive", "forward", "rekey_seconds", "port", "workers")
    for setting in (*settings, "max_nodes", "uplinks", "mark", "mode", "redundant_for", "libcrypto", "log_level"):
        node, hub = (text.replace(f"# {setting}:", f"{setting}:") for text in (node, hub))
    return node, hub


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    choices = Choices(data)
    how = choices.below(4)
    if how == 3:
        text = choices.rest()
    else:
        text = texts()[how % 2].encode()
        for _ in range(1 + choices.below(4)):
            text = _changed_line(text, choices)
    _parse(text)
    _replace(text)


def _changed_line(text: bytes, choices: Choices) -> bytes:
    """One line is another, is gone, or is there twice."""
    lines = text.split(b"\n")
    at = choices.u8() % len(lines)
    match choices.below(4):
        case 0:
            lines[at] = choices.changed(lines[at])
        case 1:
            lines[at] = lines[at].partition(b":")[0] + b": " + choices.chunk(300)
        case 2:
            del lines[at]
        case 3:
            lines.insert(choices.u8() % len(lines), lines[at])
    return b"\n".join(lines)


def _parse(text: bytes) -> None:
    try:
        profile = parse_profile(text, PATH, load=memfd_path, wall=WALL)
    except ConfigError as error:
        _check_line(str(error))
        return
    assert isinstance(profile, NodeProfile | SwitchProfile)
    assert profile.credentials.key.decode("ascii").strip() not in repr(profile)


def _check_line(line: str) -> None:
    assert line.startswith(str(PATH)), "does not name the file"
    assert "\n" not in line and line.isprintable(), "more than one printable line"
    assert len(line) <= LINE_MAX
    for member in (bob(), switch()):
        body = b"".join(member.key.splitlines()[1:-1]).decode()
        secret = body[48:90]  # behind it stands the public key
        assert not any(secret[at : at + 8] in line for at in range(len(secret) - 8)), "shows the key"


def _replace(text: bytes) -> None:
    try:
        before = text.decode()
        after = replace_credentials(before, str(PATH), _credentials(bob()))
    except UnicodeDecodeError:
        return
    except ConfigError as error:
        _check_line(str(error))
        return
    section = parse_yaml(after.encode(), str(PATH))
    for key, pem in _credentials(bob()).items():
        assert section.need(key).text().encode() == pem, f"{key} was not replaced"
