"""What a node does about a change of its network, beside what `roamer` does with its uplinks: a table of named answers.

LOOKUP_AGAIN: ask for the addresses of the Switch's name again; the new network may have another answer, or another
family. A change that leaves the way to the Switch as it was (a container's veth, a second uplink that is not preferred,
another profile's tunnel) asks for nothing.
"""

from __future__ import annotations

from enum import Enum

from ovng.fields import Frozen
from ovng.roaming.delta import Delta


class Action(Enum):
    """One thing to do."""

    LOOKUP_AGAIN = "look up again"


class Decision(Frozen):
    """What to do, and the names of the answers that led to it, for the log and the status."""

    actions: frozenset[Action] = frozenset()
    reasons: tuple[str, ...] = ()

    @property
    def lookup(self) -> bool:
        """Look the Switch's name up."""
        return Action.LOOKUP_AGAIN in self.actions


NOTHING = Decision()

_LOOKUP = Action.LOOKUP_AGAIN

RULES: dict[str, frozenset[Action]] = {
    "way_gone": frozenset(),  # silence until there is a way, or one to another of its addresses
    "way_back": frozenset({_LOOKUP}),
    "source_address_gone": frozenset({_LOOKUP}),
    "source_address_changed": frozenset({_LOOKUP}),
    "interface_changed": frozenset({_LOOKUP}),
    "gateway_changed": frozenset({_LOOKUP}),
    "carrier_back": frozenset(),
    "no_way": frozenset(),  # a state, not an event
    "default_route_changed": frozenset(),
    "address_gained": frozenset(),
}
"""Every answer of `Delta`, by name."""

RULES_WITHOUT_WAY: dict[str, frozenset[Action]] = {
    "default_route_changed": frozenset({_LOOKUP}),
    "address_gained": frozenset({_LOOKUP}),
}
"""Added while there is no way to the Switch: what might give one."""


def decide(delta: Delta) -> Decision:
    """The actions that the answers ask for; `NOTHING` when they ask for none."""
    actions: set[Action] = set()
    reasons: list[str] = []
    for reason in delta.reasons:
        wanted = RULES[reason] | (RULES_WITHOUT_WAY.get(reason, frozenset()) if delta.no_way else frozenset())
        if wanted:
            actions |= wanted
            reasons.append(reason)
    return Decision(frozenset(actions), tuple(reasons)) if actions else NOTHING
