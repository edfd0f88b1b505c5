"""The replay window against its slow twin: numbers as a program of steps, leaps and repetitions."""

from __future__ import annotations

from ovng._fast.replay import LIMIT, WINDOW, ReplayWindow
from tests.fuzz.choices import Choices
from tests.unit.twins import SlowReplayWindow

EDGES = (0, 1, 63, 64, 65, WINDOW - 1, WINDOW, WINDOW + 1, WINDOW + 64, 4 * WINDOW, LIMIT, LIMIT + 1)


def fuzz_one(data: bytes) -> None:
    """See `targets`."""
    choices = Choices(data)
    fast, slow = ReplayWindow(), SlowReplayWindow(WINDOW, LIMIT)
    number = 0
    while choices:
        match choices.below(6):
            case 0:
                number = choices.integer()
            case 1:
                number += choices.u8()
            case 2:
                number -= choices.u8()
            case 3:
                number += choices.pick(EDGES)
            case 4:
                number -= choices.pick(EDGES)
            case 5:
                number = slow.highest - choices.pick(EDGES)
        number %= 1 << 64
        if choices.flag():
            assert fast.check(number) == slow.check(number)
        else:
            assert fast.commit(number) == slow.commit(number)
        assert fast.highest == slow.highest
