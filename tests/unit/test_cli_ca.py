"""`ovng ca …` as its user runs it: real processes in a directory of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ovng.config.profile import NodeProfile, SwitchProfile
from ovng.io.credentials import read_profile, trust_of
from ovng.pki.der import parse_crl

ROOT = Path(__file__).parents[2]


class Shell:
    """Runs ovng in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ovng.cli.main", *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def ca(self, *arguments: str) -> str:
        """A command that works, silently on stderr; its output."""
        done = self.run("ca", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def refused(self, *arguments: str, status: int = 2) -> str:
        """A command that fails by the book: one line on stderr, nothing on stdout."""
        done = self.run("ca", *arguments)
        assert done.returncode == status
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("ovng: ")
        return lines[0]

    def members(self) -> dict[str, Any]:
        listed = json.loads(self.ca("list", "--json"))["members"]
        return {member["name"]: member for member in listed}

    def node(self, name: str) -> NodeProfile:
        profile = read_profile(self.directory / name)
        assert isinstance(profile, NodeProfile)
        return profile


INIT = ("init", "office", "--prefix", "10.77.0.0/29", "--prefix", "fd77::/64", "--switch", "vpn.example.net:5140")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("template")
    Shell(directory).ca(*INIT)
    return directory / "office"


@pytest.fixture(scope="session")
def template_with_truck(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("truck") / "office"
    shutil.copytree(template, home)
    Shell(home).ca("issue", "truck", "--route", "192.168.8.0/24")
    return home


@pytest.fixture
def office(template: Path, tmp_path: Path) -> Shell:
    """A network just made."""
    home = tmp_path / "office"
    shutil.copytree(template, home)
    return Shell(home)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestInit:
    def test_what_it_makes(self, tmp_path: Path) -> None:
        output = Shell(tmp_path).ca(*INIT)
        home = tmp_path / "office"
        assert sorted(path.name for path in home.iterdir()) == ["ca.crt", "ca.key", "index.json", "switch.ovng"]
        assert [mode_of(home), mode_of(home / "ca.key"), mode_of(home / "switch.ovng")] == [0o700, 0o600, 0o600]
        profile = read_profile(home / "switch.ovng")
        assert isinstance(profile, SwitchProfile)
        trust = trust_of(profile)
        assert (trust.identity.kind, trust.identity.network) == ("switch", "office")
        assert str(trust.identity.id) in output
        assert list(map(str, profile.listen)) == ["[::]:5140"]
        assert profile.crl_file == home / "crl.der"
        assert [path.name for path in tmp_path.iterdir()] == ["office"]

    def test_ed25519_listen_several_switches(self, tmp_path: Path) -> None:
        shell = Shell(tmp_path)
        shell.ca(*INIT, "--switch", "[2001:db8::1]:443", "--listen", "192.0.2.1:7", "--ed25519")
        profile = read_profile(tmp_path / "office/switch.ovng")
        assert isinstance(profile, SwitchProfile)
        assert list(map(str, profile.listen)) == ["192.0.2.1:7"]
        shell.ca("-C", "office", "issue", "truck")
        assert list(map(str, shell.node("office/truck.ovng").switch)) == ["vpn.example.net:5140", "[2001:db8::1]:443"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["Office", "--prefix", "10.0.0.0/8", "--switch", "h:1"], "small letters"),
            (["../x", "--prefix", "10.0.0.0/8", "--switch", "h:1"], "small letters"),
            (["office", "--prefix", "10.0.0.0/8"], "--switch"),
            (["office", "--switch", "h:1"], "--prefix"),
            (["office", "--prefix", "10.0.0.1/8", "--switch", "h:1"], "write 10.0.0.0/8"),
            (["office", "--prefix", "0.0.0.0/0", "--switch", "h:1"], "default route"),
            (["office", "--prefix", "10.0.0.0/31", "--switch", "h:1"], "no room"),
            (["office", "--prefix", "10.0.0.0/8", "--prefix", "10.1.0.0/16", "--switch", "h:1"], "overlaps"),
            (["office", "--prefix", "10.0.0.0/8", "--switch", "h"], "HOST:PORT"),
            (["office", "--prefix", "10.0.0.0/8", "--switch", "h:1", "--days", "0"], "from 1 to"),
        ],
    )
    def test_bad_arguments_make_nothing(self, tmp_path: Path, arguments: list[str], message: str) -> None:
        assert message in Shell(tmp_path).refused("init", *arguments)
        assert list(tmp_path.iterdir()) == []

    def test_never_over_something(self, tmp_path: Path) -> None:
        (tmp_path / "office").mkdir()
        assert "already there" in Shell(tmp_path).refused(*INIT)
        assert list((tmp_path / "office").iterdir()) == []


