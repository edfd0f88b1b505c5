BURST: int
RATE: int
QUIET_MS: int
CELLS: int

class SparseFlows:
    def __init__(self, key: int) -> None: ...
    def put(self, packet: bytes, now_ms: int) -> bool: ...
