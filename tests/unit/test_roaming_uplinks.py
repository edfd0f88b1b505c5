"""Which interfaces are uplinks, and in which order."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest

from ovng.config.mobility import UplinkSettings
from ovng.roaming.snapshot import Interface, LinkSnapshot, Way
from ovng.roaming.uplinks import choose_uplinks

SWITCH, SWITCH6 = ipaddress.ip_address("203.0.113.9"), ipaddress.ip_address("2001:db8:f::9")
SOURCES = {4: ipaddress.ip_address("192.0.2.5"), 6: ipaddress.ip_address("2001:db8::5")}


def snapshot(
    *ways: tuple[str, int], switch: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...] = (SWITCH,)
) -> LinkSnapshot:
    """One interface for each (name, metric), all of which reach `switch`."""
    return LinkSnapshot(
        {index: Interface(name, True, True, frozenset(SOURCES.values())) for index, (name, _) in enumerate(ways, 1)},
        ways_by_interface={
            (index, ip): Way(index, SOURCES[ip.version], None, metric)
            for index, (_, metric) in enumerate(ways, 1)
            for ip in switch
        },
    )


def order(snap: LinkSnapshot, *settings: UplinkSettings) -> list[tuple[str, int, bool]]:
    return [(uplink.name, uplink.priority, uplink.metered) for uplink in choose_uplinks(snap, [SWITCH], settings)]


def test_none_without_a_way() -> None:
    assert choose_uplinks(LinkSnapshot(), [SWITCH]) == ()
    assert choose_uplinks(snapshot(("wlan0", 600)), [SWITCH6]) == ()
    assert choose_uplinks(snapshot(("wlan0", 600)), []) == ()


def test_the_lower_metric_first_and_names_break_ties() -> None:
    links = snapshot(("wwan0", 700), ("wlan1", 600), ("wlan0", 600), ("eth0", 100))
    assert order(links) == [("eth0", 128, False), ("wlan0", 129, False), ("wlan1", 130, False), ("wwan0", 131, False)]


def test_at_most_four() -> None:
    links = snapshot(*((f"eth{number}", 10 - number) for number in range(6)))
    assert [name for name, *_ in order(links)] == ["eth5", "eth4", "eth3", "eth2"]


def test_more_than_there_are_priorities() -> None:
    assert len(order(snapshot(*((f"eth{number}", number) for number in range(300))))) == 4


def test_the_profile_comes_before_metrics() -> None:
    links = snapshot(("eth0", 100), ("wlan0", 600), ("wwan0", 700))
    settings = [UplinkSettings("wwan*", 5), UplinkSettings("eth*", 200)]
    assert order(links, *settings) == [("wwan0", 5, False), ("wlan0", 128, False), ("eth0", 200, False)]


def test_metered_is_last_whatever_its_priority() -> None:
    links = snapshot(("eth0", 100), ("wwan0", 50))
    assert order(links, UplinkSettings("wwan*", 0, metered=True)) == [("eth0", 128, False), ("wwan0", 0, True)]


def test_metered_ones_do_not_push_others_out() -> None:
    links = snapshot(("eth0", 900), *((f"wwan{number}", 1) for number in range(4)))
    assert order(links, UplinkSettings("wwan*", metered=True))[0][0] == "eth0"


def test_the_first_match_counts() -> None:
    links = snapshot(("wwan0", 1), ("wwan1", 1))
    settings = [UplinkSettings("wwan1", use=False), UplinkSettings("wwan*", 7)]
    assert order(links, *settings) == [("wwan0", 7, False)]


@pytest.mark.parametrize("changed", [Interface("eth0", False, True), Interface("eth0", True, False)])
def test_down_or_without_carrier_is_none(changed: Interface) -> None:
    links = snapshot(("eth0", 100))
    assert choose_uplinks(LinkSnapshot({1: changed}, ways_by_interface=links.ways_by_interface), [SWITCH]) == ()


def test_ways_in_the_order_of_the_question() -> None:
    links = snapshot(("eth0", 100), switch=(SWITCH, SWITCH6))
    (uplink,) = choose_uplinks(links, [SWITCH6, SWITCH])
    assert list(uplink.ways) == [SWITCH6, SWITCH]
    assert uplink.versions == {4, 6}
    assert choose_uplinks(links, iter([SWITCH6, SWITCH])) == (uplink,)


def test_equal_when_nothing_changed() -> None:
    def twice() -> Iterator[object]:
        for _ in range(2):
            yield choose_uplinks(snapshot(("eth0", 100), ("wlan0", 600)), [SWITCH])

    first, second = twice()
    assert first == second


def test_a_way_by_no_interface_of_its_own() -> None:
    """A Switch on this machine; but not by what is down, or not to be used."""
    lo = Interface("lo", True, True, frozenset({SWITCH}))
    links = LinkSnapshot({1: lo}, ways={SWITCH: Way(1, SWITCH)})
    (uplink,) = choose_uplinks(links, [SWITCH])
    assert (uplink.name, uplink.index, dict(uplink.ways)) == ("", 0, links.ways)
    assert choose_uplinks(links, [SWITCH], [UplinkSettings("l*", use=False)]) == ()
    assert choose_uplinks(LinkSnapshot({1: Interface("lo", True, False)}, ways=links.ways), [SWITCH]) == ()
    assert choose_uplinks(LinkSnapshot({}, ways=links.ways), [SWITCH]) == ()
    newer = LinkSnapshot({1: Interface("eth0", True, True)}, ways=links.ways)
    assert choose_uplinks(newer, [SWITCH]) == (), "the source came after the addresses were looked at"
