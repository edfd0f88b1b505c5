"""TLS over memory: what passes, what breaks it, and what is said about it."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovng.limits import STREAM_BUFFER
from ovng.session.tls import ChannelBroken, TlsChannel
from ovng.session.tlsgroup import UNKNOWN_GROUP, group_name
from ovng.wire.inner import Ping
from tests.effort import examples
from tests.pki_fixture import Member, Network


@pytest.fixture(scope="module")
def network() -> Network:
    return Network()


@pytest.fixture(scope="module")
def pair(network: Network) -> tuple[Member, Member]:
    return network.pair()


def channels(client: Member, server: Member) -> tuple[TlsChannel, TlsChannel]:
    return TlsChannel(client.trust.client_context(), False), TlsChannel(server.trust.server_context(), True)


def shake(client: TlsChannel, server: TlsChannel, step: int = 1 << 20) -> None:
    """Move bytes, `step` at a time, until neither has anything to say."""
    client.start()
    while True:
        moved = False
        for source, target in ((client, server), (server, client)):
            data = source.take()
            for start in range(0, len(data), step):
                target.feed(data[start : start + step])
                moved = True
        if not moved:
            return


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_handshake_and_messages_however_bytes_arrive(pair: tuple[Member, Member], step: int) -> None:
    client, server = channels(*pair)
    shake(client, server, step)
    assert client.handshake_done and server.handshake_done
    assert client.cipher == server.cipher and client.cipher.startswith("TLS_")
    assert client.group == server.group and client.group in ("X25519", "X25519MLKEM768")
    client.send(Ping(1).pack())
    client.send(Ping(2).pack())
    server.feed(client.take())
    assert server.messages() == [(6, bytes(7) + b"\1"), (6, bytes(7) + b"\2")]
    assert server.messages() == []


def test_nothing_is_said_of_cipher_and_group_too_early(pair: tuple[Member, Member]) -> None:
    client, server = channels(*pair)
    client.start()
    assert (client.cipher, client.group, server.cipher, server.group) == ("", UNKNOWN_GROUP, "", UNKNOWN_GROUP)


def test_only_tls_1_3_is_spoken(pair: tuple[Member, Member]) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    client, server = TlsChannel(old, False), TlsChannel(pair[1].trust.server_context(), True)
    with pytest.raises(ChannelBroken, match="unsupported_protocol"):
        shake(client, server)


def test_client_hears_why_it_was_refused(network: Network) -> None:
    stranger = Network().node()
    server_member = network.node()
    lax = stranger.trust.client_context()  # believes its own CA only, so let it believe anything
    lax.verify_mode = ssl.CERT_NONE
    client, server = TlsChannel(lax, False), TlsChannel(server_member.trust.server_context(), True)
    with pytest.raises(ChannelBroken) as at_server:
        shake(client, server)
    assert at_server.value.reason == "certificate_refused" and at_server.value.lasting
    assert client.handshake_done, "in TLS 1.3 the client is done before it is judged"
    with pytest.raises(ChannelBroken) as at_client:
        client.feed(server.take())
    assert at_client.value.reason == "refused_by_peer" and at_client.value.lasting
    assert at_client.value.detail == "tlsv1_alert_unknown_ca"


def test_revoked_is_called_revoked() -> None:
    network = Network()
    bad, good = network.node(), network.node()
    assert good.trust.offer_crl(network.revoke(bad))
    with pytest.raises(ChannelBroken) as caught:
        shake(*channels(bad, good))
    assert caught.value.reason == "certificate_revoked" and caught.value.lasting


def test_once_broken_always_broken(pair: tuple[Member, Member]) -> None:
    _, server = channels(*pair)
    for _ in range(2):
        with pytest.raises(ChannelBroken, match="tls_error"):
            server.feed(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ChannelBroken):
        server.send(b"x")


def test_a_flipped_bit_breaks_it_without_more(pair: tuple[Member, Member]) -> None:
    client, server = channels(*pair)
    shake(client, server)
    client.send(Ping(1).pack())
    data = bytearray(client.take())
    data[-1] ^= 1
    with pytest.raises(ChannelBroken) as caught:
        server.feed(bytes(data))
    assert caught.value.reason == "tls_error" and not caught.value.lasting


def test_closing_and_oversized_messages_end_it(pair: tuple[Member, Member]) -> None:
    client, server = channels(*pair)
    shake(client, server)
    with pytest.raises(ssl.SSLWantReadError):
        client.sslobj.unwrap()
    with pytest.raises(ChannelBroken, match="tls_closed"):
        server.feed(client.take())
    client, server = channels(*pair)
    shake(client, server)
    client.send(b"\x03\xff\xff")
    with pytest.raises(ChannelBroken, match="inner_length"):
        server.feed(client.take())


def test_handshake_bytes_are_bounded(pair: tuple[Member, Member]) -> None:
    _, server = channels(*pair)
    with pytest.raises(ChannelBroken, match="tls_too_long"):
        server.feed(bytes(STREAM_BUFFER + 1))


def test_outgoing_bytes_are_bounded(pair: tuple[Member, Member]) -> None:
    client, server = channels(*pair)
    shake(client, server)
    with pytest.raises(ChannelBroken, match="tls_outgoing"):
        for _ in range(100):
            client.send(bytes(16_000))


@settings(max_examples=examples(50), deadline=None)
@given(st.binary(min_size=1, max_size=300), st.booleans())
def test_any_bytes_break_it_or_wait(pair: tuple[Member, Member], data: bytes, record: bool) -> None:
    _, server = channels(*pair)
    try:
        server.feed(b"\x16\x03\x01" + len(data).to_bytes(2, "big") + data if record else data)
    except ChannelBroken as broken:
        assert broken.reason in ("tls_error", "tls_closed")
    assert not server.handshake_done


# -- The group


def server_hello(group: int, *, retry: bool = False) -> bytes:
    """A ServerHello as RFC 8446, 4.1.3 draws it."""
    random = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c" if retry else "11" * 32
    share = group.to_bytes(2, "big") + (b"" if retry else b"\x00\x04abcd")
    extensions = b"\x00\x2b\x00\x02\x03\x04" + b"\x00\x33" + len(share).to_bytes(2, "big") + share
    body = b"\x03\x03" + bytes.fromhex(random) + b"\x02id" + b"\x13\x02\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


@pytest.mark.parametrize(
    ("group", "name"), [(0x1D, "X25519"), (0x17, "P-256"), (0x11EC, "X25519MLKEM768"), (0x9999, "0x9999")]
)
def test_group_is_read_after_a_retry_too(group: int, name: str) -> None:
    data = server_hello(0x18, retry=True) + b"\x14\x03\x03\x00\x01\x01" + server_hello(group) + b"\x17\x03\x03"
    assert group_name(data) == name


def test_group_is_read_from_split_and_joined_records() -> None:
    retry, hello = server_hello(0x18, retry=True)[5:], server_hello(0x1D)[5:]
    messages = retry + hello
    for size in (1, 7, len(retry), len(messages)):
        pieces = [messages[start : start + size] for start in range(0, len(messages), size)]
        assert group_name(b"".join(b"\x16\x03\x03" + len(it).to_bytes(2, "big") + it for it in pieces)) == "X25519"


def test_group_after_a_real_retry(pair: tuple[Member, Member]) -> None:
    """A client that offers X25519 first to a server that takes P-256 only."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    source = pair[1].trust
    with source._load(source._chain) as path:
        server_context.load_cert_chain(path)
    server_context.load_verify_locations(cadata=pair[1].ca.decode())
    server_context.set_alpn_protocols(["ovng/1"])
    server_context.set_ecdh_curve("prime256v1")
    client, server = TlsChannel(pair[0].trust.client_context(), False), TlsChannel(server_context, True)
    shake(client, server)
    assert client.group == server.group == "P-256"


@given(st.binary(max_size=400))
def test_any_bytes_give_a_name_or_none(data: bytes) -> None:
    assert group_name(b"\x16\x03\x03" + len(data).to_bytes(2, "big") + data)
    assert group_name(data)


def test_endless_hello_is_given_up() -> None:
    assert group_name((b"\x16\x03\x03\x04\x00\x02\xff\xff\xff" + bytes(1020)) * 20) == UNKNOWN_GROUP
