"""What an AttachmentClient tells its owner. Drained by `AttachmentClient.events()`, in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from ovng.ids import IPAddress, Locator, NodeID, Prefix
from ovng.wire.inner import Attach
from ovng.wire.private import ResolveStatus, Route


@dataclass(frozen=True, slots=True)
class NeedTls:
    """Attach by TLS with this request. `background`: traffic goes on meanwhile."""

    request: Attach
    background: bool
    reason: str


@dataclass(frozen=True, slots=True)
class AttachedNow:
    """There is an attachment, or a fresh one. `observed`: where the Switch sees us."""

    switch_id: NodeID
    observed: Locator


@dataclass(frozen=True, slots=True)
class LocatorChanged:
    """The Switch sends to `observed` from now on. `gap`: seconds from the network's change to the Switch's answer."""

    observed: Locator
    gap: float


@dataclass(frozen=True, slots=True)
class PathAnswered:
    """The Switch has answered on this path (0 … 3), under the keys."""

    path: int


@dataclass(frozen=True, slots=True)
class PathSilent:
    """The Switch does not answer on this path: probes, or the tries of a report, were lost."""

    path: int


@dataclass(frozen=True, slots=True)
class SwitchRestarted:
    """The Switch has lost its memory and knows us again by our ticket, without TLS."""

    boot_id: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """An inner address's holders: found, nobody, or another answer than before. `prefix`: what they attached with."""

    address: IPAddress
    nodes: tuple[NodeID, ...]
    prefix: Prefix
    status: ResolveStatus


@dataclass(frozen=True, slots=True)
class RoutesChanged:
    """The whole route list, as the Switch tells it."""

    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class CrlNumber:
    """The Switch holds a newer revocation list than we; it is being fetched."""

    number: int


@dataclass(frozen=True, slots=True)
class CrlArrived:
    """All of a newer revocation list, to be proved; tell `crl_held` when it was."""

    number: int
    der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Nothing was heard from the Switch for `seconds`; it is being tried on."""

    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reachable:
    """The Switch answers again, after `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SupersededEvent:
    """Another process has taken over this identity. The client has stopped."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """The Switch refuses this certificate. The client has stopped."""


@dataclass(frozen=True, slots=True)
class Left:
    """`leave` is done: the Switch said so, or has not answered in time."""


ClientEvent = (
    NeedTls
    | AttachedNow
    | LocatorChanged
    | PathAnswered
    | PathSilent
    | SwitchRestarted
    | Resolved
    | RoutesChanged
    | CrlNumber
    | CrlArrived
    | Unreachable
    | Reachable
    | SupersededEvent
    | Revoked
    | Left
)
