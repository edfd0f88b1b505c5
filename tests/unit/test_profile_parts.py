"""A profile in several files: settings laid over it, the key apart; and in JSON, without PyYAML."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ovng.config.nodes import compose
from ovng.config.profile import NodeProfile, parse_profile
from ovng.config.render import replace_credentials, to_json
from ovng.errors import ConfigError
from ovng.io.credentials import memfd_path
from tests.pki_fixture import WALL
from tests.quality.sources import ROOT
from tests.unit.test_profile import NETWORK, TEXT, TRUCK, node_text


def parse(text: str, path: Path, settings: Path | None = None) -> NodeProfile:
    profile = parse_profile(text.encode(), path, load=memfd_path, wall=WALL, settings=settings)
    assert isinstance(profile, NodeProfile)
    return profile


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


class TestSettings:
    def test_they_count_before_the_profile(self, tmp_path: Path) -> None:
        settings = private(tmp_path / "s.json", '{"mtu": 1300, "name": "vpn", "uplinks": [{"interface": "wan"}]}')
        profile = parse(TEXT + "\nmtu: 1350\nkeepalive: 20\n", tmp_path / "truck.ovng", settings)
        assert (profile.mtu, profile.keepalive, profile.name, profile.settings) == (1300, 20, "vpn", settings)
        assert [entry.interface for entry in profile.uplinks] == ["wan"]

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ('{"mtu": 1}', "s.json: mtu: '1' should be a number from 1280"),
            ("keepalive: 20\nmtu: 1\n", "s.json:2: mtu: '1' should be a number"),
            ('{"mtv": 1300}', "s.json: mtv: is not a known key: did you mean `mtu`"),
            ('{"routes": ["10.1.0.0/16"]}', "s.json: routes: 10.1.0.0/16 is not in the certificate"),
            ('{"mtu": 1300, "mtu": 1400}', "s.json: mtu: is there twice"),
        ],
    )
    def test_a_fault_is_told_with_its_own_file(self, tmp_path: Path, settings: str, words: str) -> None:
        path = private(tmp_path / "s.json", settings)
        with pytest.raises(ConfigError) as caught:
            parse(TEXT, tmp_path / "truck.ovng", path)
        assert words in str(caught.value)

    def test_they_must_be_private_and_there(self, tmp_path: Path) -> None:
        path = private(tmp_path / "s.json", "{}")
        path.chmod(0o644)
        for help_ in ("chmod 600", "cannot be opened"):
            with pytest.raises(ConfigError, match=help_):
                parse(TEXT, tmp_path / "truck.ovng", path)
            path.unlink(missing_ok=True)


class TestKeyApart:
    TEXT = node_text().split("\nkey: |")[0] + "\nkey_file: truck.key\n"

    def test_it_is_found_beside_the_profile(self, tmp_path: Path) -> None:
        private(tmp_path / "truck.key", TRUCK.key.decode())
        assert parse(self.TEXT, tmp_path / "truck.ovng").credentials.key.strip() == TRUCK.key.strip()

    def test_faults_name_the_key_s_file(self, tmp_path: Path) -> None:
        key, path = tmp_path / "truck.key", tmp_path / "truck.ovng"
        for make, words in (
            (lambda: None, "truck.key: cannot be opened"),
            (lambda: private(key, "nonsense"), "truck.key: should be one PEM block"),
            (lambda: private(key, TRUCK.key.decode()).chmod(0o640), "truck.key: others may read it"),
        ):
            make()
            with pytest.raises(ConfigError, match=words):
                parse(self.TEXT, path)

    def test_both_are_one_too_many(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="key_file: there is a key as well"):
            parse(node_text() + "\nkey_file: truck.key\n", tmp_path / "truck.ovng")

    def test_another_s_key_is_told(self, tmp_path: Path) -> None:
        private(tmp_path / "truck.key", NETWORK.node("10.77.0.9/32").key.decode())
        with pytest.raises(ConfigError, match="does not belong to this private key"):
            parse(self.TEXT, tmp_path / "truck.ovng")


class TestJson:
    def test_it_says_the_same(self) -> None:
        path = Path("truck.ovng")
        assert parse(to_json(TEXT), path) == parse(TEXT, path)

    def test_it_is_read_without_pyyaml(self) -> None:
        code = (
            "import sys; sys.modules['yaml'] = None\n"
            "from ovng.config.yamlfile import parse_yaml\n"
            "print(parse_yaml(sys.stdin.buffer.read(), 'x').need('name').text())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], input=to_json(TEXT), capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert done.stdout == "truck\n"

    def test_values_are_texts_with_their_types(self) -> None:
        root = compose('{"a": null, "b": true, "c": 10, "d": ["x", 1.50], "e": {"f": "no"}}', "x")
        assert root is not None
        found = {key.value: (value.kind, value.value, value.type) for key, value in root.value[:3]}
        assert found == {
            "a": ("scalar", "null", "null"),
            "b": ("scalar", "true", "bool"),
            "c": ("scalar", "10", ""),
        }
        assert [entry.value for entry in root.value[3][1].value] == ["x", "1.50"]

    def test_credentials_are_replaced(self) -> None:
        renewed = NETWORK.renew(TRUCK)
        text = replace_credentials(to_json(TEXT), "x", {"certificate": renewed.certificate})
        before, after = json.loads(to_json(TEXT)), json.loads(text)
        assert {key for key in before if before[key] != after[key]} == {"certificate"}

    @pytest.mark.parametrize("text", ["{" * 5000, '{"a": ' * 2000 + "1" + "}" * 2000, "{]", '{"a": 1} x'])
    def test_nonsense_is_refused_in_one_line(self, text: str) -> None:
        with pytest.raises(ConfigError):
            parse(text, Path("x"))