class TestIssue:
    def test_next_free_addresses(self, office: Shell) -> None:
        office.ca("issue", "truck", "--route", "192.168.8.0/24", "-o", "truck.ovng")
        office.ca("issue", "car", "--address", "10.77.0.3")
        office.ca("issue", "bike")
        office.ca("issue", "boat")
        found = {
            name: list(map(str, office.node(f"{name}.ovng").addresses)) for name in ("truck", "car", "bike", "boat")
        }
        assert found == {
            "truck": ["10.77.0.1", "fd77::1"],
            "car": ["10.77.0.3"],
            "bike": ["10.77.0.2", "fd77::2"],
            "boat": ["10.77.0.4", "fd77::3"],
        }
        assert mode_of(office.directory / "truck.ovng") == 0o600
        identity = trust_of(office.node("truck.ovng")).identity
        assert list(map(str, identity.prefixes)) == ["10.77.0.1/32", "fd77::1/128", "192.168.8.0/24"]
        assert not identity.managed and identity.cluster is None
        assert 364 <= (identity.not_after - identity.not_before) / 86_400 <= 366

    def test_full(self, office: Shell) -> None:
        for number in range(6):
            office.ca("issue", f"n{number}")
        assert "every address of 10.77.0.0/29 is taken" in office.refused("issue", "n6")
        office.ca("issue", "n6", "--address", "fd77::99")

    def test_options_reach_the_certificate(self, office: Shell) -> None:
        office.ca("issue", "gate", "--exit", "--managed", "--cluster", "gates", "--ed25519", "--days", "7")
        profile = office.node("gate.ovng")
        identity = trust_of(profile).identity
        assert identity.managed and identity.cluster == "gates"
        assert {"0.0.0.0/0", "::/0"} <= set(map(str, identity.prefixes))
        assert 7 <= (identity.not_after - identity.not_before) / 86_400 < 7.1
        assert len(profile.credentials.key) < 150  # Ed25519
        office.ca("issue", "phone", "--use-exit", "gate")
        assert office.node("phone.ovng").exit == (identity.id,)
        assert "no exit" in office.refused("issue", "tablet", "--use-exit", "phone")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["truck"], "already a member"),
            (["switch"], "already a member"),
            (["a/b"], "no name"),
            ([".x"], "no name"),
            (["x", "--address", "10.78.0.1"], "outside the network"),
            (["x", "--address", "10.77.0.1"], "is truck's"),
            (["x", "--address", "10.77.0.0"], "names the network"),
            (["x", "--address", "10.77.0.7"], "names the network"),
            (["x", "--address", "fd77::"], "names the network"),
            (["x", "--address", "10.77.0.5", "--address", "10.77.0.5"], "twice"),
            (["x", "--address", "nonsense"], "not an IP address"),
            (["x", "--route", "10.77.0.4/30"], "the network's own"),
            (["x", "--route", "10.0.0.0/8"], "the network's own"),
            (["x", "--route", "192.168.8.128/25"], "which truck serves"),
            (["x", "--route", "192.168.0.0/16"], "which truck serves"),
            (["x", "--route", "192.168.8.0/24", "--cluster", "other"], "which truck serves"),
            (["x", "--route", "172.16.0.0/12", "--route", "172.16.1.0/24"], "overlaps 172.16.0.0/12"),
            (["x", "--route", "0.0.0.0/0"], "--exit"),
            (["x", "--route", "192.168.9.1/24"], "write 192.168.9.0/24"),
            (["x", "--ed25519", "--key-type", "p256"], "not allowed with"),
            (["x", "--use-exit", "nobody"], "no member is called nobody"),
            (["x", "-o", "truck.ovng"], "already there"),
            (["x", "-o", "nowhere/x.ovng"], "cannot be written"),
            (["x", "--nonsense"], "nonsense"),
        ],
    )
    def test_refused_without_a_trace(self, template_with_truck: Path, arguments: list[str], message: str) -> None:
        before = {path.name: path.read_bytes() for path in template_with_truck.iterdir()}
        assert message in Shell(template_with_truck).refused("issue", *arguments)
        assert {path.name: path.read_bytes() for path in template_with_truck.iterdir()} == before

    def test_a_cluster_shares_routes(self, office: Shell) -> None:
        office.ca("issue", "gate1", "--route", "192.168.8.0/24", "--cluster", "gates")
        office.ca("issue", "gate2", "--route", "192.168.8.0/24", "--cluster", "gates")
        assert "which gate1 serves" in office.refused("issue", "alone", "--route", "192.168.8.0/24")


