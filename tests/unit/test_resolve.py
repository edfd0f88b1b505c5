"""Name look-up. The resolver's threads are real; what answers them is ours."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading

import pytest

from ovng.ids import Locator
from ovng.io.resolve import THREADS_MAX, Resolver

V4, V6 = Locator.of("192.0.2.1", 5140), Locator.of("2001:db8::1", 5140)


class Names:
    """A resolver's answers by family; an exception is raised, an event waited for."""

    def __init__(self, v4: object, v6: object) -> None:
        self.answers = {int(socket.AF_INET): v4, int(socket.AF_INET6): v6}
        self.asked = 0

    def __call__(self, host: str, family: int) -> list[str]:
        self.asked += 1
        answer = self.answers[family]
        if isinstance(answer, threading.Event):
            answer.wait(20)
            answer = OSError("too late")
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, list)
        return answer


def resolve(resolver: Resolver) -> tuple[Locator, ...]:
    async def main() -> tuple[Locator, ...]:
        return await asyncio.wait_for(resolver.resolve(), 15)

    try:
        return asyncio.run(main())
    finally:
        resolver.close()


NOT_KNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_both_families_ipv6_first() -> None:
    assert resolve(Resolver("vpn.example", 5140, Names(["192.0.2.1"], ["2001:db8::1"]))) == (V6, V4)


@pytest.mark.parametrize(("v4", "v6", "expected"), [(["192.0.2.1"], NOT_KNOWN, V4), (NOT_KNOWN, ["2001:db8::1"], V6)])
def test_one_family(v4: object, v6: object, expected: Locator) -> None:
    resolver = Resolver("vpn.example", 5140, Names(v4, v6))
    assert resolve(resolver) == (expected,)
    assert resolver.failure == ""


def test_doubles_and_scopes() -> None:
    names = Names(["192.0.2.1", "192.0.2.1"], ["fe80::1%eth0"])
    assert resolve(Resolver("vpn.example", 5140, names)) == (Locator.of("fe80::1", 5140), V4)


def test_a_family_that_hangs_does_not_hold_up_the_other() -> None:
    hang = threading.Event()
    try:
        assert resolve(Resolver("vpn.example", 5140, Names(["192.0.2.1"], hang))) == (V4,)
    finally:
        hang.set()


def test_no_answer_in_time_keeps_the_last_good_one() -> None:
    hang = threading.Event()
    names = Names(["192.0.2.1"], NOT_KNOWN)
    resolver = Resolver("vpn.example", 5140, names, timeout=0.1)
    assert resolve(resolver) == (V4,)
    names.answers = dict.fromkeys(names.answers, hang)
    try:
        assert resolve(resolver) == (V4,)
        assert resolver.failure == "no answer within 0.1 s"
    finally:
        hang.set()


def test_failure_has_a_reason() -> None:
    resolver = Resolver("vpn.example", 5140, Names(NOT_KNOWN, NOT_KNOWN))
    assert resolve(resolver) == ()
    assert resolver.failure == "Name or service not known"


def test_a_new_answer_replaces_the_old() -> None:
    names = Names(["192.0.2.1"], NOT_KNOWN)
    resolver = Resolver("vpn.example", 5140, names)
    assert resolve(resolver) == (V4,)
    names.answers[int(socket.AF_INET)] = ["192.0.2.77"]
    assert resolve(resolver) == (Locator.of("192.0.2.77", 5140),)


@pytest.mark.parametrize(("host", "locator"), [("192.0.2.1", V4), ("2001:db8::1", V6), ("[2001:db8::1]", V6)])
def test_numbers_are_not_looked_up(host: str, locator: Locator) -> None:
    names = Names(NOT_KNOWN, NOT_KNOWN)
    resolver = Resolver(host, 5140, names)
    assert resolver.numeric
    assert resolver.locators == resolve(resolver) == (locator,)
    assert names.asked == 0


def test_askers_share_one_look_up() -> None:
    names = Names(["192.0.2.1"], NOT_KNOWN)
    resolver = Resolver("vpn.example", 5140, names)

    async def main() -> list[tuple[Locator, ...]]:
        return await asyncio.gather(*(resolver.resolve() for _ in range(10)))

    assert asyncio.run(main()) == [(V4,)] * 10
    assert names.asked == 2
    resolver.close()


def test_the_system_resolver() -> None:
    """localhost is in every hosts file."""
    assert Locator.of("127.0.0.1", 5140) in resolve(Resolver("localhost", 5140))


@pytest.mark.parametrize("host", ["x" * 64 + ".example", "a..b"])
def test_a_name_that_cannot_be_one(host: str) -> None:
    resolver = Resolver(host, 5140)
    assert resolve(resolver) == ()
    assert resolver.failure


def test_threads_that_hang_are_bounded() -> None:
    hang = threading.Event()
    names = Names(hang, hang)
    resolver = Resolver("vpn.example", 5140, names, timeout=0.05)

    async def main() -> None:
        for _ in range(5):
            await resolver.resolve()

    try:
        asyncio.run(main())
        assert names.asked == THREADS_MAX
        assert resolver.failure == "the resolver does not answer"
    finally:
        hang.set()


def test_exit_does_not_wait_for_a_look_up() -> None:
    code = """
import asyncio, threading
from ovng.io.resolve import Resolver
resolver = Resolver("vpn.example", 1, lambda host, family: threading.Event().wait(), timeout=0.05)
print(asyncio.run(resolver.resolve()), resolver.failure)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("() no answer within 0.05 s\n", "")
