"""Snapshots, what is said of two of them, and what follows: the tables whole, and stories of a mobile day."""

from __future__ import annotations

import itertools
from ipaddress import ip_address

import pytest

from ovng.fields import field_names, replace
from ovng.ids import IPAddress
from ovng.roaming.decision import NOTHING, RULES, RULES_WITHOUT_WAY, Action, decide
from ovng.roaming.delta import Delta, compare
from ovng.roaming.snapshot import DefaultRoute, Interface, LinkSnapshot, Way

LOOKUP = Action.LOOKUP_AGAIN
SWITCH, SWITCH6 = ip_address("203.0.113.9"), ip_address("2001:db8:f::9")
ANSWERS = list(field_names(Delta))
WLAN, LTE, VETH = 2, 3, 9


# -- The table


def test_every_answer_has_its_rule() -> None:
    assert set(RULES) == set(ANSWERS)
    assert set(RULES_WITHOUT_WAY) < set(ANSWERS)


@pytest.mark.parametrize(
    ("answer", "with_way", "without_way"),
    [
        ("way_gone", set(), set()),
        ("way_back", {LOOKUP}, {LOOKUP}),
        ("source_address_gone", {LOOKUP}, {LOOKUP}),
        ("source_address_changed", {LOOKUP}, {LOOKUP}),
        ("interface_changed", {LOOKUP}, {LOOKUP}),
        ("gateway_changed", {LOOKUP}, {LOOKUP}),
        ("carrier_back", set(), set()),
        ("no_way", set(), set()),
        ("default_route_changed", set(), {LOOKUP}),
        ("address_gained", set(), {LOOKUP}),
    ],
)
def test_one_answer(answer: str, with_way: set[Action], without_way: set[Action]) -> None:
    assert decide(Delta(**{answer: True})).actions == with_way
    assert decide(Delta(**{answer: True, "no_way": True})).actions == without_way


def test_several_answers_add_up() -> None:
    for values in itertools.product((False, True), repeat=len(ANSWERS)):
        delta = Delta(**dict(zip(ANSWERS, values, strict=True)))
        single = [
            decide(Delta(**{answer: True, "no_way": delta.no_way}))
            for answer, value in zip(ANSWERS, values, strict=True)
            if value
        ]
        decision = decide(delta)
        assert decision.actions == frozenset[Action]().union(*(one.actions for one in single))
        assert set(decision.reasons) <= set(delta.reasons)
        assert bool(decision.actions) == bool(decision.reasons) == (decision != NOTHING)
        assert decision.lookup == (LOOKUP in decision.actions)


# -- The stories


def up(name: str, *addresses: str) -> Interface:
    return Interface(name, True, True, frozenset(ip_address(address) for address in addresses))


def way(interface: int, source: str, gateway: str | None) -> Way:
    return Way(interface, ip_address(source), ip_address(gateway) if gateway else None)


def default(way: Way, metric: int = 0) -> DefaultRoute:
    return DefaultRoute(way.source.version, way.interface, way.gateway, metric)


def snapshot(interfaces: dict[int, Interface], used: Way | None = None, *more: Way) -> LinkSnapshot:
    """All ways have default routes; the one `used` is taken towards the Switch."""
    ways: dict[IPAddress, Way] = {} if used is None else {SWITCH if used.source.version == 4 else SWITCH6: used}
    return LinkSnapshot(interfaces, frozenset(default(entry) for entry in (used, *more) if entry is not None), ways)


HOME = way(WLAN, "192.168.1.5", "192.168.1.1")
CAFE = way(WLAN, "10.0.0.7", "10.0.0.1")
MOBILE = way(LTE, "100.64.3.3", "100.64.3.1")
AT_HOME = snapshot({WLAN: up("wlan0", "192.168.1.5")}, HOME)
AT_HOME_WITH_LTE = snapshot({WLAN: up("wlan0", "192.168.1.5"), LTE: up("wwan0", "100.64.3.3")}, HOME, MOBILE)
IN_CAFE = snapshot({WLAN: up("wlan0", "10.0.0.7")}, CAFE)
ON_LTE = snapshot({LTE: up("wwan0", "100.64.3.3")}, MOBILE)
NOWHERE = snapshot({WLAN: Interface("wlan0", True, False)})


