from __future__ import annotations

import hashlib
import hmac
import random

import pytest

from ovng.session.cookie import CookieJar

START = 1000.0


def new_jar() -> CookieJar:
    return CookieJar(random.Random(1).randbytes)


def test_layout_of_protocol_section_3() -> None:
    secrets = [b"p" * 32, b"q" * 32]
    jar = CookieJar(lambda count: secrets.pop(0))
    cookie = jar.make(b"ovng cookie", b"parts", START)
    assert cookie == hmac.digest(b"q" * 32, b"ovng cookieparts", hashlib.sha256)[:16]


def test_good_for_what_it_was_made_only() -> None:
    jar = new_jar()
    cookie = jar.make(b"label", b"parts", START)
    assert jar.check(cookie, b"label", b"parts", START)
    assert not jar.check(cookie, b"label", b"other", START)
    assert not jar.check(cookie, b"other", b"parts", START)
    assert not jar.check(bytes(16), b"label", b"parts", START)
    assert not jar.check(b"", b"label", b"parts", START)
    assert not new_jar_seed(2).check(cookie, b"label", b"parts", START)


def new_jar_seed(seed: int) -> CookieJar:
    return CookieJar(random.Random(seed).randbytes)


@pytest.mark.parametrize("made", [0.0, 30.0, 59.9])
def test_lives_60_to_120_seconds(made: float) -> None:
    jar = new_jar()
    jar.make(b"l", b"first", START)
    cookie = jar.make(b"l", b"p", START + made)
    for age in (1.0, 30.0, 59.9):
        assert jar.check(cookie, b"l", b"p", START + made + age)
    assert not jar.check(cookie, b"l", b"p", START + made + 121)


def test_a_jar_asked_late_does_not_let_old_cookies_live_longer() -> None:
    """Secrets are replaced every 60 s, also when nobody looks at the moment of replacing."""
    jar = new_jar()
    cookie = jar.make(b"l", b"p", START)
    assert jar.check(cookie, b"l", b"p", START + 119)
    assert not jar.check(cookie, b"l", b"p", START + 121)
    later = jar.make(b"l", b"p", START + 179)
    assert jar.check(later, b"l", b"p", START + 239)


def test_a_jar_left_alone_forgets_both_secrets() -> None:
    jar = new_jar()
    cookie = jar.make(b"l", b"p", START)
    assert not jar.check(cookie, b"l", b"p", START + 10_000)
    assert not jar.check(cookie, b"l", b"p", START + 10_001)
