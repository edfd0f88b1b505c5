"""What an AttachmentClient is told once."""

from __future__ import annotations

from ovng.fields import Frozen
from ovng.limits import SIZE_BASE


class ClientConfig(Frozen):
    """`keepalive` in seconds, 5 … 600: how often the Switch hears from an idle node; None: 25, until it is known how
    long the NAT holds, and then up to 120."""

    keepalive: int | None = None
    copies: bool = False
    """All paths take copies of what others send twice."""
    datagram_max: int = SIZE_BASE
    """The largest that is of use, in bytes of UDP payload: no path is asked for more."""
