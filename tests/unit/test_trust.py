"""Whom a node believes: real TLS between contexts in memory, with every kind of wrong certificate, date and CRL."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ovng.errors import ConfigError, IdentityError
from ovng.ids import NodeID
from ovng.io.credentials import memfd_path
from ovng.pki.identity import Identity, Kind, identity_uris
from ovng.pki.signing import Authority, KeyType, certificate_pem, key_pem, new_key, node_id, spki
from ovng.pki.trust import Trust, _handshake
from tests.pki_fixture import WALL, Member, Network

DAY = 86_400.0


def meet(client: Trust, server: Trust) -> ssl.SSLObject:
    """The client's end of a handshake that succeeds at both ends."""
    return _handshake(client.client_context(), server.server_context())


def refuses(client: ssl.SSLContext, server: ssl.SSLContext) -> str:
    with pytest.raises(ssl.SSLError) as caught:
        _handshake(client, server)
    return str(caught.value)


def check(one: Member, other: Member, *, kind: Kind = "node", wall: float = WALL) -> Identity:
    return one.trust.check_peer(meet(one.trust, other.trust), other.id, kind, wall)


def judged(one: Member, other: Member, *, wall: float = WALL) -> str:
    with pytest.raises(IdentityError) as caught:
        check(one, other, wall=wall)
    return caught.value.reason


@pytest.fixture
def network() -> Network:
    return Network()


def forged(network: Network, *uris: str, authority: Authority | None = None) -> Trust:
    """A Trust with whatever URIs, from whatever CA, that believes in the network's CA."""
    key = new_key()
    signed = (authority or network.authority).issue(key.public_key(), uris, WALL, 365)
    trust = network.node().trust
    trust._chain = certificate_pem(signed) + key_pem(key)
    trust._contexts = trust._make_contexts(None)
    return trust


class TestPeers:
    @pytest.mark.parametrize("ca", ["p256", "ed25519"])
    @pytest.mark.parametrize("first", ["p256", "ed25519"])
    @pytest.mark.parametrize("second", ["p256", "ed25519"])
    def test_two_nodes(self, ca: KeyType, first: KeyType, second: KeyType) -> None:
        network = Network(key_type=ca)
        one, other = network.node("10.77.0.2/32", key_type=first), network.node("10.77.0.3/32", key_type=second)
        assert check(one, other) == other.identity
        assert check(other, one) == one.identity

    def test_the_tls_that_is_spoken(self, network: Network) -> None:
        one, other = network.pair()
        for context in (one.trust.client_context(), one.trust.server_context()):
            assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
            assert context.verify_mode == ssl.CERT_REQUIRED and not context.check_hostname
            assert context.verify_flags & 0x200000
            assert not context.verify_flags & ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        assert one.trust.server_context().num_tickets == 0
        client = meet(one.trust, other.trust)
        assert client.version() == "TLSv1.3" and client.selected_alpn_protocol() == "ovng/1"
        with pytest.raises(ssl.SSLWantReadError):
            client.read()  # takes in what the server sent after its handshake
        assert client.session is None or not client.session.has_ticket

    def test_the_switch_and_a_node_are_not_each_other(self, network: Network) -> None:
        node, switch = network.node(), network.switch()
        assert check(node, switch, kind="switch").kind == "switch"
        assert judged(node, switch) == "not_a_node"
        with pytest.raises(IdentityError, match="not_a_switch"):
            node.trust.check_peer(meet(switch.trust, node.trust), None, "switch", WALL)

    def test_an_expected_id(self, network: Network) -> None:
        one, other = network.pair()
        third = network.node()
        for anyone in (None, NodeID(0)):
            assert one.trust.check_peer(meet(one.trust, other.trust), anyone, None, WALL).id == other.id
        with pytest.raises(IdentityError, match="other_id"):
            one.trust.check_peer(meet(one.trust, third.trust), other.id, "node", WALL)

    def test_another_ca_of_the_same_name(self, network: Network) -> None:
        here, there = network.node(), Network().node()
        for client, server in ((here, there), (there, here)):
            assert "verify failed" in refuses(client.trust.client_context(), server.trust.server_context())

    def test_no_certificate(self, network: Network) -> None:
        server = network.node().trust.server_context()
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.check_hostname = False
        bare.verify_mode = ssl.CERT_NONE
        bare.set_alpn_protocols(["ovng/1"])
        assert "did not return a certificate" in refuses(bare, server).lower()

    def test_an_older_tls(self, network: Network) -> None:
        server = network.node().trust.server_context()
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname = False
        old.verify_mode = ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert "unsupported protocol" in refuses(old, server)

    def test_another_protocol(self, network: Network) -> None:
        one, other = network.pair()
        client = one.trust._make_contexts(None)[0]
        client.set_alpn_protocols(["h2"])
        sslobj = _handshake(client, other.trust.server_context())
        with pytest.raises(IdentityError, match="not_ovng_tls"):
            one.trust.check_peer(sslobj, other.id, "node", WALL)

    def test_a_node_cannot_sign(self, network: Network) -> None:
        """A leaf's key made into a CA: OpenSSL must not accept what it signs."""
        key = new_key()
        uris = identity_uris("testnet", "node", node_id(key.public_key()))
        leaf = network.authority.issue(key.public_key(), uris, WALL, 365)
        victim = new_key()
        claim = identity_uris("testnet", "node", node_id(victim.public_key()))
        signed = Authority(leaf, key).issue(victim.public_key(), claim, WALL, 365)
        server = network.node().trust
        server._chain = certificate_pem(signed) + certificate_pem(leaf) + key_pem(victim)
        with memfd_path(server._chain) as path:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
        assert "verify failed" in refuses(network.node().trust.client_context(), context)

    @pytest.mark.parametrize("words", ["foreign", "none", "two", "network"])
    def test_the_right_ca_with_the_wrong_words(self, network: Network, words: str) -> None:
        one = network.node()
        uris, reason = {
            "foreign": (identity_uris("testnet", "node", one.id), "id_not_of_key"),
            "none": (["https://example.net"], "no_identity"),
            "two": (identity_uris("testnet", "node", one.id) * 2, "several_identities"),
            "network": (identity_uris("other", "node", one.id), "other_network"),
        }[words]
        with pytest.raises(IdentityError, match=reason):
            one.trust.check_peer(meet(one.trust, forged(network, *uris)), None, "node", WALL)

    def test_names_that_are_no_text(self, network: Network) -> None:
        """A CA can sign any bytes as a URI; the outcome is still an IdentityError."""
        key = new_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(network.authority.certificate.subject)
            .public_key(key.public_key())
            .serial_number(7)
            .not_valid_before(network.authority.certificate.not_valid_before_utc)
            .not_valid_after(network.authority.certificate.not_valid_after_utc)
        )
        for uri in (b"ovng:\xff\xfe:node:x", b"ovng:testnet:node:\0x", b""):
            names = bytes([0x30, len(uri) + 2, 0x86, len(uri)]) + uri
            extension = x509.UnrecognizedExtension(x509.oid.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, names)
            signed = builder.add_extension(extension, critical=True).sign(network.authority._key, hashes.SHA256())
            one, other = network.pair()
            other.trust._chain = certificate_pem(signed) + key_pem(key)
            other.trust._contexts = other.trust._make_contexts(None)
            with pytest.raises(IdentityError):
                one.trust.check_peer(meet(one.trust, other.trust), None, None, WALL)

    def test_before_the_handshake_ends_there_is_no_identity(self, network: Network) -> None:
        one = network.node()
        fresh = one.trust.client_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
        with pytest.raises(IdentityError):
            one.trust.check_peer(fresh, None, None, WALL)