class TestRenew:
    def test_same_key_same_id_same_settings(self, office: Shell) -> None:
        office.ca("issue", "truck", "--route", "192.168.8.0/24", "--days", "20")
        path = office.directory / "truck.ovng"
        path.write_text(path.read_text().replace("# mtu: 1400", "mtu: 1380  # the ferry"))
        before = office.node("truck.ovng")
        assert office.members()["truck"]["state"] == "renew soon"
        office.ca("renew", "truck")
        after = office.node("truck.ovng")
        assert after.credentials.key == before.credentials.key
        assert after.credentials.certificate != before.credentials.certificate
        old, new = trust_of(before).identity, trust_of(after).identity
        assert (new.id, new.prefixes) == (old.id, old.prefixes)
        assert new.not_after > old.not_after + 300 * 86_400
        assert "mtu: 1380  # the ferry" in path.read_text()
        assert mode_of(path) == 0o600
        member = office.members()["truck"]
        assert member["state"] == "good" and len(member["serials"]) == 2

    def test_the_switch(self, office: Shell) -> None:
        before = read_profile(office.directory / "switch.ovng")
        office.ca("renew", "switch")
        after = read_profile(office.directory / "switch.ovng")
        assert trust_of(after).identity.id == trust_of(before).identity.id
        assert after.credentials.certificate != before.credentials.certificate

    def test_to_another_file(self, office: Shell) -> None:
        office.ca("issue", "truck")
        office.ca("renew", "truck", "-o", "new.ovng")
        old, new = office.node("truck.ovng"), office.node("new.ovng")
        assert old.credentials.key == new.credentials.key
        assert old.credentials.certificate != new.credentials.certificate
        assert office.members()["truck"]["profile"] == "new.ovng"
        office.ca("renew", "truck", "-o", "../far.ovng")
        assert office.members()["truck"]["profile"] == str((office.directory / "../far.ovng").resolve())

    def test_the_certificate_alone(self, office: Shell) -> None:
        office.ca("issue", "truck")
        (office.directory / "truck.ovng").rename(office.directory / "away")
        assert "--certificate FILE" in office.refused("renew", "truck")
        office.ca("renew", "truck", "--certificate", "truck.crt")
        assert (office.directory / "truck.crt").read_text().startswith("-----BEGIN CERTIFICATE-----")
        office.ca("renew", "truck", "-o", "away")
        assert office.node("away").name == "truck"

    def test_not_into_anothers_profile(self, office: Shell) -> None:
        office.ca("issue", "truck")
        office.ca("issue", "car")
        before = (office.directory / "car.ovng").read_bytes()
        line = office.refused("renew", "truck", "-o", "car.ovng")
        assert "is not truck's key" in line and re.search(r"car\.ovng:\d+: key:", line)
        assert (office.directory / "car.ovng").read_bytes() == before
        assert len(office.members()["truck"]["serials"]) == 1

    def test_nobody(self, office: Shell) -> None:
        assert "ovng ca list" in office.refused("renew", "nobody")


