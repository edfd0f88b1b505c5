"""A default route into the tunnel that does not swallow the way to the Switch: three kinds of rules (ip-rule(8)).

    5140  to the Switch → main                       the tunnel's own datagrams; their answers pass rp_filter, too
    5141  all           → main, no default route     connected subnets and every other route stay as they are
    5142  all           → table 111                  the default route into the tunnel

The machine's own default route is not touched: where it leads, and whenever it changes, the tunnel follows.
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from typing import NamedTuple

from ovng.ids import IPAddress
from ovng.io import rtnetlink as rt
from ovng.io.netlink import ROUTE_PROTOCOL
from ovng.io.rtnetlink import Message, RouteSocket

EXIT_TABLE, _MAIN_TABLE = 111, 254
_TO_SWITCH, _SUBNETS, _EXIT = 5140, 5141, 5142
_TO_TABLE = 1
_NO_RULES = (errno.EAFNOSUPPORT, errno.EOPNOTSUPP)  # a kernel without this family, or without rules


class _Rule(NamedTuple):
    version: int
    priority: int
    destination: str = ""


class ExitRules:
    """The rules of this machine's network namespace, over somebody's socket. All methods raise OSError."""

    def __init__(self, socket: RouteSocket) -> None:
        self._socket = socket

    def keep(self, versions: Collection[int], around: Collection[IPAddress]) -> None:
        """There are default routes of these IP versions; `around` are the Switch's addresses. Says it twice at will."""
        wanted = {_Rule(version, priority) for version in versions for priority in (_SUBNETS, _EXIT)}
        wanted |= {_Rule(to.version, _TO_SWITCH, str(to)) for to in around if to.version in versions}
        held = self._held()
        for rule in sorted(wanted - held):  # the way to the Switch first
            self._socket.change(rt.RTM_NEWRULE, self._message(rule), rt.F_CREATE | rt.F_EXCL)
        for rule in sorted(held - wanted, reverse=True):
            self._socket.change(rt.RTM_DELRULE, self._message(rule))

    def _held(self) -> set[_Rule]:
        found = set()
        for version, family in rt.FAMILIES.items():
            try:
                rules = self._socket.dump(rt.RTM_GETRULE, family)
            except OSError as error:
                if error.errno not in _NO_RULES:
                    raise
                continue
            for rule in rules:
                if rule.get_attr("FRA_PROTOCOL") == ROUTE_PROTOCOL:
                    found.add(_Rule(version, rule.get_attr("FRA_PRIORITY") or 0, rule.get_attr("FRA_DST") or ""))
        return found

    def _message(self, rule: _Rule) -> Message:
        attributes: list[tuple[str, object]] = [("FRA_PRIORITY", rule.priority), ("FRA_PROTOCOL", ROUTE_PROTOCOL)]
        if rule.destination:
            attributes.append(("FRA_DST", rule.destination))
        if rule.priority == _SUBNETS:
            attributes.append(("FRA_SUPPRESS_PREFIXLEN", 0))
        return self._socket.message(
            rt.RTM_NEWRULE,
            family=rt.FAMILIES[rule.version],
            dst_len=(32 if rule.version == 4 else 128) if rule.destination else 0,
            table=EXIT_TABLE if rule.priority == _EXIT else _MAIN_TABLE,
            action=_TO_TABLE,
            attrs=attributes,
        )