class TestDates:
    def test_clock_of_1970_connects(self, network: Network) -> None:
        one, other = network.pair()
        assert check(one, other, wall=0.0) == other.identity
        told = one.trust.clock_warning(0.0) or ""
        assert re.search(
            r"clock is wrong: it says 1970-01-01 00:00 UTC, but it is 2026-05-28 \d\d:\d\d UTC or later", told
        )

    @pytest.mark.parametrize("skew", [-3600.0, 0.0, 3600.0])
    def test_an_hour_off(self, network: Network, skew: float) -> None:
        one, other = network.pair()
        assert check(one, other, wall=WALL + skew) == other.identity
        assert (one.trust.clock_warning(WALL + skew) is not None) == (skew < 0)

    def test_not_after_refuses(self, network: Network) -> None:
        one, brief = network.node(), network.node(days=1)
        assert check(one, brief, wall=WALL + DAY - 1)
        assert judged(one, brief, wall=WALL + DAY + 1) == "expired"

    def test_not_before_never_refuses_and_raises_the_signed_date(self, network: Network) -> None:
        one, later = network.node(), network.node(wall=WALL + 100 * DAY)
        assert check(one, later, wall=WALL)
        assert one.trust.signed_date == WALL + 100 * DAY - 300

    def test_a_clock_set_back_does_not_revive_a_certificate(self, network: Network) -> None:
        one, brief = network.node(), network.node(days=1)
        check(one, network.node(wall=WALL + 100 * DAY), wall=0.0)
        assert judged(one, brief, wall=0.0) == "expired"

    def test_a_crl_raises_the_signed_date(self, network: Network) -> None:
        one, brief = network.node(), network.node(days=1)
        assert one.trust.offer_crl(network.authority.crl(1, {}, WALL + 10 * DAY))
        assert one.trust.signed_date == WALL + 10 * DAY
        assert judged(one, brief, wall=0.0) == "expired"

    def test_a_stranger_does_not_raise_it(self, network: Network) -> None:
        one = network.node()
        before = one.trust.signed_date
        stranger = Network(wall=WALL + 100 * DAY)
        assert "verify failed" in refuses(one.trust.client_context(), stranger.node().trust.server_context())
        assert not one.trust.offer_crl(stranger.revoke())
        assert one.trust.signed_date == before

    def test_warnings(self, network: Network) -> None:
        trust = network.node(days=100).trust
        assert trust.warnings(WALL) == []
        assert trust.warnings(WALL + 69 * DAY) == []
        assert "ends in 29 days" in (trust.expiry_warning(WALL + 70.5 * DAY) or "")
        assert "ended on 2026-" in (trust.expiry_warning(WALL + 101 * DAY) or "")
        assert trust.offer_crl(network.revoke())
        assert "out of date since 2027-" in (trust.crl_warning(WALL + 366 * DAY) or "")
        assert len(trust.warnings(WALL + 366 * DAY)) == 2
        assert trust.clock_warning(WALL - 299) is None
        assert trust.clock_warning(-1e30) is not None


