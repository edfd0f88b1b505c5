"""What an AttachmentClient is told once."""

from __future__ import annotations

from dataclasses import dataclass

from ovng.limits import KEEPALIVE_DEFAULT, SIZE_BASE


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """`keepalive` in seconds, 5 … 600: how often the Switch hears from an idle node."""

    keepalive: int = KEEPALIVE_DEFAULT
    copies: bool = False
    """All paths take copies of what others send twice."""
    datagram_max: int = SIZE_BASE
    """The largest that is of use, in bytes of UDP payload: no path is asked for more."""
