"""The kernel as oracle: what our segmentation and coalescing make of any input, it makes of it, too.

A router forwards each input in two ways, and the same packets must leave it: a super-packet as it is, or cut by us; a
batch of packets one by one, or joined by us.
"""

from __future__ import annotations

import atexit
import functools
from contextlib import ExitStack

from ovng._fast.coalesce import coalesce
from ovng._fast.segment import segments
from ovng.errors import Malformed
from tests.fuzz.choices import Choices
from tests.fuzz.targets.coalesce import check_same, is_packet, make_batch, plain
from tests.fuzz.targets.segment import make_frame
from tests.netns.router import Router, router
from tests.unit.packets import NO_VNET

TIMESTAMP = 0x44  # the IPv4 option that a router fills in, differently each time


@functools.cache
def _router() -> Router:
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(router())


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    check(_router(), data)


def check(oracle: Router, data: bytes) -> None:
    """`fuzz_one` with a given router."""
    choices = Choices(data)
    if choices.flag():
        join(oracle, [packet for packet in make_batch(choices) if is_packet(packet) and not _stamped(packet)])
    else:
        cut(oracle, make_frame(choices))


def cut(oracle: Router, frame: bytes) -> int:
    """How many packets leave. What only one of the two takes is no contradiction."""
    try:
        ours = segments(frame)
    except Malformed:
        return 0
    if any(map(_stamped, ours)):
        return 0
    kernels = oracle.forward([frame])
    if kernels:
        assert [*map(plain, kernels)] == [*map(plain, oracle.forward([NO_VNET + packet for packet in ours]))]
    return len(kernels)


def join(oracle: Router, batch: list[bytes]) -> None:
    """None of what we write is refused, either, however the packets were changed."""
    result = coalesce(oracle.entry.fileno(), batch)
    assert (result["failed"], result["tso"], result["uso"]) == (0, True, True)
    joined = oracle.left()
    check_same(oracle.forward([NO_VNET + packet for packet in batch]), joined)


def _stamped(packet: bytes) -> bool:
    return packet[0] >> 4 == 4 and TIMESTAMP in packet[20 : (packet[0] & 15) * 4]
