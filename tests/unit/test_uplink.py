"""Which of the Switch's addresses is used."""

from ovng.ids import Locator
from ovng.node.uplink import SwitchAddresses

V4, V6, OTHER = Locator.of("192.0.2.1", 5140), Locator.of("2001:db8::1", 5140), Locator.of("198.51.100.9", 5140)


def test_all_are_tried_until_one_answers_and_again_when_it_falls_silent() -> None:
    switch = SwitchAddresses()
    assert switch.targets() == ()
    assert switch.update([V4, V6, V4])
    assert switch.targets() == (V4, V6)
    assert switch.heard(V6)
    assert switch.targets() == (V6,)
    assert not switch.heard(V6)
    switch.silent()
    assert switch.targets() == (V4, V6)
    assert switch.heard(V4) and switch.current == V4


def test_a_stranger_is_never_taken_for_the_switch() -> None:
    switch = SwitchAddresses()
    switch.update([V4])
    assert not switch.heard(OTHER)
    assert switch.current is None


def test_a_look_up_that_moves_the_switch_searches_again_and_an_empty_one_keeps_what_was_good() -> None:
    switch = SwitchAddresses()
    switch.update([V4])
    switch.heard(V4)
    assert not switch.update([]) and switch.targets() == (V4,)
    assert switch.update([OTHER]) and switch.targets() == (OTHER,)
    assert not switch.update([OTHER])
