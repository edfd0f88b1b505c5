class Ring:
    """Single-producer, single-consumer ring of (kind, payload) records with an eventfd for its consumer."""

    def __init__(self, capacity: int) -> None:
        """`capacity` in bytes, a power of two after rounding up, at least 64. A record takes 8 + its length, padded."""
    def fileno(self) -> int:
        """The eventfd: readable when records wait."""
    @property
    def capacity(self) -> int:
        """Bytes, after rounding."""
    @property
    def dropped(self) -> int:
        """Records refused because the ring was full."""
    def put(self, kind: int, payload: bytes) -> bool:
        """Add a record; False (and counted) when there is no room. One producing thread at a time."""
    def drain(self, limit: int = 256) -> list[tuple[int, bytes]]:
        """Take up to `limit` records, oldest first. The eventfd stays readable when some are left."""
