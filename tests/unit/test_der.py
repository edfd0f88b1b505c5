"""The DER reader against `cryptography` as oracle, and against bytes nobody should send."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from ovng.errors import Malformed
from ovng.limits import CRL_MAX
from ovng.pki.der import parse_certificate, parse_crl
from ovng.pki.signing import Authority, new_key
from ovng.pki.trust import _handshake
from tests.effort import examples
from tests.pki_fixture import WALL, Network

NETWORK = Network()
DER = serialization.Encoding.DER


def certificate(days: float = 365, wall: float = WALL) -> bytes:
    key = NETWORK.authority
    return key.issue(new_key().public_key(), ["ovng:testnet:node:x"], wall, days).public_bytes(DER)


CERTIFICATE = certificate()
CRL = NETWORK.authority.crl(7, {5: WALL, 1 << 150: WALL + 1}, WALL)


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    head = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2, "big")
    return bytes([tag]) + head + body


SEQUENCE, INTEGER, BITS, UTC_TIME = 0x30, 2, 3, 0x17
ALGORITHM = NAME = tlv(SEQUENCE)
NUMBER_EXTENSION = tlv(SEQUENCE, bytes.fromhex("0603551d14"), tlv(4, tlv(INTEGER, b"\x07")))


def crl_with(*parts: bytes) -> bytes:
    body = tlv(SEQUENCE, tlv(INTEGER, b"\x01"), ALGORITHM, NAME, tlv(UTC_TIME, b"260528000000Z"), *parts)
    return tlv(SEQUENCE, body, ALGORITHM, tlv(BITS, b"\0"))


def extensions(*parts: bytes) -> bytes:
    return tlv(0xA0, tlv(SEQUENCE, *parts))


def reason(data: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        parse_crl(data)
    return caught.value.reason


class TestCertificate:
    @settings(max_examples=examples(30), deadline=None)
    @given(st.floats(0, 2_500_000_000), st.floats(0.01, 20_000), st.sampled_from(["p256", "ed25519"]))
    def test_as_cryptography_reads_it(self, wall: float, days: float, kind: str) -> None:
        network = Authority.create("testnet", wall, "p256", 30_000)
        key = new_key("ed25519" if kind == "ed25519" else "p256")
        signed = network.issue(key.public_key(), ["ovng:a:node:b"], wall, days)
        facts = parse_certificate(signed.public_bytes(DER))
        assert facts.serial == signed.serial_number
        assert facts.not_before == signed.not_valid_before_utc.timestamp()
        assert facts.not_after == signed.not_valid_after_utc.timestamp()
        assert facts.spki == key.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def test_other_keys_and_a_late_date(self) -> None:
        key = ec.generate_private_key(ec.SECP384R1())
        end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # "no end" (RFC 5280, 4.1.2.5)
        name = x509.Name([])
        signed = (
            x509.CertificateBuilder(name, name, key.public_key(), (1 << 159) - 1, datetime(1951, 1, 1, tzinfo=UTC), end)
        ).sign(key, hashes.SHA384())
        facts = parse_certificate(signed.public_bytes(DER))
        assert (facts.serial, facts.not_after) == ((1 << 159) - 1, end.timestamp())
        assert facts.not_before == datetime(1951, 1, 1, tzinfo=UTC).timestamp()

    def test_cut_anywhere_and_extended(self) -> None:
        for size in range(len(CERTIFICATE)):
            with pytest.raises(Malformed):
                parse_certificate(CERTIFICATE[:size])
        with pytest.raises(Malformed, match="der_trailing"):
            parse_certificate(CERTIFICATE + b"\0")
        with pytest.raises(Malformed, match="der_oversized"):
            parse_certificate(bytes(1 << 17))

    @settings(max_examples=examples(500), deadline=None)
    @given(st.data())
    def test_damage(self, data: st.DataObject) -> None:
        changed = bytearray(CERTIFICATE)
        for _ in range(data.draw(st.integers(1, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        try:
            parse_certificate(bytes(changed))
        except Malformed:
            pass

    @given(st.binary(max_size=100))
    def test_noise(self, data: bytes) -> None:
        with pytest.raises(Malformed):
            parse_certificate(data)


class TestCrl:
    @settings(max_examples=examples(30), deadline=None)
    @given(st.sets(st.integers(1, (1 << 159) - 1), max_size=20), st.integers(1, (1 << 63) - 1))
    def test_as_cryptography_reads_it(self, serials: set[int], number: int) -> None:
        der = NETWORK.authority.crl(number, dict.fromkeys(serials, WALL), WALL)
        loaded = x509.load_der_x509_crl(der)
        facts = parse_crl(der)
        assert facts.serials == frozenset(entry.serial_number for entry in loaded)
        assert facts.number == number
        assert facts.this_update == loaded.last_update_utc.timestamp()
        assert loaded.next_update_utc is not None
        assert facts.next_update == loaded.next_update_utc.timestamp()

    def test_the_hand_made_one_is_good(self) -> None:
        """So that what follows fails for its own reason."""
        facts = parse_crl(crl_with(extensions(NUMBER_EXTENSION)))
        assert (facts.number, facts.next_update, facts.serials) == (7, None, frozenset())

    def test_what_it_must_not_mean(self) -> None:
        critical_oid = bytes.fromhex("0603551d1b")  # delta CRL indicator
        critical = tlv(SEQUENCE, critical_oid, b"\x01\x01\xff", tlv(4, tlv(INTEGER, b"\x01")))
        plain = tlv(SEQUENCE, critical_oid, tlv(4, tlv(INTEGER, b"\x01")))
        entry = tlv(SEQUENCE, tlv(INTEGER, b"\x05"), tlv(UTC_TIME, b"260528000000Z"), tlv(SEQUENCE, critical))
        assert reason(crl_with()) == "crl_without_number"
        assert reason(crl_with(extensions(plain))) == "crl_without_number"
        assert reason(crl_with(extensions(NUMBER_EXTENSION, critical))) == "crl_critical_extension"
        assert reason(crl_with(extensions(NUMBER_EXTENSION, NUMBER_EXTENSION))) == "crl_extension_twice"
        assert reason(crl_with(tlv(SEQUENCE, entry), extensions(NUMBER_EXTENSION))) == "crl_critical_extension"

    @pytest.mark.parametrize("number", [b"", b"\x00", b"\x80", b"\x00\x07", b"\xff\xff", b"\x01" + bytes(8), bytes(10)])
    def test_bad_numbers(self, number: bytes) -> None:
        extension = tlv(SEQUENCE, bytes.fromhex("0603551d14"), tlv(4, tlv(INTEGER, number)))
        assert reason(crl_with(extensions(extension))) in ("der_integer", "crl_number")

    @pytest.mark.parametrize(
        "time", [b"", b"260528000000", b"2605280000Z", b"261328000000Z", b"260230000000Z", b"+60528000000Z"]
    )
    def test_bad_times(self, time: bytes) -> None:
        entry = tlv(SEQUENCE, tlv(INTEGER, b"\x05"), tlv(UTC_TIME, time))
        assert reason(crl_with(tlv(SEQUENCE, entry), extensions(NUMBER_EXTENSION))) == "der_time"

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "der_truncated"),
            (b"\x30", "der_truncated"),
            (b"\x30\x80\0\0", "der_length"),  # indefinite: BER
            (b"\x30\x81\x05" + bytes(5), "der_length"),  # not minimal
            (b"\x30\x82\x00\x85" + bytes(133), "der_length"),
            (b"\x30\x85\0\0\0\0\x01\0", "der_length"),
            (b"\x30\x84\xff\xff\xff\xff", "der_truncated"),
            (b"\x31\x00", "der_unexpected"),
            (bytes(CRL_MAX + 1), "der_oversized"),
        ],
    )
    def test_bad_frames(self, data: bytes, why: str) -> None:
        assert reason(data) == why

    def test_cut_anywhere(self) -> None:
        for size in range(len(CRL)):
            with pytest.raises(Malformed):
                parse_crl(CRL[:size])

    @settings(max_examples=examples(500), deadline=None)
    @given(st.data())
    def test_damage(self, data: st.DataObject) -> None:
        changed = bytearray(CRL)
        for _ in range(data.draw(st.integers(1, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        try:
            parse_crl(bytes(changed))
        except Malformed:
            pass

    def test_a_certificate_is_no_crl(self) -> None:
        with pytest.raises(Malformed):
            parse_crl(CERTIFICATE)
        with pytest.raises(Malformed):
            parse_certificate(CRL)


def test_what_tls_shows_is_what_is_read() -> None:
    one, other = NETWORK.pair()
    seen = _handshake(one.trust.client_context(), other.trust.server_context()).getpeercert(True)
    assert seen is not None
    assert parse_certificate(seen).serial == other.identity.serial
