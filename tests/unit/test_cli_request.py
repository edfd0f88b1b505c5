"""A key that stays on its device: `ovng request` there, `ovng ca sign` on the CA's machine, and back."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ovng.config.profile import NodeProfile
from ovng.io.credentials import read_profile, trust_of
from tests.unit.test_cli_ca import INIT, ROOT, Shell


@pytest.fixture(scope="module")
def ca_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("request")
    Shell(directory).ca(*INIT)
    return directory / "office"


@pytest.fixture
def shell(ca_template: Path, tmp_path: Path) -> Shell:
    shutil.copytree(ca_template, tmp_path / "office")
    return Shell(tmp_path / "office")


@pytest.fixture(scope="module")
def requested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device on which `ovng request truck` was run, without `cryptography`."""
    device = tmp_path_factory.mktemp("device")
    code = "import sys; sys.modules['cryptography'] = None; from ovng.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "request", "truck"],
        cwd=device,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "truck.key: it stays here" in done.stdout and "ovng ca sign truck.csr" in done.stdout
    return device


def brought(requested: Path, place: Path) -> Path:
    """The request, on the CA's machine: the key is not with it."""
    return Path(shutil.copy(requested / "truck.csr", place))


def test_the_key_is_private_and_the_request_proves_it(requested: Path) -> None:
    key, csr = requested / "truck.key", requested / "truck.csr"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert "PRIVATE" not in csr.read_text()
    said = Shell(requested).run("request", "truck")
    assert said.returncode == 2 and "truck.key: is already there" in said.stderr


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_the_profile_that_comes_back_is_whole_beside_the_key(
    shell: Shell, requested: Path, form: tuple[str, ...], tmp_path: Path
) -> None:
    brought(requested, shell.directory)
    said = shell.ca("sign", "truck.csr", "--route", "192.168.8.0/24", *form)
    assert "no secret is in it" in said
    text = (shell.directory / "truck.ovng").read_text()
    assert "PRIVATE KEY" not in text and (text[0] == "{") == bool(form)
    (tmp_path / "etc").mkdir()
    for path in (shell.directory / "truck.ovng", requested / "truck.key"):
        shutil.copy(path, tmp_path / "etc")
    profile = read_profile(tmp_path / "etc" / "truck.ovng")
    assert isinstance(profile, NodeProfile)
    assert (profile.name, list(map(str, profile.routes))) == ("truck", ["192.168.8.0/24"])
    assert str(trust_of(profile).identity.id) == shell.members()["truck"]["id"]


def test_it_is_renewed_without_the_key(shell: Shell, requested: Path) -> None:
    brought(requested, shell.directory)
    shell.ca("sign", "truck.csr", "--json")
    before = json.loads((shell.directory / "truck.ovng").read_text())
    shell.ca("renew", "truck", "--days", "10")
    after = json.loads((shell.directory / "truck.ovng").read_text())
    assert {key for key in after if after[key] != before[key]} == {"certificate"}
    assert after["key_file"] == "truck.key"


def test_what_sign_refuses(shell: Shell, requested: Path) -> None:
    csr = brought(requested, shell.directory)
    shell.ca("sign", "truck.csr")
    assert "truck is already a member" in shell.refused("sign", "truck.csr")
    shell.ca("revoke", "truck")
    (shell.directory / "truck.ovng").unlink()
    assert "has this key already, or had it" in shell.refused("sign", "truck.csr")
    text = csr.read_text().splitlines()
    csr.write_text("\n".join([text[0], text[1][::-1], *text[2:]]))
    assert "truck.csr: is not a certificate request" in shell.refused("sign", "truck.csr")
    assert "none.csr: cannot be read" in shell.refused("sign", "none.csr")


def test_a_request_whose_signature_is_another_is_refused(shell: Shell, requested: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    csr = brought(requested, shell.directory)
    der = bytearray(x509.load_pem_x509_csr(csr.read_bytes()).public_bytes(Encoding.DER))
    at = der.index(b"truck")
    der[at : at + 5] = b"trick"
    csr.write_bytes(x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM))
    assert "is not signed with its own key" in shell.refused("sign", "truck.csr")


def test_requests_of_other_kinds_are_refused(shell: Shell) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    csr = shell.directory / "odd.csr"
    for curve, names, words in (
        (ec.SECP384R1(), ["odd"], "asks for another kind of key"),
        (ec.SECP256R1(), [], "has no name, or several"),
        (ec.SECP256R1(), ["../odd"], "is no name"),
    ):
        key = ec.generate_private_key(curve)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name) for name in names])
        made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        csr.write_bytes(made.public_bytes(Encoding.PEM))
        assert words in shell.refused("sign", "odd.csr")
