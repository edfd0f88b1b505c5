"""The node's link to its Switch, with real sockets: which of the addresses it is told it can use at all."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator

import pytest

from ovng.clock import Now
from ovng.config.values import Endpoint
from ovng.errors import SystemProblem
from ovng.ids import Locator, NodeID
from ovng.io import sockets
from ovng.node.switchlink import SwitchLink

NOW = Now(10.0, 10.0, 10.0)
V6, V4 = Endpoint("2001:db8::1", 5140), Endpoint("192.0.2.1", 5140)


class Path:
    """What a data path does with a path: it refuses what the socket cannot reach."""

    def __init__(self) -> None:
        self.switch: Locator | None = None

    def set_path(self, index: int, sock: socket.socket, switch: Locator, switch_id: NodeID | None = None) -> None:
        if sock.family == socket.AF_INET and switch.ip.version != 4:
            raise SystemProblem("an IPv4 socket cannot reach the Switch there")
        self.switch = switch

    def set_active(self, index: int) -> None:
        pass


@pytest.fixture
def no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that was booted with ipv6.disable=1."""
    monkeypatch.setattr(sockets, "ipv6_available", lambda: False)


@pytest.fixture
def link() -> Iterator[Callable[[], SwitchLink]]:
    made: list[SwitchLink] = []

    def make() -> SwitchLink:
        one = SwitchLink(0, Path(), lambda now: None)  # type: ignore[arg-type]
        made.append(one)
        assert one.open(0, "", map(ipaddress.ip_address, (V6.host, V4.host)))
        return one

    yield make
    for one in made:
        one.close_all()


def test_a_machine_without_ipv6_uses_the_switchs_other_address(link: Callable[[], SwitchLink], no_ipv6: None) -> None:
    one = link()
    one.set_endpoints([V6, V4])
    one._looked_up(NOW)
    assert one.ips == (ipaddress.ip_address("192.0.2.1"),)
    assert one._path.switch == Locator.of(*V4)  # type: ignore[attr-defined]
    assert one.deadline() is None


def test_a_switch_that_cannot_be_reached_at_all_is_told_and_asked_for_again(
    link: Callable[[], SwitchLink], no_ipv6: None, caplog: pytest.LogCaptureFixture
) -> None:
    one = link()
    one.set_endpoints([V6])
    one._looked_up(NOW)
    assert one.ips == () and one.deadline() is not None
    assert "this machine has no IPv6" in caplog.text


def test_with_ipv6_both_are_tried(link: Callable[[], SwitchLink]) -> None:
    if not sockets.ipv6_available():
        pytest.skip("this kernel has no IPv6")
    one = link()
    one.set_endpoints([V6, V4])
    one._looked_up(NOW)
    assert [ip.version for ip in one.ips] == [6, 4]


def test_an_answer_makes_the_path_anew_only_where_data_went_elsewhere(link: Callable[[], SwitchLink]) -> None:
    """A path that is made anew has taken nothing yet: what it took would be sent again."""
    one = link()
    one.set_endpoints([V4, Endpoint("192.0.2.2", 5140)])
    one.set_reaches(0, [ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("192.0.2.2")])
    one._looked_up(NOW)
    made: list[Locator] = []
    path = one._path
    path.set_path = lambda index, sock, switch, switch_id=None: made.append(switch)  # type: ignore[method-assign]
    first, second = Locator.of("192.0.2.1", 5140), Locator.of("192.0.2.2", 5140)
    one.heard(0, first)
    assert (made, one.address(0)) == ([], first)
    one.heard(0, second)
    assert made == [second]