class TestRevoke:
    def test_every_serial_of_the_id(self, office: Shell) -> None:
        office.ca("issue", "truck", "--route", "192.168.8.0/24")
        first = trust_of(office.node("truck.ovng")).identity
        office.ca("renew", "truck")
        second = trust_of(office.node("truck.ovng")).identity
        assert str(first.id) in office.ca("revoke", "truck")
        crl = parse_crl((office.directory / "crl.der").read_bytes())
        assert (crl.number, crl.serials) == (1, frozenset({first.serial, second.serial}))
        assert crl.next_update is not None and crl.next_update - crl.this_update == 365 * 86_400
        assert office.members()["truck"]["state"] == "revoked"

    def test_the_switch_takes_the_list(self, office: Shell) -> None:
        office.ca("issue", "truck")
        serial = trust_of(office.node("truck.ovng")).identity.serial
        office.ca("revoke", "truck")
        trust = trust_of(read_profile(office.directory / "switch.ovng"))
        assert trust.is_revoked(serial) and not trust.refused

    def test_the_number_rises_and_the_list_grows(self, office: Shell) -> None:
        office.ca("issue", "truck")
        office.ca("issue", "car")
        office.ca("revoke", "truck")
        office.ca("revoke", office.members()["car"]["id"])
        office.ca("revoke", "car")
        office.ca("crl")
        crl = parse_crl((office.directory / "crl.der").read_bytes())
        assert (crl.number, len(crl.serials)) == (4, 2)

    def test_what_was_revoked_is_free_again(self, office: Shell) -> None:
        office.ca("issue", "truck", "--route", "192.168.8.0/24")
        old = trust_of(office.node("truck.ovng"))
        office.ca("revoke", "truck")
        assert "issue it anew" in office.refused("renew", "truck")
        assert "already there" in office.refused("issue", "truck")
        office.ca("issue", "truck", "--route", "192.168.8.0/24", "-o", "truck2.ovng")
        new = trust_of(office.node("truck2.ovng"))
        assert new.identity.prefixes == old.identity.prefixes and new.identity.id != old.identity.id
        assert new.is_revoked(old.identity.serial)  # it knows from the first moment
        assert not new.is_revoked(new.identity.serial)
        office.ca("renew", "truck", "-o", "truck2.ovng")  # the name means the live one

    def test_the_switch_is_warned_about(self, office: Shell) -> None:
        done = office.run("ca", "revoke", "switch")
        assert done.returncode == 0 and "no node will attach" in done.stderr


