"""What a certificate's URIs mean (PROTOCOL section 5), rule by rule."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ovng.errors import IdentityError
from ovng.ids import NodeID
from ovng.pki.identity import PREFIXES_MAX, identity_from_peer, identity_uris
from ovng.pki.signing import new_key, node_id
from tests.pki_fixture import WALL, Network

NETWORK = Network()
KEY = new_key()
ID = node_id(KEY.public_key())
DER = NETWORK.authority.issue(KEY.public_key(), ["ovng:testnet:node:x"], WALL, 1).public_bytes(Encoding.DER)
NODE = f"ovng:testnet:node:{ID}"


def peercert(*uris: str) -> dict[str, Any]:
    """As getpeercert() gives it."""
    return {"subjectAltName": tuple(("URI", uri) for uri in uris)}


def refused(*uris: str) -> str:
    with pytest.raises(IdentityError) as caught:
        identity_from_peer(peercert(*uris), DER, "testnet")
    return caught.value.reason


def test_everything_it_can_say() -> None:
    prefixes = tuple(map(ipaddress.ip_network, ("10.77.0.2/32", "fd77::2/128", "0.0.0.0/0")))
    uris = identity_uris("testnet", "node", ID, prefixes, "gates", True)
    identity = identity_from_peer(peercert(*uris), DER, "testnet")
    assert (identity.network, identity.kind, identity.id) == ("testnet", "node", ID)
    assert (identity.prefixes, identity.cluster, identity.managed) == (prefixes, "gates", True)
    assert (identity.not_before, identity.not_after) == (WALL - 300, WALL + 86_400)


def test_addresses_it_holds() -> None:
    identity = NETWORK.node("10.77.0.2/32", "192.168.8.0/24", "fd77::2/128").identity
    for text, held in [
        ("10.77.0.2", True),
        ("10.77.0.3", False),
        ("192.168.8.255", True),
        ("192.168.9.0", False),
        ("fd77::2", True),
        ("fd77::3", False),
    ]:
        assert identity.holds(ipaddress.ip_address(text)) is held


@pytest.mark.parametrize(
    ("uris", "reason"),
    [
        ([], "no_identity"),
        (["https://example.net", "ovng:testnet:prefix:10.0.0.0/8"], "no_identity"),
        ([NODE, NODE], "several_identities"),
        ([NODE, f"ovng:testnet:switch:{ID}"], "several_identities"),
        ([NODE.replace("testnet", "other")], "other_network"),
        ([NODE, "ovng:other:prefix:10.0.0.0/8"], "other_network"),
        ([NODE, f"ovng:other:node:{ID}"], "other_network"),
        ([NODE.replace("testnet", "TESTNET")], "other_network"),
        (["ovng:testnet:node:0000-0000-0000-0001"], "id_not_of_key"),
        ([NODE.upper().replace("OVNG:TESTNET:NODE", "ovng:testnet:node")], "id_not_of_key"),
        ([NODE + " "], "id_not_of_key"),
        ([NODE + ":"], "id_not_of_key"),
        ([NODE + "\0"], "id_not_of_key"),
        ([f"ovng:testnet:node:{int(ID):016x}"], "id_not_of_key"),
        (["ovng:testnet:node"], "bad_uri"),
        (["ovng:"], "bad_uri"),
        ([NODE, "ovng:testnet:prefix:10.0.0.1/8"], "bad_prefix"),
        ([NODE, "ovng:testnet:prefix:10.77.0.2"], "bad_prefix"),
        ([NODE, "ovng:testnet:prefix:10.0.0.0/255.0.0.0"], "bad_prefix"),
        ([NODE, "ovng:testnet:prefix:fd77::0/64"], "bad_prefix"),
        ([NODE, "ovng:testnet:prefix:"], "bad_prefix"),
        ([NODE, "ovng:testnet:cluster:a", "ovng:testnet:cluster:b"], "bad_cluster"),
        ([NODE, "ovng:testnet:cluster:A B"], "bad_cluster"),
        ([NODE, "ovng:testnet:cluster:"], "bad_cluster"),
        (
            [NODE, *(f"ovng:testnet:prefix:10.0.{i >> 8}.{i & 255}/32" for i in range(PREFIXES_MAX + 1))],
            "too_many_prefixes",
        ),
    ],
)
def test_refused(uris: list[str], reason: str) -> None:
    assert refused(*uris) == reason


def test_what_later_versions_may_add_is_skipped() -> None:
    identity = identity_from_peer(peercert(NODE, "ovng:testnet:colour:blue", "ovng:testnet:trust:full"), DER, "testnet")
    assert not identity.managed


def test_only_uris_count() -> None:
    names = {"subjectAltName": (("DNS", NODE), ("email", NODE)), "subject": ((("commonName", NODE),),)}
    with pytest.raises(IdentityError, match="no_identity"):
        identity_from_peer(names, DER, "testnet")


def test_a_broken_certificate() -> None:
    with pytest.raises(IdentityError, match="certificate_malformed"):
        identity_from_peer(peercert(NODE), DER[:-1], "testnet")


@given(st.lists(st.text(max_size=30).map(lambda text: "ovng:testnet:" + text), max_size=3))
def test_any_uris(uris: list[str]) -> None:
    try:
        identity_from_peer(peercert(NODE, *uris), DER, "testnet")
    except IdentityError:
        pass


def test_the_id_is_that_of_the_key() -> None:
    member = NETWORK.node(key_type="ed25519")
    assert isinstance(member.id, NodeID) and member.id != ID


def test_a_node_runs_without_cryptography() -> None:
    """The modules of a running node neither import it nor fail without it."""
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "import ovng.pki.identity, ovng.pki.trust, ovng.pki.der, ovng.pki.folder, ovng.config.profile\n"
        "import ovng.config.render, ovng.io.credentials, ovng.cli.main, ovng.cli.ca\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
