"""How a running node moves: what its machine has becomes uplinks, uplinks become paths, one path carries data.

Watcher, decision and state machines are elsewhere (`io/watch`, `roaming/`); this is where what they say is done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ovng.clock import Now
from ovng.config.profile import NodeProfile
from ovng.forwarding.client import AttachmentClient
from ovng.forwarding.pathsize import State as SizeState
from ovng.io.datapath import NodeDataPath
from ovng.io.watch import watch_network
from ovng.limits import UNKNOWN_PLACE_BYTES
from ovng.node.news import PathNews, Tell
from ovng.node.switchlink import SwitchLink
from ovng.roaming import roamer
from ovng.roaming.decision import decide
from ovng.roaming.delta import compare
from ovng.roaming.path import Event as PathEvent
from ovng.roaming.roamer import Roamer
from ovng.roaming.snapshot import LinkSnapshot
from ovng.roaming.uplinks import choose_uplinks
from ovng.session.manager import SessionManager

log = logging.getLogger(__name__)

UNNOTICED_SECONDS = 0.1
"""A link may have lost what it took so long before anybody says that it is gone."""


class Moving:
    """Keeps the paths in step with the machine. `replan` is called when its routes may have changed.

    Raises SystemProblem when the machine's network cannot be watched.
    """

    def __init__(
        self,
        profile: NodeProfile,
        path: NodeDataPath,
        switch: SwitchLink,
        client: AttachmentClient,
        sessions: SessionManager,
        replan: Callable[[], None],
        tell: Tell,
    ) -> None:
        self._path, self._switch, self._client, self._sessions = path, switch, client, sessions
        self._replan, self._tell = replan, tell
        self.news = PathNews(tell, profile, path, sessions, self.mtu)
        self._wanted = profile.uplinks
        self._doubles = profile.doubles
        watching = watch_network(profile.interface, profile.mark, lean=profile.under_netifd)
        if watching.reason:
            log.warning("the network is watched by %s: %s", watching.name, watching.reason)
        self.watcher = watching.watcher
        self.roamer = Roamer()
        self._links = LinkSnapshot()
        self._was_away = False  # nothing could reach us for a while
        self._lost_since: float | None = None  # what was sent since then may be lost; monotonic
        self._again_since: float | None = None  # as `_lost_since`; the newest left again, the rest waits for the Switch
        self._replan_due = False
        self._offloads_at, self._offloads = 0.0, dict(path.stats()["offloads"])

    def use(self, profile: NodeProfile, now: Now) -> None:
        """Go by another profile."""
        self._wanted = profile.uplinks
        self._choose(now)

    # -- What happens

    def on_links(self, now: Now) -> None:
        """The watcher is readable."""
        self.watcher.receive(now)
        self.take(now)

    def take(self, now: Now) -> None:
        """Look at the machine if it is time to."""
        snapshot = self.watcher.take(now)
        if snapshot is None:
            return
        current = self._switch.current
        decision = decide(compare(self._links, snapshot, current.ip if current else None))
        self._links, self._replan_due = snapshot, True
        if decision.reasons:
            log.info("network changed: %s", ", ".join(decision.reasons))
        if decision.lookup:
            self._switch.look_up()
        self._choose(now)

    def switch_found(self, now: Now) -> None:
        """A look-up gave other addresses for the Switch."""
        self.watcher.set_destinations(self._switch.ips)
        self._replan()
        self.take(now)
        self._client.network_changed(now)
        self._sessions.retry_now(now)

    def attached(self, now: Now) -> None:
        """The Switch has attached us by TLS."""
        self.roamer.attached = True
        self.news.handovers.attached()
        self.roamer.on(self._client.active, PathEvent.ANSWERED, now.mono)

    def answered(self, slot: int, now: Now) -> None:
        """The Switch answered on this path."""
        self.roamer.on(slot, PathEvent.ANSWERED, now.mono)
        self._follow(now)
        if self._was_away and slot == self._client.active:
            self._come_back()

    def told(self, now: Now) -> None:
        """The Switch knows which path is active, and where."""
        self.news.handovers.answered(now)
        if self._again_since is not None and self.roamer.active is not None:
            self._path.send_again(self._again_since)
            self._again_since = None

    def silent(self, slot: int, now: Now) -> None:
        """The Switch does not answer on this path."""
        self._was_away |= slot == self._client.active
        self._switch.silent(slot)
        self.roamer.on(slot, PathEvent.SILENT, now.mono)
        self._follow(now)

    def reported(self) -> None:
        """What the Switch is to know has left: what may be lost follows, and whatever a move must not wait for."""
        if self._lost_since is not None and self.roamer.active is not None:
            since = self._lost_since - UNNOTICED_SECONDS
            self._again_since = since if self._again_since is None else min(since, self._again_since)
            self._path.send_again(self._again_since, UNKNOWN_PLACE_BYTES)
            self._lost_since = None
        if self._replan_due:
            self._replan_due = False
            self._replan()

    def slept(self, now: Now) -> None:
        """The machine was suspended: nothing is as it was."""
        self.watcher.resync()
        self._client.network_changed(now)
        self._sessions.retry_now(now)

    def handle_timer(self, now: Now) -> None:
        """Do what is due."""
        self.take(now)
        self._switch.handle_timer(now)
        self.roamer.handle_timer(now.mono)
        self._follow(now)
        self.news.handle_timer(now)
        for slot in self.roamer.paths:
            figures = self._path.path_stats(slot)
            if figures is not None:
                self._client.heard_from_switch(figures.last_rx_ms / 1000, slot)
                self._client.sent_by(figures.last_tx_ms / 1000, slot)

    def deadline(self) -> float | None:
        """When `handle_timer` wants to be called, in monotonic seconds."""
        machines = (self.watcher, self._switch, self.roamer, self.news.handovers)
        wanted = (machine.deadline() for machine in machines)
        return min((at for at in wanted if at is not None), default=None)

    def mtu(self, slot: int) -> int | None:
        """Of the path (IP packets, without the tunnel's own headers taken off), once it is known."""
        known, address = self._client.path(slot), self._switch.address(slot)
        if known is None or address is None or known.size.state is not SizeState.SETTLED:
            return None
        return known.size.size + (28 if address.ip.version == 4 else 48)

    # -- What follows

    def _choose(self, now: Now) -> None:
        self.roamer.set_uplinks(choose_uplinks(self._links, self._switch.ips, self._wanted), now.mono)
        self._follow(now)

    def _follow(self, now: Now) -> None:
        """Carry out which paths there are, and which one data takes."""
        for action in self.roamer.actions():
            match action:
                case roamer.Open(slot, uplink):
                    if not self._switch.open(slot, uplink.name, uplink.ways):
                        self.roamer.on(slot, PathEvent.SILENT, now.mono)
                    log.info("path %d: %s", slot, uplink.name or "any interface")
                    self.news.opened(slot, uplink, now)
                    self._offloads_at = now.mono  # a new socket may have shown what the kernel lacks
                    if self._client.path(slot) is None or self._client.attached:
                        self._client.add_path(
                            slot, uplink.priority, now, metered=uplink.metered, network=uplink.network
                        )
                    else:
                        self._client.set_uplink(slot, uplink.priority, metered=uplink.metered, network=uplink.network)
                case roamer.Changed(slot, uplink, moved):
                    self._client.set_uplink(slot, uplink.priority, metered=uplink.metered, network=uplink.network)
                    if moved:
                        self._switch.set_reaches(slot, uplink.ways)
                        self._client.network_changed(now, slot)
                    if moved and slot == self.roamer.active:
                        self._leave(slot, "changed", now, lost=True)
                        self._sessions.retry_now(now)
                case roamer.Activate(slot, lost, cause):
                    log.info("data goes by path %d (%s)", slot, cause)
                    self._leave(slot, cause, now, lost=lost)
                    self._switch.activate(slot)
                    self._client.activate(slot, now, lost=lost)
                    self._sessions.retry_now(now)
                case roamer.Wait():
                    log.info("no way to the Switch: packets wait")
                    self.news.waiting(now)
                    self._lost_since = now.mono
                    self._switch.activate(-1)
                    self._was_away = True
                case roamer.Close(slot):
                    self._switch.close(slot)
                    self._client.remove_path(slot)
                    self.news.closed(slot, now)
        self.news.look(self.roamer, now)
        self._path.set_standby(self.roamer.standby)
        self._path.set_second(self.roamer.second if self._doubles else -1)
        self._watch_offloads(now)

    def _leave(self, slot: int, cause: str, now: Now, *, lost: bool) -> None:
        """Data goes by this path from now on. `lost`: the way it went before carries nothing any more."""
        since = None
        if lost:
            known = self._client.path(self._client.active)
            dead = known is not None and known.silent and known.observed is not None  # for a while, before one answered
            since = known.worked_until() if known is not None and dead else now.mono
            self._lost_since = since if self._lost_since is None else min(since, self._lost_since)
        self.news.moved(slot, cause, now, since)

    def _come_back(self) -> None:
        """Peers hear that we can be reached again: what TCP sent us in vain they send again, without its timer."""
        self._was_away = False
        for info in self._sessions.sessions():
            self._path.send_keepalive(info.peer)

    def _watch_offloads(self, now: Now) -> None:
        """Tell of each offload that the data path has given up since it was looked at last."""
        if now.mono < self._offloads_at:
            return
        self._offloads_at = now.mono + 10
        offloads = self._path.stats()["offloads"]
        for name, on in self._offloads.items():
            if on and not offloads[name]:
                self._tell("offload", now, offload=name)
                log.warning("offload %s given up: the kernel or a device refused it; slower, but all goes on", name)
        self._offloads = offloads
