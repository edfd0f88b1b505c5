"""What changed between two snapshots, as answers with names. Pure; what follows from them is in `decision.py`."""

from __future__ import annotations

from ovng.fields import Frozen, field_names
from ovng.ids import IPAddress
from ovng.roaming.snapshot import Interface, LinkSnapshot


class Delta(Frozen):
    """The answers. The first group is about the way to the Switch's address in use, the second about the rest."""

    way_gone: bool = False
    """The Switch could be reached and cannot be now."""
    way_back: bool = False
    """The Switch could not be reached and can be now."""
    source_address_gone: bool = False
    """The source changed, and the old one is on no usable interface any more."""
    source_address_changed: bool = False
    """The kernel prefers another source now; the old one is still there."""
    interface_changed: bool = False
    """Datagrams leave through another interface."""
    gateway_changed: bool = False
    """The same source and interface, but another next hop: another NAT, likely."""
    carrier_back: bool = False
    """The way's interface lost its carrier and has it again: the far end may be another."""

    no_way: bool = False
    """There is no way to the Switch now, or its address is not known yet: a state, not a change."""
    default_route_changed: bool = False
    """The set of default routes is another, whether or not the way uses one."""
    address_gained: bool = False
    """A usable interface has an address that it had not."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Names of all answers that are yes."""
        return tuple(name for name in field_names(self) if getattr(self, name))


def compare(before: LinkSnapshot, after: LinkSnapshot, switch: IPAddress | None) -> Delta:
    """Compare two snapshots for a node that reaches the Switch at `switch` (None: not looked up yet)."""
    elsewhere = {
        "no_way": switch is None or switch not in after.ways,
        "default_route_changed": before.default_routes != after.default_routes,
        "address_gained": not _addresses(after) <= _addresses(before),
    }
    old, new = (before.ways.get(switch), after.ways.get(switch)) if switch is not None else (None, None)
    if old is None or new is None:
        return Delta(way_gone=old is not None, way_back=new is not None, **elsewhere)
    moved = old.source != new.source
    gone = moved and old.source not in _addresses(after)
    return Delta(
        source_address_gone=gone,
        source_address_changed=moved and not gone,
        interface_changed=old.interface != new.interface,
        gateway_changed=not moved and old.interface == new.interface and old.gateway != new.gateway,
        carrier_back=not _usable(before.interfaces.get(new.interface)) and _usable(after.interfaces.get(new.interface)),
        **elsewhere,
    )


def _addresses(snapshot: LinkSnapshot) -> set[IPAddress]:
    return {address for entry in snapshot.interfaces.values() if entry.usable for address in entry.addresses}


def _usable(interface: Interface | None) -> bool:
    return interface is not None and interface.usable
