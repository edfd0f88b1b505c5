"""What systemd hands to a Switch whose user may not read its profile, and how a changed one gets there."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovng.cli.main import main
from ovng.config.profile import SwitchProfile
from ovng.errors import ConfigError
from ovng.io.credentials import is_handed_over, read_profile
from tests.service_fixture import running

pytest.importorskip("cryptography")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    words = ["-C", str(tmp_path), "init", "home", "--prefix", "10.77.0.0/16", "--switch", "192.0.2.1:5140"]
    assert main(["ca", *words]) == 0
    return tmp_path / "home/switch.ovng"


@pytest.fixture
def handed_over(profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The profile as systemd hands it over, of the mode that it has then; the original is out of reach."""
    copy = tmp_path / "credentials/switch.ovng"
    copy.parent.mkdir()
    profile.rename(copy)
    copy.chmod(0o440)  # where systemd grants the access by an ACL
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(copy.parent))
    return copy


def test_the_copy_is_read_in_place_of_the_file(handed_over: Path, profile: Path) -> None:
    found = read_profile(profile)
    assert isinstance(found, SwitchProfile)
    assert found.path == profile and found.crl_file == profile.parent / "crl.der" and is_handed_over(profile)


def test_state_is_where_systemd_gives_a_directory(
    handed_over: Path, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/ovng-switch")
    found = read_profile(profile)
    assert isinstance(found, SwitchProfile) and found.state_dir == Path("/var/lib/ovng-switch/state")


def test_a_file_of_another_name_is_none_of_it(handed_over: Path, profile: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        read_profile(profile.with_name("other.ovng"))


def test_a_copy_that_is_too_large(handed_over: Path, profile: Path) -> None:
    handed_over.chmod(0o600)
    handed_over.write_bytes(b"#" * ((2 << 20) + 1))
    with pytest.raises(ConfigError, match="larger than 2 MiB"):
        read_profile(profile)


class TestReload:
    """`ovng reload --profile`, whose service answers with what it was told to."""

    @pytest.fixture(autouse=True)
    def runtime(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OVNG_RUNTIME_DIR", str(tmp_path / "run"))

    def test_a_profile_is_handed_over(self, profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with running("switch", {"reload": {"reloaded": True, "notes": []}}):
            assert main(["reload", "--profile", str(profile)]) == 0
        assert capsys.readouterr().out.endswith("switch: reloaded\n")

    def test_one_that_others_may_read_is_not(self, profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
        profile.chmod(0o644)
        assert main(["reload", "--profile", str(profile)]) == 2
        assert "chmod 600" in capsys.readouterr().err

    def test_one_that_is_too_long_is_not(self, profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
        profile.write_text(profile.read_text() + "# …\n" * 4000)
        assert main(["reload", "--profile", str(profile)]) == 2
        assert "too long to be handed over: restart the Switch" in capsys.readouterr().err
