"""Key derivation against RFC 5869's own vectors, and against itself: what must differ does."""

from __future__ import annotations

import hashlib
import hmac
from itertools import combinations

import pytest

from ovng.ids import NodeID
from ovng.session.keys import KeyContext, Secrets, agree_cipher, hkdf_expand, hkdf_extract, master_keys

# RFC 5869, appendix A.1 to A.3: IKM, salt, info, L, PRK, OKM
VECTORS = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        42,
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]

CONTEXT = KeyContext(NodeID(1), NodeID(2), 3, 4, 1)
C, S = b"c" * 32, b"s" * 32


@pytest.mark.parametrize(("material", "salt", "info", "length", "secret", "output"), VECTORS)
def test_rfc_5869(material: str, salt: str, info: str, length: int, secret: str, output: str) -> None:
    extracted = hkdf_extract(bytes.fromhex(salt), bytes.fromhex(material))
    assert extracted.hex() == secret
    assert hkdf_expand(extracted, bytes.fromhex(info), length).hex() == output


def test_hkdf_bound() -> None:
    assert len(hkdf_expand(bytes(32), b"", 255 * 32)) == 255 * 32
    with pytest.raises(ValueError, match="8160"):
        hkdf_expand(bytes(32), b"", 255 * 32 + 1)


def test_layout_of_protocol_section_4() -> None:
    """The derivation spelt out by hand, from PROTOCOL.md and nothing else."""
    context = bytes.fromhex("0000000000000001 0000000000000002 0000000000000003 00000004 01")
    secret = hmac.digest(b"ovng 1", C + S, hashlib.sha256)
    first = hmac.digest(secret, b"data client\0" + context + b"\x01", hashlib.sha256)
    second = hmac.digest(secret, first + b"data client\0" + context + b"\x02", hashlib.sha256)
    key = Secrets.of(C, S, CONTEXT).data(from_client=True)
    assert key.key == first and key.iv == second[:12]
    assert Secrets.of(C, S, CONTEXT).report_master == hmac.digest(secret, b"report\0" + context + b"\1", hashlib.sha256)


def test_everything_that_must_differ_does() -> None:
    contexts = [
        CONTEXT,
        CONTEXT._replace(client=NodeID(9)),
        CONTEXT._replace(server=NodeID(9)),
        CONTEXT._replace(client=NodeID(2), server=NodeID(1)),
        CONTEXT._replace(session_id=9),
        CONTEXT._replace(generation=9),
        CONTEXT._replace(purpose=2),
    ]
    secrets = [Secrets.of(C, S, context) for context in contexts] + [Secrets.of(S, C, CONTEXT)]
    outputs = []
    for each in secrets:
        client, server = each.data(from_client=True), each.data(from_client=False)
        outputs += [client.key, client.iv, server.key, server.iv, each.report_master, each.private_master]
        outputs += [*master_keys(each.report_master), *master_keys(each.private_master)]
    assert all(a != b for a, b in combinations(outputs, 2))


def test_secrets_are_in_no_repr() -> None:
    secrets = Secrets.of(C, S, CONTEXT)
    assert repr(secrets) == "Secrets()" and repr(secrets.data(from_client=True)) == "DataKey()"


@pytest.mark.parametrize(
    ("client", "server", "agreed"),
    [
        ((3, 1), (3, 1), 1),
        ((3, 2), (3, 1), 2),
        ((3, 1), (3, 2), 2),
        ((1, 1), (3, 2), 1),
        ((2, 2), (3, 1), 2),
        ((3, 0), (3, 0), 1),
        ((2, 0), (2, 0), 2),
        ((1, 1), (2, 2), None),
        ((0, 1), (3, 1), None),
        ((0xFC, 1), (0xFC, 1), None),
        ((0xFF, 9), (0xFF, 7), 1),
    ],
)
def test_cipher_rule(client: tuple[int, int], server: tuple[int, int], agreed: int | None) -> None:
    assert agree_cipher(*client, *server) == agreed == agree_cipher(*server, *client)