class TestRevocation:
    def test_a_revoked_peer_is_refused_by_tls_and_by_serial(self, network: Network) -> None:
        one, other = network.pair()
        met = meet(one.trust, other.trust)
        crl = network.revoke(other)
        assert one.trust.offer_crl(crl)
        assert "certificate revoked" in refuses(one.trust.client_context(), other.trust.server_context())
        assert "certificate revoked" in refuses(other.trust.client_context(), one.trust.server_context())
        with pytest.raises(IdentityError, match="revoked"):
            one.trust.check_peer(met, other.id, "node", WALL)
        assert check(one, network.node())

    def test_what_is_held(self, network: Network) -> None:
        one, other = network.pair()
        assert (one.trust.crl_number, one.trust.crl_der, one.trust.revoked_serials) == (0, None, frozenset())
        crl = network.revoke(other)
        assert one.trust.offer_crl(crl)
        assert (one.trust.crl_number, one.trust.crl_der) == (1, crl)
        assert one.trust.is_revoked(other.identity.serial) and not one.trust.is_revoked(one.identity.serial)

    def test_only_newer_ones(self, network: Network) -> None:
        one, other = network.pair()
        first, second = network.revoke(other), network.revoke()
        assert one.trust.offer_crl(second)
        assert not one.trust.offer_crl(first) and not one.trust.offer_crl(second)
        assert one.trust.refused == {"crl_not_newer": 2}
        assert one.trust.crl_number == 2 and one.trust.is_revoked(other.identity.serial)

    def test_a_newer_list_may_forgive(self, network: Network) -> None:
        one, other = network.pair()
        assert one.trust.offer_crl(network.revoke(other))
        assert one.trust.offer_crl(network.authority.crl(2, {}, WALL))
        assert check(one, other)

    @pytest.mark.parametrize("key_type", ["p256", "ed25519"])
    def test_the_own_certificate_proves_a_list_that_revokes_it(self, key_type: KeyType) -> None:
        network = Network(key_type=key_type)
        one = network.node()
        assert one.trust.offer_crl(network.revoke(one))
        assert one.trust.is_revoked(one.identity.serial)

    def test_from_the_start(self, network: Network) -> None:
        other = network.node()
        crl = network.revoke(other)
        one = network.node(crl=crl)
        assert one.trust.crl_number == 1 and one.trust.is_revoked(other.identity.serial)
        revoked = network.node()
        trust = Trust("testnet", revoked.ca, revoked.certificate, revoked.key, memfd_path, network.revoke(revoked))
        assert trust.identity == revoked.identity and trust.is_revoked(trust.identity.serial)

    def test_lists_that_prove_nothing(self, network: Network) -> None:
        one, other = network.pair()
        stranger = Network()  # same names, another key
        assert not one.trust.offer_crl(stranger.revoke(other))
        assert not one.trust.offer_crl(b"") and not one.trust.offer_crl(b"\x30\x03\x02\x01\x01")
        good = network.revoke(other)
        assert not one.trust.offer_crl(good[:-1])
        assert one.trust.refused["crl_not_signed"] == 1 and one.trust.refused.total() == 4
        assert one.trust.crl_number == 0
        assert check(one, other)

    @pytest.mark.parametrize("revokes_itself", [False, True])
    def test_every_byte_counts(self, network: Network, revokes_itself: bool) -> None:
        """One bit changed anywhere: refused, whether the list would say "fine" or "revoked" of the prover."""
        one = network.node()
        crl = network.revoke(one if revokes_itself else network.node())
        for at in range(0, len(crl), 3):
            changed = bytearray(crl)
            changed[at] ^= 1 << (at % 8)
            assert not one.trust.offer_crl(bytes(changed)), at
        assert one.trust.offer_crl(crl)

    def test_signed_by_a_node(self, network: Network) -> None:
        """A leaf may not sign lists, even under the CA's name."""
        one = network.node()
        key = new_key()
        leaf = network.authority.issue(
            key.public_key(), identity_uris("testnet", "node", node_id(key.public_key())), WALL, 1
        )
        posing = Authority(network.authority.certificate, key).crl(9, {one.identity.serial: WALL}, WALL)
        assert not one.trust.offer_crl(posing)
        assert not one.trust.offer_crl(Authority(leaf, key).crl(9, {}, WALL))
        assert one.trust.crl_number == 0

    def test_an_old_list_warns_and_does_not_cut_off(self, network: Network) -> None:
        one, other = network.pair()
        crl = network.authority.crl(1, {}, WALL - 900 * DAY, days=1)
        assert one.trust.offer_crl(crl) and other.trust.offer_crl(crl)
        assert check(one, other, wall=WALL)
        assert one.trust.crl_warning(WALL) is not None

    def test_contexts_in_use_are_never_changed(self, network: Network) -> None:
        one, other = network.pair()
        before = one.trust.client_context()
        flags, held = before.verify_flags, before.cert_store_stats()
        assert one.trust.offer_crl(network.revoke(other))
        assert one.trust.client_context() is not before
        assert (before.verify_flags, before.cert_store_stats()) == (flags, held)
        assert not one.trust.offer_crl(Network().revoke())
        now = one.trust.client_context()
        assert one.trust.client_context() is now


