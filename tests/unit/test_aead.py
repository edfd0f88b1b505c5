"""Packet protection against published vectors, a second implementation, and damage (PROTOCOL 2).

The vector files name their sources. `cryptography` is the second implementation.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from ovng._fast import aead, crypto
from ovng._fast.aead import AES_256_GCM, CHACHA20_POLY1305, Aead
from tests.lacks import needs_own_processor

VECTORS = Path(__file__).parent.parent / "vectors"
CIPHERS = [AES_256_GCM, CHACHA20_POLY1305]


def published() -> list[Any]:
    """Every case of the vector files, as pytest parameters."""
    files = [
        json.loads((VECTORS / name).read_text()) for name in ("aes_256_gcm_nist.json", "chacha20_poly1305_rfc8439.json")
    ]
    return [pytest.param(file["cipher"], case, id=case["id"]) for file in files for case in file["cases"]]


def second(cipher: int, key: bytes) -> AESGCM | ChaCha20Poly1305:
    """The same key in the other implementation."""
    return AESGCM(key) if cipher == AES_256_GCM else ChaCha20Poly1305(key)


@pytest.mark.parametrize(("cipher", "case"), published())
def test_published_vector(cipher: int, case: dict[str, Any]) -> None:
    key, nonce, aad, ciphertext, tag = (bytes.fromhex(case[k]) for k in ("key", "nonce", "aad", "ciphertext", "tag"))
    one = Aead(cipher, key)
    if case["valid"]:
        plaintext = bytes.fromhex(case["plaintext"])
        assert one.seal(nonce, aad, plaintext) == ciphertext + tag
        assert one.open(nonce, aad, ciphertext + tag) == plaintext
    else:
        assert one.open(nonce, aad, ciphertext + tag) is None


def test_there_are_vectors() -> None:
    cases = [param.values for param in published()]
    assert sum(cipher == AES_256_GCM for cipher, _ in cases) >= 100
    assert sum(cipher == CHACHA20_POLY1305 for cipher, _ in cases) >= 2
    assert any(not case["valid"] for _, case in cases)


@given(
    st.sampled_from(CIPHERS),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=12, max_size=12),
    st.binary(max_size=64),
    st.binary(max_size=2000),
)
def test_like_the_second_implementation(cipher: int, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> None:
    ours, theirs = Aead(cipher, key), second(cipher, key)
    sealed = ours.seal(nonce, aad, plaintext)
    assert sealed == theirs.encrypt(nonce, plaintext, aad)
    assert ours.open(nonce, aad, sealed) == plaintext


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1279, 1400, 65_507])
def test_lengths_at_the_edges(cipher: int, length: int) -> None:
    key, nonce, plaintext = bytes(range(32)), bytes(range(12)), os.urandom(length)
    sealed = Aead(cipher, key).seal(nonce, b"header", plaintext)
    assert len(sealed) == length + 16
    assert sealed == second(cipher, key).encrypt(nonce, plaintext, b"header")


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("number", [0, 1, 255, 256, 2**32 - 1, 2**32, 2**64 - 1])
def test_the_nonce_is_the_iv_xor_the_packet_number(cipher: int, number: int) -> None:
    key, iv = os.urandom(32), os.urandom(12)
    nonce = (int.from_bytes(iv) ^ number).to_bytes(12)
    one = Aead(cipher, key, iv)
    sealed = one.seal_packet(number, b"header", b"inner packet")
    assert sealed == second(cipher, key).encrypt(nonce, b"inner packet", b"header")
    assert one.open_packet(number, b"header", sealed) == b"inner packet"
    assert one.open_packet(number ^ 1, b"header", sealed) is None


@pytest.mark.parametrize("cipher", CIPHERS)
def test_every_changed_bit_is_noticed(cipher: int) -> None:
    one, nonce, aad = Aead(cipher, os.urandom(32)), os.urandom(12), os.urandom(28)
    sealed = one.seal(nonce, aad, b"inner packet")
    for bit in range(8 * len(sealed)):
        changed = int.from_bytes(sealed) ^ 1 << bit
        assert one.open(nonce, aad, changed.to_bytes(len(sealed))) is None
    for bit in range(8 * len(aad)):
        assert one.open(nonce, (int.from_bytes(aad) ^ 1 << bit).to_bytes(len(aad)), sealed) is None
    for bit in range(96):
        assert one.open((int.from_bytes(nonce) ^ 1 << bit).to_bytes(12), aad, sealed) is None
    assert one.open(nonce, aad, sealed) == b"inner packet", "a failure must not harm the next packet"


@pytest.mark.parametrize("cipher", CIPHERS)
def test_truncated_extended_and_simple_tags_are_refused(cipher: int) -> None:
    one, nonce = Aead(cipher, os.urandom(32)), os.urandom(12)
    sealed = one.seal(nonce, b"", b"inner packet")
    for length in range(len(sealed)):
        assert one.open(nonce, b"", sealed[:length]) is None
    assert one.open(nonce, b"", sealed + b"\0") is None
    inverted = bytes(byte ^ 0xFF for byte in sealed[-16:])
    for tag in (bytes(16), b"\xff" * 16, inverted, sealed[-8:] * 2, sealed[:-17:-1]):
        assert one.open(nonce, b"", sealed[:-16] + tag) is None


@pytest.mark.parametrize("cipher", CIPHERS)
def test_one_context_serves_many_packets_good_and_bad(cipher: int) -> None:
    key, iv = os.urandom(32), os.urandom(12)
    sender, receiver = Aead(cipher, key, iv), Aead(cipher, key, iv)
    for number in range(1, 300):
        header, packet = os.urandom(28), os.urandom(number)
        sealed = sender.seal_packet(number, header, packet)
        if number % 3 == 0:
            assert receiver.open_packet(number, header, sealed[:-1] + bytes([sealed[-1] ^ 1])) is None
        assert receiver.open_packet(number, header, sealed) == packet


@pytest.mark.parametrize("cipher", CIPHERS)
def test_the_callers_bytes_are_never_changed(cipher: int) -> None:
    one, nonce, plaintext = Aead(cipher, bytes(32)), bytes(12), os.urandom(64)
    keep = bytes(bytearray(plaintext))
    sealed = one.seal(nonce, b"", plaintext)
    kept = bytes(bytearray(sealed))
    one.open(nonce, b"", sealed)
    assert (plaintext, sealed) == (keep, kept)


@pytest.mark.parametrize(
    ("cipher", "key", "iv", "message"),
    [
        (0, bytes(32), None, "no such cipher: 0"),
        (3, bytes(32), None, "no such cipher: 3"),
        (-1, bytes(32), None, "no such cipher: -1"),
        (1, bytes(31), None, "32 bytes, not 31"),
        (1, bytes(33), None, "32 bytes, not 33"),
        (1, bytes(32), bytes(11), "12 bytes, not 11"),
    ],
)
def test_wrong_sizes_are_refused(cipher: int, key: bytes, iv: bytes | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Aead(cipher, key, iv)


def test_wrong_nonces_are_refused() -> None:
    one = Aead(AES_256_GCM, bytes(32))
    for size in (0, 11, 13):
        with pytest.raises(ValueError, match="12 bytes"):
            one.seal(bytes(size), b"", b"")
        with pytest.raises(ValueError, match="12 bytes"):
            one.open(bytes(size), b"", bytes(16))
    with pytest.raises(ValueError, match="IV"):
        one.seal_packet(1, b"", b"")


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("length", [0, 1, 64, 1400])
def test_in_place_the_capacity_counts_the_tag_to_the_byte(cipher: int, length: int) -> None:
    one, nonce, plaintext = Aead(cipher, bytes(32)), bytes(12), os.urandom(length)
    small = bytearray(plaintext + bytes(15))
    assert aead.DROP_NAMES[one.seal_in_place(nonce, b"header", small, length)] == "aead_capacity"
    assert small == plaintext + bytes(15)
    roomy = bytearray(plaintext + bytes(17))
    assert one.seal_in_place(nonce, b"header", roomy, length) == length + 16
    assert roomy == one.seal(nonce, b"header", plaintext) + b"\0", "not a byte beyond the tag"
    del roomy[-1]
    assert one.open_in_place(nonce, b"header", roomy) == length
    assert roomy[:length] == plaintext


@pytest.mark.parametrize("cipher", CIPHERS)
def test_in_place_each_failure_has_its_reason(cipher: int) -> None:
    one, nonce = Aead(cipher, bytes(32)), bytes(12)
    assert aead.DROP_NAMES[one.open_in_place(nonce, b"", bytearray(15))] == "aead_short"
    assert aead.DROP_NAMES[one.open_in_place(nonce, b"", bytearray(16))] == "aead_forged"
    assert aead.DROP_NAMES[one.open_in_place(nonce, b"", bytearray(1400))] == "aead_forged"
    with pytest.raises(ValueError, match="17 bytes of 16"):
        one.seal_in_place(nonce, b"", bytearray(16), 17)


def test_failures_leave_nothing_in_the_threads_openssl_error_queue() -> None:
    # Python's ssl reads that queue; a stale entry there becomes somebody else's SSLError.
    libcrypto = ctypes.CDLL(crypto.load().rpartition("(")[2].rstrip(")"))
    for cipher in CIPHERS:
        libcrypto.ERR_clear_error()
        libcrypto.EVP_CIPHER_fetch(None, b"no-such-cipher", None)
        assert libcrypto.ERR_peek_error() != 0, "this is how a failure would show"
        assert Aead(cipher, bytes(32)).open(bytes(12), b"", bytes(32)) is None
        assert libcrypto.ERR_peek_error() == 0


# -- libcrypto itself


def fresh(program: str) -> subprocess.CompletedProcess[str]:
    """Run in a new process: a libcrypto once loaded stays."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_load_names_version_and_file_and_happens_once() -> None:
    line = crypto.load()
    assert line.startswith(("OpenSSL 3.", "OpenSSL 4."))
    assert any(name in line for name in crypto.SONAMES)
    assert crypto.load("/nonexistent") == line


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nonexistent/libcrypto.so.3", r"/nonexistent/libcrypto.so.3: (cannot open shared object file|No such file)"),
        ("libc.so.6", "libcrypto lacks OpenSSL_version_num"),
        (__file__, "invalid ELF header|Exec format error"),
    ],
)
def test_an_unusable_libcrypto_is_one_clear_line(path: str, message: str) -> None:
    result = fresh(
        "from ovng._fast import crypto\n"
        f"try: crypto.load({path!r})\n"
        "except RuntimeError as problem: print(problem)\n"
        "print(crypto.load())"  # and the right one can still be had
    )
    first, second = result.stdout.splitlines()
    assert re.search(message, first)  # in the words of glibc's loader, or of musl's
    assert "OpenSSL 3.0 or newer" in first
    assert second.startswith("OpenSSL")


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize(("number", "wins"), [("0x30000000", False), ("0x70100000", True), ("0x1010117f", False)])
def test_the_highest_version_wins_not_the_first_name(tmp_path: Path, number: str, wins: bool) -> None:
    """`libcrypto.so.4` that is the system's library but for the version it tells; 1.1.1 is passed over."""
    (tmp_path / "version.c").write_text(f"unsigned long OpenSSL_version_num(void) {{ return {number}; }}\n")
    command = ["cc", "-shared", "-fPIC", "-Wl,--no-as-needed", "-o", "libcrypto.so.4", "version.c", "-l:libcrypto.so.3"]
    if subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("no libcrypto.so.3 to link with")
    program = "from ovng._fast import crypto; print(crypto.load())"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert ("(libcrypto.so.4)" in done.stdout) == wins


@needs_own_processor
def test_the_cpu_answer_is_the_kernels() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert crypto.cpu_has_aes() is ("aes" in flags and ("pclmulqdq" in flags or "pmull" in flags))
