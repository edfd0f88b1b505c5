from typing import TypedDict

class Result(TypedDict):
    writes: int
    failed: int
    tso: bool
    uso: bool

def coalesce(fd: int, packets: list[bytes], vnet: bool = ..., tso: bool = ..., uso: bool = ...) -> Result: ...
