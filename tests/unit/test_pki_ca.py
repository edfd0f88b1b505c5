"""The CA at other times than now, and cut short: what its command line cannot reach."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from ovng.config.values import Endpoint
from ovng.errors import ConfigError
from ovng.pki.ca import CertificateAuthority, Order, init_network
from ovng.pki.der import parse_crl
from ovng.pki.folder import Folder
from tests.pki_fixture import WALL

DAY = 86_400.0
PREFIX = ipaddress.ip_network("10.77.0.0/24")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    init_network(tmp_path / "office", "office", (PREFIX,), (Endpoint("vpn.example.net", 5140),), WALL)
    return tmp_path / "office"


def issue(home: Path, name: str, wall: float = WALL, days: int = 365) -> None:
    CertificateAuthority.open(home).issue(Order(name, days=days), home / f"{name}.ovng", wall)


def test_a_wrong_clock_signs_nothing(home: Path) -> None:
    before = (home / "index.json").read_bytes()
    with pytest.raises(ConfigError, match="clock says 1970-01-01, before the CA was made"):
        issue(home, "truck", wall=0.0)
    with pytest.raises(ConfigError, match="CA's own certificate ended"):
        issue(home, "truck", wall=WALL + 3_651 * DAY)
    with pytest.raises(ConfigError, match="before the CA was made"):
        CertificateAuthority.open(home).revoke("switch", 0.0)
    assert (home / "index.json").read_bytes() == before
    assert not (home / "truck.ovng").exists()


def test_a_certificate_does_not_outlive_the_ca(home: Path) -> None:
    issue(home, "truck", wall=WALL + 3_600 * DAY)
    assert Folder(home).read_index().find("truck").not_after == WALL + 3_650 * DAY


def test_ended_certificates_leave_the_list_and_the_member_stays_revoked(home: Path) -> None:
    issue(home, "truck", days=10)
    issue(home, "car")
    ca = CertificateAuthority.open(home)
    ca.revoke("truck", WALL + 5 * DAY)
    assert len(parse_crl((home / "crl.der").read_bytes()).serials) == 1
    ca.revoke("car", WALL + 20 * DAY)
    index = Folder(home).read_index()
    crl = parse_crl((home / "crl.der").read_bytes())
    assert crl.serials == frozenset({index.find("car").certificates[0].serial})
    assert index.find("truck").revoked


def test_an_ended_member_can_be_revoked(home: Path) -> None:
    issue(home, "truck", days=10)
    _, number = CertificateAuthority.open(home).revoke("truck", WALL + 20 * DAY)
    assert number == 1
    assert Folder(home).read_index().find("truck").revoked
    issue(home, "car", wall=WALL + 20 * DAY)
    assert Folder(home).read_index().find("car").addresses == (ipaddress.ip_address("10.77.0.1"),)


def test_a_revocation_that_was_cut_short_is_in_the_next_list(home: Path) -> None:
    """The index is written first; here the list cannot be, because a directory is in its place."""
    issue(home, "truck")
    (home / "crl.der").mkdir()
    ca = CertificateAuthority.open(home)
    with pytest.raises(ConfigError, match="cannot be written"):
        ca.revoke("truck", WALL)
    (home / "crl.der").rmdir()
    _, number = ca.revoke("truck", WALL)
    crl = parse_crl((home / "crl.der").read_bytes())
    assert (number, crl.number, len(crl.serials)) == (2, 2, 1)


def test_a_network_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be made"):
        init_network(tmp_path / "no/office", "office", (PREFIX,), (Endpoint("h", 1),), WALL)
    (tmp_path / ".office.new").mkdir()
    with pytest.raises(ConfigError, match="cut short: remove it"):
        init_network(tmp_path / "office", "office", (PREFIX,), (Endpoint("h", 1),), WALL)
    (tmp_path / ".office.new").rmdir()
    init_network(tmp_path / "office", "office", (PREFIX,), (Endpoint("h", 1),), WALL)
    assert [path.name for path in tmp_path.iterdir()] == ["office"]
