"""Hints of the Switch: unauthenticated, limited, and never larger than what caused them (PROTOCOL 6 and 6.1).

Both carry a cookie that only whoever receives it at that locator can show again, so a report that brings one back has
proved its locator, whoever it is; and nothing is remembered meanwhile.
"""

from __future__ import annotations

from ovng.clock import Now
from ovng.forwarding.admission import HintLimit, RateLimit
from ovng.forwarding.store import Out, Random
from ovng.ids import Locator, NodeID
from ovng.limits import CHALLENGES_PER_PREFIX, HINTS_PER_PREFIX, HINTS_TOTAL
from ovng.session.cookie import CookieJar
from ovng.wire.report import CHALLENGE_SIZE, MISMATCH_SIZE, PROOF_SIZE, Challenge, Common, Mismatch, echo_of

_LABEL = b"ovng locator"
_NO_ECHO = bytes(8)
_PER_DATA = 1.0  # seconds between hints to one source about one ID
_PER_REPORT = 0.2  # reports are retried after 0.3 s, and each is larger than its answer


class Hints:
    """Makes CHALLENGE and MISMATCH, and knows its own cookies again."""

    def __init__(self, switch_id: NodeID, boot_id: int, random: Random) -> None:
        self._switch_id, self._boot_id = switch_id, boot_id
        self._cookies = CookieJar(random)
        total = RateLimit(HINTS_TOTAL)
        self._to_data = HintLimit(_PER_DATA, HINTS_PER_PREFIX, total)
        self._to_reports = HintLimit(_PER_REPORT, CHALLENGES_PER_PREFIX, total)
        self._to_replays = HintLimit(_PER_REPORT, CHALLENGES_PER_PREFIX, total)

    # -- Proofs

    def cookie_secrets(self, now: Now) -> tuple[bytes, bytes]:
        """The current one and the one before it: what the compiled report path makes and knows cookies by."""
        return self._cookies.secrets(now.boot)

    def cookie(self, node: int, locator: Locator, now: Now) -> bytes:
        """16 bytes that prove to us that `node` receives at `locator`."""
        return self._cookies.make(_LABEL, self._parts(node, locator), now.boot)

    def proof(self, node: int, locator: Locator, now: Now) -> bytes:
        """The first half of the cookie: what fits an ACK."""
        return self.cookie(node, locator, now)[:PROOF_SIZE]

    def proves(self, cookie: bytes, node: int, locator: Locator, now: Now) -> bool:
        """True if this cookie, or its first half and zeros, was sent to `node` at `locator` lately."""
        if not any(cookie):
            return False
        shown = cookie if any(cookie[PROOF_SIZE:]) else cookie[:PROOF_SIZE]
        return self._cookies.check(shown, _LABEL, self._parts(node, locator), now.boot)

    def _parts(self, node: int, locator: Locator) -> bytes:
        return node.to_bytes(8, "big") + self._boot_id.to_bytes(8, "big") + locator.packed()

    # -- Answers to reports

    def may_challenge(self, source: bytes, node: int, now: Now) -> bool:
        """True, and counted, if a report of `node` from `source` (18 bytes) may be answered by a hint."""
        return self._to_reports.allow_packed(source, node, now.mono)

    def challenge_report(self, common: Common, datagram: bytes, source: Locator, now: Now) -> list[Out]:
        """We do not know you: show this, and your ticket."""
        if not self.may_challenge(source.packed(), common.src, now):
            return []
        cookie = self.cookie(common.src, source, now)
        return [Out(Challenge(common.answer(self._boot_id), cookie, echo_of(datagram)).pack(), source)]

    def mismatch_report(self, common: Common, source: Locator, now: Now) -> list[Out]:
        """You are not where you were, or were not believed."""
        if not self.may_challenge(source.packed(), common.src, now):
            return []
        return [self._mismatch(common.src, common.number, source, now)]

    def may_answer(self, node: int, source: Locator, now: Now) -> bool:
        """Counted like a hint: an authenticated answer to something that may be a replay."""
        return self._to_replays.allow(source, node, now.mono)

    # -- Answers to DATA, CONTROL and PRIVATE

    def challenge_data(self, node: NodeID, number: int, source: Locator, length: int, now: Now) -> list[Out]:
        """Something came from an ID that is not attached."""
        if length < CHALLENGE_SIZE or not self._to_data.allow(source, node, now.mono):
            return []
        return [self.challenge_start(node, source, now, number)]

    def mismatch_data(self, node: NodeID, number: int, source: Locator, length: int, now: Now) -> list[Out]:
        """Something came from an attached ID, and from none of its locators."""
        if length < MISMATCH_SIZE or not self._to_data.allow(source, node, now.mono):
            return []
        return [self._mismatch(node, number, source, now)]

    def challenge_start(self, node: NodeID, locator: Locator, now: Now, number: int = 0) -> Out:
        """To a node that the Switch before us knew there."""
        common = Common(node, self._switch_id, number, self._boot_id, 0)
        return Out(Challenge(common, self.cookie(node, locator, now), _NO_ECHO).pack(), locator)

    def _mismatch(self, node: NodeID, number: int, source: Locator, now: Now) -> Out:
        return Out(Mismatch(node, self._switch_id, number, source, self.cookie(node, source, now)).pack(), source)
