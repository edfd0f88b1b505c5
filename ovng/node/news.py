"""What a node tells the world as it happens: each kind of event with its fields (`docs/events.md` has them in words).

Who follows (`ovng events`) gets every event, the user's own commands those about paths (`FOR_HOOKS`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ovng.clock import Now
from ovng.config.profile import NodeProfile
from ovng.fields import field_names
from ovng.forwarding import clientevents as attachment
from ovng.io.control import Message
from ovng.io.datapath import NodeDataPath
from ovng.io.events import EventStream
from ovng.roaming.handover import Counted, Handover, Handovers
from ovng.roaming.path import State
from ovng.roaming.roamer import Roamer
from ovng.roaming.uplinks import Uplink
from ovng.session import events as session
from ovng.session.manager import SessionManager

EVENTS: dict[str, tuple[str, ...]] = {
    "path_opened": ("path", "uplink", "priority", "metered"),
    "path_closed": ("path", "uplink"),
    "path_state": ("path", "uplink", "state", "before", "cause"),
    "path_mtu": ("path", "uplink", "mtu", "before"),
    "active": ("path", "uplink", "before_path", "before_uplink", "cause"),
    "handover": (
        "handover",
        "at",
        "before_path",
        "before_uplink",
        "path",
        "uplink",
        "cause",
        "gap_out_ms",
        "gap_back_ms",
        "held",
        "sent_later",
        "replayed",
        "lost",
    ),
    "attached": ("switch", "observed"),
    "detached": ("seconds", "reason"),
    "observed": ("observed", "gap_ms"),
    "session_up": ("peer", "session", "generation", "group", "handshake_ms"),
    "session_down": ("peer", "reason"),
    "suspend": ("seconds",),
    "offload": ("offload",),
    "warning": ("text",),
    "stopping": (),
    "following": ("profile", "version"),
    "dropped": ("count",),
}
"""Every kind of event, and what it says. The last two are about the stream itself, and only its reader gets them."""

FOR_HOOKS = frozenset({"path_opened", "path_closed", "path_state", "path_mtu", "active", "handover"})


class Tell(Protocol):
    """Tells one event; its fields are those of `EVENTS`."""

    def __call__(self, name: str, now: Now, /, **fields: Any) -> None: ...


class News:
    """Hands events to who follows and to the hooks."""

    def __init__(self, stream: EventStream, run_hooks: Callable[[Message], None]) -> None:
        """`run_hooks` must not start anything before it returns: a report may wait for that."""
        self._stream, self._run_hooks = stream, run_hooks
        self._switch, self._observed = "", ""

    def tell(self, name: str, now: Now, /, **fields: Any) -> None:
        """As `Tell`."""
        assert tuple(fields) == EVENTS[name], (name, tuple(fields))
        event = self._stream.publish(name, fields, now)
        if name in FOR_HOOKS:
            self._run_hooks(event)

    def of_session(self, event: session.Event, now: Now) -> None:
        """What of a session event others want to know."""
        match event:
            case session.SessionUp():
                self.tell(
                    "session_up",
                    now,
                    peer=str(event.peer),
                    session=f"{event.session_id:016x}",
                    generation=event.generation,
                    group=event.group,
                    handshake_ms=round(event.handshake_seconds * 1000, 1),
                )
            case session.SessionDown():
                self.tell("session_down", now, peer=str(event.peer), reason=event.reason)
            case _:
                pass

    def of_attachment(self, event: attachment.ClientEvent, now: Now) -> None:
        """The same of the attachment."""
        match event:
            case attachment.AttachedNow():
                self._switch, self._observed = str(event.switch_id), str(event.observed)
                self.tell("attached", now, switch=self._switch, observed=self._observed)
            case attachment.LocatorChanged():
                self._observed = str(event.observed)
                self.tell("observed", now, observed=self._observed, gap_ms=round(event.gap * 1000, 1))
            case attachment.Unreachable():
                self.tell("detached", now, seconds=round(event.seconds, 1), reason=event.detail)
            case attachment.Reachable() if self._switch:
                self.tell("attached", now, switch=self._switch, observed=self._observed)
            case _:
                pass


class PathNews:
    """What happens to paths, in events, and in the record of handovers: told by `Moving` as it does it."""

    def __init__(
        self,
        tell: Tell,
        profile: NodeProfile,
        path: NodeDataPath,
        sessions: SessionManager,
        mtu: Callable[[int], int | None],
    ) -> None:
        """`mtu(slot)`: that of the path, once it is known."""
        self._tell, self._path, self._sessions = tell, path, sessions
        self.handovers = Handovers(self._count, copies_tell=not profile.doubles)
        self._mtu = mtu
        self._mtus: dict[int, int] = {}
        self._uplinks: dict[int, str] = {}
        self._states: dict[int, State] = {}
        self._active: int | None = None

    def opened(self, slot: int, uplink: Uplink, now: Now) -> None:
        """There is a path of this uplink."""
        if slot in self._uplinks:
            self.closed(slot, now)
        self._uplinks[slot], self._states[slot] = uplink.name, State.JOINING
        self._tell("path_opened", now, path=slot, uplink=uplink.name, priority=uplink.priority, metered=uplink.metered)

    def closed(self, slot: int, now: Now) -> None:
        """It is gone."""
        self._states.pop(slot, None)
        self._mtus.pop(slot, None)
        self._tell("path_closed", now, path=slot, uplink=self._uplinks.pop(slot, ""))

    def moved(self, slot: int, cause: str, now: Now, since: float | None) -> None:
        """Data goes by this path now, or by the same in another way. The way before worked until `since`; None: yet."""
        self.handovers.moved(slot, self._uplinks.get(slot, ""), cause, since, now)
        self._activated(slot, cause, now)

    def waiting(self, now: Now) -> None:
        """There is no path any more."""
        self.handovers.left("uplink gone", now)
        self._activated(None, "uplink gone", now)

    def look(self, roamer: Roamer, now: Now) -> None:
        """Tell which paths are in another state than when last looked at."""
        for slot, held in roamer.paths.items():
            before, state = self._states.get(slot, State.JOINING), held.path.state
            if state != before:
                self._states[slot] = state
                self._tell(
                    "path_state",
                    now,
                    path=slot,
                    uplink=held.uplink.name,
                    state=state.value,
                    before=before.value,
                    cause=held.path.cause,
                )

    def sizes(self, now: Now) -> None:
        """Tell which paths carry more or less than when last looked at."""
        for slot, uplink in self._uplinks.items():
            mtu, before = self._mtu(slot), self._mtus.get(slot)
            if mtu is not None and mtu != before:
                self._mtus[slot] = mtu
                self._tell("path_mtu", now, path=slot, uplink=uplink, mtu=mtu, before=before)

    def handle_timer(self, now: Now) -> None:
        """Tell of handovers that are over."""
        self.handovers.handle_timer(now)
        for done in self.handovers.finished():
            self._tell("handover", now, **handover_fields(done))

    def _activated(self, slot: int | None, cause: str, now: Now) -> None:
        before, self._active = self._active, slot
        if slot != before:
            uplink, left = (self._uplinks.get(one) if one is not None else None for one in (slot, before))
            self._tell("active", now, path=slot, uplink=uplink, before_path=before, before_uplink=left, cause=cause)

    def _count(self) -> Counted:
        stats = self._path.stats()
        arrived = {
            (int(info.peer), key_id): figures
            for info in self._sessions.sessions()
            for key_id, figures in self._path.arrivals(info.peer).items()
        }
        copies = stats["drops"]["replay_duplicate"] + stats["drops"]["replay_old"]
        return Counted(stats["held"], stats["sent_later"], copies, arrived)


def handover_fields(done: Handover) -> dict[str, Any]:
    """A handover as events and status show it; `at` in wall seconds."""
    figures = {name: getattr(done, name) for name in field_names(done)}
    before, after = figures.pop("before"), figures.pop("after")
    return {
        "handover": figures.pop("number"),
        "at": round(figures.pop("at"), 3),
        "before_path": before.path,
        "before_uplink": before.uplink,
        "path": after.path,
        "uplink": after.uplink,
        **figures,
    }