class TestList:
    def test_table(self, office: Shell) -> None:
        office.ca("issue", "truck", "--route", "192.168.8.0/24")
        head, switch, truck = office.ca("list").splitlines()
        assert head.split() == ["NAME", "ID", "ADDRESSES", "ROUTES", "CLUSTER", "STATE", "UNTIL"]
        assert switch.startswith("switch ")
        assert "10.77.0.1, fd77::1" in truck and "192.168.8.0/24" in truck and " good " in truck

    def test_needs_no_key_and_no_cryptography(self, office: Shell) -> None:
        (office.directory / "ca.key").unlink()
        done = subprocess.run(
            [sys.executable, "-c", BLOCKED + "from ovng.cli.main import main; sys.exit(main(['ca', 'list']))"],
            cwd=office.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


BLOCKED = "import sys; sys.modules['cryptography'] = None; "


class TestTheFolder:
    def test_wrong_directory(self, office: Shell, tmp_path: Path) -> None:
        line = Shell(tmp_path).refused("issue", "truck")
        assert "cd office" in line
        (tmp_path / "empty").mkdir()
        assert "ovng ca init NETWORK" in Shell(tmp_path / "empty").refused("list")
        assert "in nowhere" in Shell(tmp_path).refused("-C", "nowhere", "list")

    def test_a_key_open_to_others(self, office: Shell) -> None:
        (office.directory / "ca.key").chmod(0o640)
        for arguments in (["issue", "truck"], ["renew", "switch"], ["revoke", "switch"], ["crl"]):
            assert "chmod 600 ca.key" in office.refused(*arguments)

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[]", b"\xff", b'{"version": 2}', b'{"version": 1, "members": [1]}']
    )
    def test_a_damaged_index(self, office: Shell, content: bytes) -> None:
        (office.directory / "index.json").write_bytes(content)
        assert "index.json: is damaged" in office.refused("list")

    def test_key_missing_damaged_foreign(self, office: Shell, tmp_path: Path) -> None:
        key = office.directory / "ca.key"
        key.write_bytes(b"nonsense")
        assert "ca.key: does not work with ca.crt" in office.refused("issue", "truck")
        Shell(tmp_path).ca("init", "other", *INIT[2:])
        key.write_bytes((tmp_path / "other/ca.key").read_bytes())
        assert "not that of the certificate" in office.refused("issue", "truck")
        key.unlink()
        assert "ca.key: cannot be opened" in office.refused("issue", "truck")

    def test_two_at_once(self, office: Shell) -> None:
        """Concurrent issues get different addresses and both are in the index."""
        command = [sys.executable, "-m", "ovng.cli.main", "ca", "issue"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        both = [subprocess.Popen([*command, name], cwd=office.directory, env=environment) for name in ("one", "two")]
        assert [process.wait(60) for process in both] == [0, 0]
        members = office.members()
        assert {*members["one"]["addresses"], *members["two"]["addresses"]} == {
            "10.77.0.1",
            "10.77.0.2",
            "fd77::1",
            "fd77::2",
        }

    def test_without_cryptography(self, office: Shell) -> None:
        done = subprocess.run(
            [sys.executable, "-c", BLOCKED + "from ovng.cli.main import main; sys.exit(main(['ca', 'issue', 'x']))"],
            cwd=office.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "python3-cryptography" in done.stderr and len(done.stderr.splitlines()) == 1


class TestMain:
    def test_version(self, tmp_path: Path) -> None:
        done = Shell(tmp_path).run("--version")
        assert done.returncode == 0
        assert re.fullmatch(
            r"ovng \d+\.\d+\.\d+\nlibcrypto \(data\): .+\nssl \(handshakes\): OpenSSL .+\n", done.stdout
        )

    def test_help_lists_all_verbs(self, tmp_path: Path) -> None:
        done = Shell(tmp_path).run("--help")
        assert done.returncode == 0
        for verb in ("ca", "switch", "up", "reload", "down", "status", "doctor", "demo"):
            assert re.search(rf"^    {verb} +\w", done.stdout, re.M)

    def test_no_verb_and_wrong_verb(self, tmp_path: Path) -> None:
        assert Shell(tmp_path).run().returncode == 2
        done = Shell(tmp_path).run("upp")
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1

    def test_a_gone_reader(self, office: Shell) -> None:
        process = subprocess.run(
            f"{sys.executable} -m ovng.cli.main ca list --json | true",
            shell=True,
            cwd=office.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.stderr == ""

    def test_what_nobody_expected_is_one_line(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        from ovng.cli import ca, main

        def explode(*_: object) -> int:
            raise LookupError("two\nlines")

        monkeypatch.setattr(ca, "run", explode)
        assert main.main(["ca", "list"]) == 1
        assert capsys.readouterr().err == "ovng: internal error: LookupError: two lines; `ovng --debug …` shows where\n"
        assert main.main(["--debug", "ca", "list"]) == 1
        assert "Traceback" in capsys.readouterr().err

    def test_interrupt(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        from ovng.cli import ca, main

        def interrupt(*_: object) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(ca, "run", interrupt)
        assert main.main(["ca", "list"]) == 130
        assert capsys.readouterr().err == ""