@pytest.mark.parametrize(
    ("before", "after", "reasons", "actions"),
    [
        pytest.param(AT_HOME, AT_HOME, {"-"}, set(), id="nothing happened"),
        pytest.param(AT_HOME, NOWHERE, {"way_gone", "no_way", "default_route_changed"}, {LOOKUP}, id="out of reach"),
        pytest.param(
            NOWHERE,
            AT_HOME,
            {"way_back", "default_route_changed", "address_gained"},
            {LOOKUP},
            id="in reach again",
        ),
        pytest.param(
            AT_HOME,
            IN_CAFE,
            {"source_address_gone", "default_route_changed", "address_gained"},
            {LOOKUP},
            id="another network on the same interface",
        ),
        pytest.param(
            AT_HOME_WITH_LTE,
            ON_LTE,
            {"source_address_gone", "interface_changed", "default_route_changed"},
            {LOOKUP},
            id="the preferred uplink went",
        ),
        pytest.param(AT_HOME, AT_HOME_WITH_LTE, {"default_route_changed", "address_gained"}, set(), id="a spare came"),
        pytest.param(AT_HOME_WITH_LTE, AT_HOME, {"default_route_changed"}, set(), id="a spare went"),
        pytest.param(
            AT_HOME_WITH_LTE,
            replace(AT_HOME_WITH_LTE, ways={SWITCH: MOBILE}),
            {"source_address_changed", "interface_changed"},
            {LOOKUP},
            id="somebody prefers the other uplink",
        ),
        pytest.param(
            AT_HOME,
            snapshot({WLAN: up("wlan0", "192.168.1.5")}, way(WLAN, "192.168.1.5", "192.168.1.254")),
            {"gateway_changed", "default_route_changed"},
            {LOOKUP},
            id="another router in the same subnet",
        ),
        pytest.param(
            AT_HOME,
            replace(AT_HOME, interfaces={WLAN: replace(AT_HOME.interfaces[WLAN], carrier=False)}),
            {"-"},
            set(),
            id="the cable is out, the routes are still there",
        ),
        pytest.param(
            replace(AT_HOME, interfaces={WLAN: replace(AT_HOME.interfaces[WLAN], carrier=False)}),
            AT_HOME,
            {"carrier_back", "address_gained"},
            set(),
            id="the cable is in, perhaps in another socket",
        ),
        pytest.param(
            AT_HOME,
            snapshot({WLAN: up("wlan0", "192.168.1.5", "192.168.1.99")}, HOME),
            {"address_gained"},
            set(),
            id="a second address that is not used",
        ),
        pytest.param(
            snapshot({WLAN: up("wlan0", "192.168.1.5", "192.168.1.99")}, HOME), AT_HOME, {"-"}, set(), id="and it went"
        ),
        pytest.param(
            AT_HOME,
            snapshot({WLAN: up("wlan0", "192.168.1.5"), VETH: up("veth1a2b", "172.17.0.1")}, HOME),
            {"address_gained"},
            set(),
            id="a container started",
        ),
        pytest.param(
            AT_HOME,
            snapshot({WLAN: up("renamed", "192.168.1.5")}, HOME),
            {"-"},
            set(),
            id="an interface was renamed",
        ),
        pytest.param(
            AT_HOME,
            snapshot({WLAN: up("wlan0", "192.168.1.5")}, HOME, way(LTE, "2001:db8::5", "fe80::1")),
            {"default_route_changed"},
            set(),
            id="IPv6 came while IPv4 works",
        ),
    ],
)
def test_story(before: LinkSnapshot, after: LinkSnapshot, reasons: set[str], actions: set[Action]) -> None:
    delta = compare(before, after, SWITCH)
    assert set(delta.reasons or ("-",)) == reasons
    assert decide(delta).actions == actions


def test_the_family_in_use_counts() -> None:
    """IPv4 moves, the Switch is reached by IPv6: nothing to report."""
    six = way(WLAN, "2001:db8::5", "fe80::1")
    before = LinkSnapshot({WLAN: up("wlan0", "192.168.1.5", "2001:db8::5")}, frozenset(), {SWITCH: HOME, SWITCH6: six})
    after = LinkSnapshot({WLAN: up("wlan0", "10.0.0.7", "2001:db8::5")}, frozenset(), {SWITCH: CAFE, SWITCH6: six})
    assert not decide(compare(before, after, SWITCH6)).actions
    assert decide(compare(before, after, SWITCH)).lookup


def test_a_privacy_address_that_rotates_moves() -> None:
    """RFC 8981: the old temporary address is deprecated, still there, and no longer chosen."""
    old, new = way(WLAN, "2001:db8::1111", "fe80::1"), way(WLAN, "2001:db8::2222", "fe80::1")
    before = snapshot({WLAN: up("wlan0", "2001:db8::1111")}, old)
    after = snapshot({WLAN: up("wlan0", "2001:db8::1111", "2001:db8::2222")}, new)
    delta = compare(before, after, SWITCH6)
    assert set(delta.reasons) == {"source_address_changed", "address_gained"}
    assert decide(delta).lookup


def test_before_the_first_look_up() -> None:
    """The Switch's name has no address yet: what may give one asks again, and nothing is reported anywhere."""
    assert decide(compare(NOWHERE, AT_HOME, None)).actions == {LOOKUP}
    assert decide(compare(AT_HOME, AT_HOME_WITH_LTE, None)).actions == {LOOKUP}
    assert decide(compare(AT_HOME, NOWHERE, None)).actions == {LOOKUP}
    assert decide(compare(AT_HOME, AT_HOME, None)).actions == set()


def test_out_of_reach_on_one_family_asks_for_the_other() -> None:
    """The network speaks IPv6 only now; the Switch's IPv4 address is of no use there."""
    six = way(WLAN, "2001:db8::5", "fe80::1")
    after = LinkSnapshot({WLAN: up("wlan0", "2001:db8::5")}, frozenset({default(six)}), {})
    assert decide(compare(AT_HOME, after, SWITCH)).actions == {LOOKUP}
