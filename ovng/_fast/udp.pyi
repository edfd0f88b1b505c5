COUNTER_NAMES: tuple[str, ...]

def gso_limit() -> int:
    """Datagrams per segmented send that this kernel takes: 128, 64, or 1 without UDP GSO."""

class Receiver:
    """Receives batches from a UDP socket, IPv6 or IPv4. `size` messages of up to 64 KiB each per call."""

    def __init__(self, fd: int, size: int = 16) -> None: ...
    def receive(self) -> list[tuple[bytes, int, bytes, bytes]]:
        """Messages that wait, as (bytes, segment size, source locator of 18 bytes, local address of 16 bytes or zeros).

        Empty when there are none. Raises OSError only when the socket is not usable any more.
        """
    def counters(self) -> dict[str, int]: ...

class Sender:
    """Sends batches on a UDP socket. `segments_max` 1 turns segmentation off."""

    def __init__(self, fd: int, segments_max: int = 64) -> None: ...
    def queue(self, to: bytes, data: bytes, segment: int = 0) -> None:
        """Queue datagrams of `segment` bytes lying back to back (0 = one datagram); the last may be shorter.

        `to` is a locator of 18 bytes. Raises ValueError when it has another length.
        """
    def queue_one(self, to: bytes, data: bytes, local: bytes) -> None:
        """Queue one datagram that leaves from the address `local` (16 bytes; zeros = the kernel chooses).

        Raises ValueError for lengths that are none.
        """
    @property
    def segments_max(self) -> int:
        """Datagrams per message; becomes 1 when the kernel keeps refusing to segment."""
    def flush(self) -> None:
        """Send what is queued; never raises: what could not leave is in the counters."""
    def counters(self) -> dict[str, int]: ...
