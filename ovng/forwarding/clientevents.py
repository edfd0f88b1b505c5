"""What an AttachmentClient tells its owner. Drained by `AttachmentClient.events()`, in order."""

from __future__ import annotations

from ovng.fields import Frozen, hidden
from ovng.ids import IPAddress, Locator, NodeID, Prefix
from ovng.wire.inner import Attach
from ovng.wire.private import ResolveStatus, Route


class NeedTls(Frozen):
    """Attach by TLS with this request. `background`: traffic goes on meanwhile."""

    request: Attach
    background: bool
    reason: str


class AttachedNow(Frozen):
    """There is an attachment, or a fresh one. `observed`: where the Switch sees us."""

    switch_id: NodeID
    observed: Locator


class LocatorChanged(Frozen):
    """The Switch sends to `observed` from now on. `gap`: seconds from the network's change to the Switch's answer."""

    observed: Locator
    gap: float


class PathAnswered(Frozen):
    """The Switch has answered on this path (0 … 3), under the keys."""

    path: int


class PathSilent(Frozen):
    """The Switch does not answer on this path: probes, or the tries of a report, were lost."""

    path: int


class SwitchRestarted(Frozen):
    """The Switch has lost its memory and knows us again by our ticket, without TLS."""

    boot_id: int


class Resolved(Frozen):
    """An inner address's holders: found, nobody, or another answer than before. `prefix`: what they attached with."""

    address: IPAddress
    nodes: tuple[NodeID, ...]
    prefix: Prefix
    status: ResolveStatus


class RoutesChanged(Frozen):
    """The whole route list, as the Switch tells it."""

    routes: tuple[Route, ...]


class CrlNumber(Frozen):
    """The Switch holds a newer revocation list than we; it is being fetched."""

    number: int


class CrlArrived(Frozen):
    """All of a newer revocation list, to be proved; tell `crl_held` when it was."""

    number: int
    der: bytes = hidden()


class Unreachable(Frozen):
    """Nothing was heard from the Switch for `seconds`; it is being tried on."""

    seconds: float
    detail: str = ""


class Reachable(Frozen):
    """The Switch answers again, after `seconds`."""

    seconds: float


class SupersededEvent(Frozen):
    """Another process has taken over this identity. The client has stopped."""


class Revoked(Frozen):
    """The Switch refuses this certificate. The client has stopped."""


class Left(Frozen):
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
