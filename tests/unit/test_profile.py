"""Profiles: what is accepted, and that every fault is one ConfigError with file, line and key."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovng.config.mobility import RedundantFor, UplinkSettings
from ovng.config.names import DnsSettings
from ovng.config.profile import NodeProfile, SwitchProfile, parse_profile
from ovng.config.render import render_node, render_switch, replace_credentials
from ovng.config.values import Endpoint, der_to_pem, parse_endpoint, parse_prefix
from ovng.config.yamlfile import FILE_MAX, read_private_file
from ovng.errors import ConfigError
from ovng.ids import NodeID
from ovng.io.credentials import memfd_path, trust_of
from tests.effort import examples
from tests.pki_fixture import WALL, Member, Network

NETWORK = Network()
TRUCK = NETWORK.node("10.77.0.2/32", "fd77::2/128", "192.168.8.0/24")
OTHER = NETWORK.node("10.77.0.3/32")
SWITCH = NETWORK.switch()
PATH = Path("truck.ovng")


def node_text(member: Member = TRUCK, crl: bytes | None = None, **changes: bytes) -> str:
    credentials = {"ca": member.ca, "certificate": member.certificate, "key": member.key, **changes}
    if crl:
        credentials["crl"] = der_to_pem(crl, "X509 CRL")
    return render_node(
        name="truck",
        network="testnet",
        node_id=member.id,
        switch=[Endpoint("vpn.example.net", 5140), Endpoint("2001:db8::1", 5140)],
        addresses=[ipaddress.ip_address("10.77.0.2"), ipaddress.ip_address("fd77::2")],
        network_prefixes=[ipaddress.ip_network("10.77.0.0/16"), ipaddress.ip_network("fd77::/64")],
        routes=[ipaddress.ip_network("192.168.8.0/24")],
        exits={},
        credentials=credentials,
    )


def switch_text() -> str:
    return render_switch(
        name="switch",
        network="testnet",
        node_id=SWITCH.id,
        network_prefixes=[ipaddress.ip_network("10.77.0.0/16")],
        listen=[Endpoint("::", 5140)],
        credentials={"ca": SWITCH.ca, "certificate": SWITCH.certificate, "key": SWITCH.key},
    )


TEXT = node_text()


def parse(text: str | bytes) -> NodeProfile | SwitchProfile:
    data = text.encode() if isinstance(text, str) else text
    return parse_profile(data, PATH, load=memfd_path, wall=WALL)


def node(text: str) -> NodeProfile:
    profile = parse(text)
    assert isinstance(profile, NodeProfile)
    return profile


def refused(text: str | bytes, *, wall: float = WALL) -> ConfigError:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigError) as caught:
        parse_profile(data, PATH, load=memfd_path, wall=wall)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return caught.value


def line_of(text: str, start: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(start))


class TestGood:
    def test_a_node(self) -> None:
        profile = node(TEXT)
        assert (profile.name, profile.network) == ("truck", "testnet")
        assert profile.switch == (("vpn.example.net", 5140), ("2001:db8::1", 5140))
        assert list(map(str, profile.addresses)) == ["10.77.0.2", "fd77::2"]
        assert list(map(str, profile.routes)) == ["192.168.8.0/24"]
        assert list(map(str, profile.accept_routes)) == ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
        assert (profile.interface, profile.mtu, profile.keepalive, profile.port) == ("ovng0", 1400, None, 0)
        assert (profile.forward, profile.rekey_seconds, profile.libcrypto) == (False, 3600, None)
        assert (profile.exit, profile.log_level) == ((), "info")
        assert profile.offloads.tso and profile.offloads.gro
        assert (profile.uplinks, profile.mark, profile.mode) == ((), 0, "failover")
        assert profile.redundant_for == RedundantFor((), ())
        assert trust_of(profile).identity == TRUCK.identity

    def test_a_switch(self) -> None:
        profile = parse(switch_text())
        assert isinstance(profile, SwitchProfile)
        assert profile.listen == (("::", 5140),)
        assert (profile.workers, profile.max_nodes) == (1, 1 << 20)
        assert profile.crl_file == Path("crl.der") and profile.state_dir == Path("state")
        assert trust_of(profile).identity == SWITCH.identity

    def test_every_setting(self) -> None:
        profile = node(
            TEXT + "accept_routes: [192.168.0.0/16]\nexit: 3f9a-77c1-02be-5d40\ninterface: vpn7\nmtu: 1280\n"
            "keepalive: 5\nforward: yes\nrekey_seconds: 5\nport: 40000\nlibcrypto: /usr/lib/libcrypto.so.3\n"
            "offloads: {tso: false, gro: false}\nlog_level: debug\n"
        )
        assert list(map(str, profile.accept_routes)) == ["192.168.0.0/16"]
        assert profile.exit == (NodeID.parse("3f9a-77c1-02be-5d40"),)
        assert (profile.interface, profile.mtu, profile.keepalive, profile.port) == ("vpn7", 1280, 5, 40000)
        assert (profile.forward, profile.rekey_seconds) == (True, 5)
        assert profile.libcrypto == "/usr/lib/libcrypto.so.3"
        assert not profile.offloads.tso and not profile.offloads.gro and profile.offloads.uso
        assert profile.log_level == "debug"

    def test_uplinks(self) -> None:
        profile = node(
            TEXT + "mark: 0x3F00\nmode: redundant\nredundant_for: {dscp: [ef, AF41, cs5, 8], ports: [53, 65535]}\n"
            "uplinks:\n- interface: wwan*\n  priority: 255\n  metered: true\n- {interface: eth0, use: no}\n"
        )
        assert profile.uplinks == (UplinkSettings("wwan*", 255, metered=True), UplinkSettings("eth0", use=False))
        assert (profile.mark, profile.mode) == (0x3F00, "redundant")
        assert profile.redundant_for == RedundantFor((46, 34, 40, 8), (53, 65535))
        assert node(TEXT + "mark: 4294967295\n").mark == 0xFFFFFFFF

    def test_dns(self) -> None:
        assert node(TEXT).dns == DnsSettings()
        found = node(TEXT + "dns: {servers: [10.77.0.1, 'fd77::1'], domains: [Home.Example.]}\n").dns
        assert list(map(str, found.servers)) == ["10.77.0.1", "fd77::1"] and found.domains == ("home.example",)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("{domains: [home.example]}", "has domains, but no servers to ask"),
            ("{servers: [127.0.0.1]}", "not an address that a node can have"),
            ("{servers: [10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4]}", "at most 3"),
            ("{servers: [10.0.0.1], domains: ['a b']}", "no domain name"),
            ("{servers: [10.0.0.1], domains: ['-x.example']}", "no domain name"),
            ("{server: [10.0.0.1]}", "did you mean `servers`"),
        ],
    )
    def test_dns_refused(self, value: str, message: str) -> None:
        assert message in str(refused(TEXT + f"dns: {value}\n"))

    def test_hooks(self) -> None:
        assert node(TEXT).hooks == Path("/etc/ovng/hooks.d")
        assert node(TEXT + "hooks: /opt/hooks\n").hooks == Path("/opt/hooks")
        assert node(TEXT + "hooks: none\n").hooks is None
        with pytest.raises(ConfigError, match="should be an absolute path, or none"):
            node(TEXT + "hooks: hooks.d\n")

    def test_an_empty_list_is_not_the_default(self) -> None:
        assert node(TEXT + "accept_routes: []\n").accept_routes == ()

    def test_the_comments_tell_the_true_defaults(self) -> None:
        """Each commented setting, switched on as it stands, changes nothing."""
        lines = TEXT.splitlines()
        settings_from = line_of(TEXT, "# Settings that may be changed")
        woken = [line[2:] if line.startswith("# ") and i >= settings_from else line for i, line in enumerate(lines)]
        assert node("\n".join(woken) + "\n") == node(TEXT)

    def test_a_held_crl_is_proven(self) -> None:
        crl = NETWORK.revoke(OTHER)
        profile = node(node_text(crl=crl))
        assert profile.credentials.crl == crl
        assert trust_of(profile).is_revoked(OTHER.identity.serial)

    def test_secrets_are_not_printed(self) -> None:
        assert "PRIVATE" not in repr(node(TEXT))


class TestFaults:
    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("mtu: 1279", "1280 to"),
            ("mtu: 99999", "1280 to"),
            ("mtu: -1", "number"),
            ("mtu: 1_400", "number"),
            ("mtu: []", "one value"),
            ("mtu: '9999999999999999999999'", "number"),
            ("keepalive: 4", "5 to 600"),
            ("port: 65536", "0 to 65535"),
            ("forward: maybe", "true or false"),
            ("interface: averylonginterface", "15"),
            ("interface: a/b", "15"),
            ("interface: ..", "15"),
            ("log_level: loud", "debug, info"),
            ("libcrypto: libcrypto.so", "absolute"),
            ("exit: [truck]", "node ID"),
            ("uplinks: [wwan0]", "uplinks: should hold lines of `key: value`"),
            ("uplinks: {priority: 1}", "uplinks.interface: is missing"),
            ("uplinks: {interface: 'wwan 0'}", "is no interface name or shell pattern"),
            ("uplinks: {interface: 'a/b'}", "is no interface name or shell pattern"),
            ("uplinks: {interface: wwan0, priority: 256}", "should be a number from 0 to 255"),
            ("uplinks: {interface: wwan0, metered: 1}", "uplinks.metered: '1' should be true or false"),
            ("uplinks: {interface: wwan0, meterd: true}", "did you mean `metered`?"),
            ("uplinks: [{interface: wwan0}, {interface: wwan0}]", "'wwan0' is there twice"),
            ("mark: 4294967296", "should be a firewall mark"),
            ("mark: 0x100000000", "should be a firewall mark"),
            ("mark: -1", "should be a firewall mark"),
            ("mode: fail", "should be one of failover, redundant"),
            ("redundant_for: [46]", "should hold lines of `key: value`"),
            ("redundant_for: {dscps: [46]}", "did you mean `dscp`?"),
            ("redundant_for: {dscp: [64]}", "should be a DSCP"),
            ("redundant_for: {dscp: [af44]}", "should be a DSCP"),
            ("redundant_for: {dscp: [46, ef]}", "46 is there twice"),
            ("redundant_for: {ports: [0]}", "should be a port"),
            ("redundant_for: {ports: [65536]}", "should be a port"),
            ("accept_routes: [10.0.0.1/8]", "write 10.0.0.0/8"),
            ("accept_routes: [0.0.0.0/0]", "default route"),
            ("accept_routes: [224.0.0.0/4]", "cannot be routed"),
            ("accept_routes: [10.0.0.0/8, 10.0.0.0/8]", "twice"),
            ("offloads: true", "key: value"),
            ("offloads: {tsso: true}", "did you mean `tso`"),
            ("interfaces: ovng1", "did you mean `interface`"),
            ("colour: blue", "not a known key"),
            ("name: truck2", "twice"),
        ],
    )
    def test_a_bad_line(self, line: str, message: str) -> None:
        error = refused(TEXT + line + "\n")
        assert message in str(error)
        assert error.file == "truck.ovng"
        assert error.line == len((TEXT + line).splitlines())
        assert error.key.split(".")[0] == line.split(":")[0]

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("ovng", "2", "version 2"),
            ("ovng", "one", "number"),
            ("kind", "router", "node, switch"),
            ("name", "'a b'", "no name"),
            ("name", "", "missing"),
            ("network", "Test", "small letters"),
            ("switch", "[vpn.example.net]", "HOST:PORT"),
            ("switch", "['2001:db8::1:5140']", "write an IPv6 address as"),
            ("switch", "[::]:5140", "not YAML"),
            ("switch", "[]", "at least one"),
            ("switch", "[host:0]", "port"),
            ("switch", "['999.1.1.1:5140']", "IPv4 address"),
            ("switch", "['-bad-.net:5140']", "host name"),
            ("addresses", "[10.77.0.300]", "not an IP address"),
            ("addresses", "[10.77.0.9]", "not in the certificate"),
            ("addresses", "[127.0.0.1]", "not an address that a node can have"),
            ("addresses", "['fe80::1%eth0']", "not an"),
            ("routes", "[192.168.9.0/24]", "not in the certificate"),
        ],
    )
    def test_a_bad_value(self, key: str, value: str, message: str) -> None:
        lines = TEXT.splitlines()
        at = line_of(TEXT, f"{key}:")
        lines[at - 1] = f"{key}: {value}"
        error = refused("\n".join(lines))
        assert message in str(error)
        assert (error.file, error.line) == ("truck.ovng", at)

    @pytest.mark.parametrize("key", ["ovng", "kind", "name", "network", "switch", "addresses", "network_prefixes"])
    def test_a_missing_key(self, key: str) -> None:
        error = refused("\n".join(line for line in TEXT.splitlines() if not line.startswith(f"{key}:")))
        assert (error.key, error.message) == (key, "is missing")

    @pytest.mark.parametrize("key", ["ca", "certificate", "key"])
    def test_missing_and_damaged_credentials(self, key: str) -> None:
        good = {"ca": TRUCK.ca, "certificate": TRUCK.certificate, "key": TRUCK.key}[key]
        at = line_of(TEXT, f"{key}:")
        for bad, message in [
            (b"hello", "PEM"),
            (good + good, "PEM"),
            (good.replace(b"M", b"*", 1), "PEM"),
            (good.replace(b"BEGIN ", b"BEGIN ENCRYPTED ").replace(b"END ", b"END ENCRYPTED "), "should be"),
        ]:
            error = refused(replace_credentials(TEXT, "x", {key: bad}))
            assert message in str(error)
            assert (error.key, error.line) == (key, at)

    def test_key_of_another(self) -> None:
        assert "does not belong to this private key" in str(refused(node_text(key=OTHER.key)))

    def test_certificate_of_another_ca(self) -> None:
        stranger = Network().node("10.77.0.2/32", "fd77::2/128", "192.168.8.0/24")
        error = refused(node_text(certificate=stranger.certificate, key=stranger.key))
        assert "not signed by this CA" in str(error)
        assert error.line == line_of(TEXT, "certificate:")

    def test_certificate_of_another_network(self) -> None:
        assert "'office'" in str(refused(TEXT.replace("network: testnet", "network: office")))

    def test_certificate_of_a_switch_in_a_nodes_profile(self) -> None:
        error = refused(node_text(certificate=SWITCH.certificate, key=SWITCH.key))
        assert "is that of a switch" in str(error)

    def test_expired_certificate(self) -> None:
        error = refused(TEXT, wall=WALL + 366 * 86_400)
        assert "expired on 20" in str(error) and "ovng ca renew truck" in str(error)
        assert (error.key, error.line) == ("certificate", line_of(TEXT, "certificate:"))

    def test_clock_of_1970_is_no_fault(self) -> None:
        parse_profile(TEXT.encode(), PATH, load=memfd_path, wall=0.0)

    def test_crl_of_another_ca(self) -> None:
        stranger = Network()
        error = refused(node_text(crl=stranger.revoke()))
        assert error.key == "crl" and "not a revocation list of this CA" in str(error)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xff\xfe",
            b"- a\n- b\n",
            b"a: [",
            b"a: !!python/object/apply:os.system [id]\n",
            b'a: "\\UFFFFFFFF"\n',
            b"[" * 20_000,
            b"? [a]\n: b\n",
            b"a: &x [*x]\nkind: *x\novng: 1\n",
            b"\t\n",
            b"\0",
        ],
    )
    def test_what_is_no_profile(self, data: bytes) -> None:
        assert refused(data).file == "truck.ovng"

    @settings(max_examples=examples(300), deadline=None)
    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        refused(data)

    @settings(max_examples=examples(300), deadline=None)
    @given(st.text(alphabet=":-[]{}\n \"'#&*!|>%@?,ab01\u2028\\", max_size=60))
    def test_any_yaml_like_text(self, text: str) -> None:
        refused(text)

    @settings(max_examples=examples(200), deadline=None)
    @given(st.data())
    def test_a_damaged_profile(self, data: st.DataObject) -> None:
        """Bytes changed, cut out and put in: a profile or a ConfigError."""
        text = bytearray(TEXT.encode())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(text) - 1))
            text[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=4))
        try:
            parse(bytes(text))
        except ConfigError as error:
            assert "\n" not in str(error)


class TestFile:
    def write(self, tmp_path: Path, mode: int = 0o600) -> Path:
        path = tmp_path / "truck.ovng"
        path.write_text(TEXT)
        path.chmod(mode)
        return path

    def load(self, path: Path) -> NodeProfile | SwitchProfile:
        return parse_profile(read_private_file(path), path, load=memfd_path, wall=WALL)

    def fails(self, path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load(path)
        assert caught.value.file == str(path)
        return str(caught.value)

    def test_private(self, tmp_path: Path) -> None:
        assert self.load(self.write(tmp_path)).path == tmp_path / "truck.ovng"
        assert self.load(self.write(tmp_path, 0o400)).name == "truck"

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
    def test_open_to_others(self, tmp_path: Path, mode: int) -> None:
        path = self.write(tmp_path, mode)
        assert f"chmod 600 {path}" in self.fails(path)

    def test_link(self, tmp_path: Path) -> None:
        link = tmp_path / "link.ovng"
        link.symlink_to(self.write(tmp_path))
        assert "symbolic link" in self.fails(link)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_of_another_user(self, tmp_path: Path) -> None:
        path = self.write(tmp_path)
        os.chown(path, 12345, 12345)
        assert f"belongs to 12345, not to root: run `chown root {path}`" in self.fails(path)

    def test_missing_directory_pipe(self, tmp_path: Path) -> None:
        assert "No such file" in self.fails(tmp_path / "none.ovng")
        assert "not a regular file" in self.fails(tmp_path)
        os.mkfifo(tmp_path / "pipe", 0o600)
        assert "not a regular file" in self.fails(tmp_path / "pipe")

    def test_too_large(self, tmp_path: Path) -> None:
        path = self.write(tmp_path)
        path.write_bytes(b"#" * (FILE_MAX + 1))
        assert "larger than 2 MiB" in self.fails(path)


class TestReplace:
    def test_everything_else_stays(self) -> None:
        renewed = NETWORK.node("10.77.0.2/32")
        mine = (
            TEXT.replace("# mtu: 1400", "mtu: 1300 # the ferry")
            .replace("certificate: |", "# mine\n\ncertificate:   |")
            .replace("key: |", "\n# between\nkey: |")
        )
        text = replace_credentials(mine, "x", {"certificate": renewed.certificate})
        assert (
            "mtu: 1300 # the ferry" in text and "# mine\n\ncertificate: |\n" in text and "\n\n# between\nkey: |" in text
        )
        without = {line.strip() for line in mine.splitlines()} ^ {line.strip() for line in text.splitlines()}
        allowed = set((TRUCK.certificate + renewed.certificate).decode().splitlines())
        assert without <= allowed | {"certificate:   |", "certificate: |"}
        back = replace_credentials(text, "x", {"certificate": TRUCK.certificate})
        assert node(back).mtu == 1300

    def test_what_was_not_there_comes_last(self) -> None:
        crl = der_to_pem(NETWORK.revoke(OTHER), "X509 CRL")
        text = replace_credentials(TEXT.rstrip("\n"), "x", {"crl": crl, "certificate": TRUCK.certificate})
        assert node(text).credentials.crl is not None
        assert text.startswith(TEXT.rstrip("\n"))

    def test_one_line_mapping_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="start a line"):
            replace_credentials("{certificate: x, key: y}", "x", {"certificate": b"z"})


@pytest.mark.parametrize(
    "text", ["vpn.example.net:5140", "192.0.2.1:1", "[2001:db8::1]:65535", "[::]:5140", "a_b.c:5", "host.:53"]
)
def test_endpoint_round_trip(text: str) -> None:
    assert str(parse_endpoint(text)) == text


@given(st.text(max_size=50))
def test_any_endpoint_and_prefix(text: str) -> None:
    for parse_text in (parse_endpoint, parse_prefix):
        try:
            parsed = parse_text(text)
        except ValueError:
            continue
        assert parse_text(str(parsed)) == parsed
