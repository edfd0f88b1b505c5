"""openvpn 2.6: a server on the hub with client-to-client, clients on `a` and `b`, AES-256-GCM over UDP.

The settings are those that serve it best here: no compression, TUN devices, its default MSS fix, `fast-io`, and the
system's own socket buffers (512 KB to 4 MB were measured to be slower). With client-to-client the server opens and
seals again every packet that passes between its clients; that is how openvpn joins two clients through a hub.
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from benchmarks.latency import FirstAnswer
from benchmarks.star import Star
from benchmarks.systems.base import Tunnel, program, version, wait_for_port
from ovng.demo.net import Process

INNER = ipaddress.ip_network("10.78.0.0/24")
ADDRESS = {"a": str(INNER[2]), "b": str(INNER[3])}
PORT = 1194

_COMMON = """
dev tun
proto udp
data-ciphers AES-256-GCM
allow-compression no
sndbuf 0
rcvbuf 0
txqueuelen 1000
fast-io
float
persist-tun
verb 1
"""
_SERVER = """
port {port}
topology subnet
server {network} {netmask}
client-config-dir {folder}
client-to-client
keepalive 10 60
dh none
remote-cert-tls client
"""
_CLIENT = """
client
nobind
remote {hub} {port}
remote-cert-tls server
"""
_NAMES = {
    "hub": ExtendedKeyUsageOID.SERVER_AUTH,
    "a": ExtendedKeyUsageOID.CLIENT_AUTH,
    "b": ExtendedKeyUsageOID.CLIENT_AUTH,
}


class OpenVpn:
    """`openvpn` on the PATH, or the one that OVNG_OPENVPN names."""

    name = "openvpn"

    def missing(self) -> str | None:
        """Whether it is installed."""
        return None if program("openvpn", "OVNG_OPENVPN") else "openvpn is not installed"

    def start(self, star: Star) -> Tunnel:
        """Certificates, three configuration files, three processes."""
        command = program("openvpn", "OVNG_OPENVPN") or "openvpn"
        folder = star.net.directory / "openvpn"
        folder.mkdir()
        _write_certificates(folder)
        for name, address in ADDRESS.items():
            (folder / name).write_text(f"ifconfig-push {address} {INNER.netmask}\n")
        server = _SERVER.format(port=PORT, network=INNER.network_address, netmask=INNER.netmask, folder=folder)
        parts = {"hub": (star.hub, server)}
        for name, host, hub in (("a", star.a, star.hub_from_a), ("b", star.b, star.hub_from_b)):
            parts[name] = (host, _CLIENT.format(hub=hub, port=PORT))
        for name, (_, own) in parts.items():
            credentials = f"ca {folder}/ca.crt\ncert {folder}/{name}.crt\nkey {folder}/{name}.key\n"
            (folder / f"{name}.conf").write_text(_COMMON + own + credentials)

        def start(name: str) -> Process:
            return parts[name][0].start("openvpn", command, "--config", str(folder / f"{name}.conf"))

        processes = {"hub": start("hub")}
        wait_for_port(star.hub, PORT)
        first = FirstAnswer(star, ADDRESS["b"])
        processes |= {name: start(name) for name in ADDRESS}
        first_ping = first.wait(*processes.values())
        notes = {
            "version": version(command, "--version", pattern=r"OpenVPN (\S+)"),
            "cipher": "AES-256-GCM",
            "libcrypto": version(command, "--version", pattern=r"library versions: ([^,]+)"),
            "offloads": "none (it has none in user space)",
            "settings": "udp, tun, client-to-client, fast-io, socket buffers as the system has them, no compression",
        }
        return Tunnel(ADDRESS["a"], ADDRESS["b"], processes, notes, first_ping, lambda: start("hub"))


def _write_certificates(folder: Path) -> None:
    """A CA of P-256 and one certificate for each process, good for a day."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("bench CA")
    (folder / "ca.crt").write_bytes(_pem(_certificate(ca_name, ca_name, ca_key, ca_key, None)))
    for name, usage in _NAMES.items():
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{name}.crt").write_bytes(_pem(_certificate(_name(name), ca_name, key, ca_key, usage)))
        private = folder / f"{name}.key"
        private.touch(0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    ca_key: ec.EllipticCurvePrivateKey,
    usage: x509.ObjectIdentifier | None,
) -> x509.Certificate:
    """`usage`: None for the CA itself."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
    )
    if usage is not None:
        no = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign"), False
        )
        signing = x509.KeyUsage(digital_signature=True, crl_sign=False, encipher_only=False, decipher_only=False, **no)
        builder = builder.add_extension(signing, critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
