from typing import TypedDict

class _Result(TypedDict):
    writes: int
    failed: int
    tso: bool
    uso: bool

def coalesce(fd: int, packets: list[bytes], vnet: bool = ..., tso: bool = ..., uso: bool = ...) -> _Result: ...