class TestOwnCredentials:
    def make(self, one: Member, **changes: bytes) -> Trust:
        parts = {"ca": one.ca, "certificate": one.certificate, "key": one.key} | changes
        return Trust("testnet", parts["ca"], parts["certificate"], parts["key"], memfd_path)

    def test_they_must_belong_together(self, network: Network) -> None:
        one, other = network.pair()
        stranger = Network().node()
        assert self.make(one).identity == one.identity
        for changes, message in [
            ({"key": other.key}, "does not belong to this private key"),
            ({"ca": stranger.ca}, "not signed by this CA"),
            ({"certificate": stranger.certificate, "key": stranger.key}, "not signed by this CA"),
            ({"ca": b"nonsense"}, "CA certificate cannot be read"),
            ({"certificate": b"nonsense"}, "cannot be used"),
            ({"key": b"nonsense"}, "cannot be used"),
        ]:
            with pytest.raises(ConfigError, match=message):
                self.make(one, **changes)
        with pytest.raises(ConfigError, match="not one of network 'elsewhere'"):
            Trust("elsewhere", one.ca, one.certificate, one.key, memfd_path)

    def test_an_encrypted_key_asks_nobody(self, network: Network) -> None:
        """OpenSSL would prompt on the terminal and wait."""
        one = network.node()
        key = serialization.load_pem_private_key(one.key, None)
        locked = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        with pytest.raises(ConfigError, match="cannot be used"):
            self.make(one, key=locked)

    def test_the_ca_key_is_known(self, network: Network) -> None:
        public = network.authority.certificate.public_key()
        assert network.node().trust.ca_public_key == spki(public)  # type: ignore[arg-type]


class TestKeyMaterial:
    def test_no_path_and_no_descriptor_stays(self, network: Network) -> None:
        one, other = network.pair()
        paths: list[str] = []

        @contextmanager
        def load(data: bytes) -> Iterator[str]:
            with memfd_path(data) as path:
                paths.append(path)
                assert Path(path).read_bytes() == data
                assert "memfd:" in str(Path(path).readlink())
                yield path

        before = len(list(Path("/proc/self/fd").iterdir()))
        trust = Trust("testnet", one.ca, one.certificate, one.key, load)
        assert trust.offer_crl(network.revoke(other))
        assert paths and len(list(Path("/proc/self/fd").iterdir())) == before
        assert all(path.startswith("/proc/self/fd/") for path in paths)

    def test_a_child_does_not_inherit_it(self) -> None:
        with memfd_path(b"secret") as path:
            fd = int(path.rpartition("/")[2])
            assert not os.get_inheritable(fd)

    def test_sslkeylogfile_is_not_honoured(self, tmp_path: Path) -> None:
        log = tmp_path / "keys"
        program = (
            "from tests.pki_fixture import Network\n"
            "from ovng.pki.trust import _handshake\n"
            "one, other = Network().pair()\n"
            "_handshake(one.trust.client_context(), other.trust.server_context())\n"
            "import ssl; c = ssl.create_default_context(); assert c.keylog_filename\n"
        )
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "SSLKEYLOGFILE": str(log)},
        )
        assert "SECRET" not in log.read_text()  # made by create_default_context, which shows that the test can fail
