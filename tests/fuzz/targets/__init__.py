"""Fuzz targets, one a file: every entry that takes bytes from outside, driven with the state it has in a process.

Each has one function, `fuzz_one(data)`. The law it asserts, which is that of `ovng.errors`:

* Bytes are accepted, or raise `Malformed` (`ConfigError` for a profile), or are dropped and counted. Nothing else.
* Bytes that prove nothing change no state.
* Where PROTOCOL says so, no answer is larger than what it answers; nothing grows without bound.

Most inputs are *programs* (`choices.py`): data decides what happens next, so that mutation reaches deep states. A run
is the same every time, but for what TLS draws by chance.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

PYTHON = (
    "wire_messages",
    "switch_datagram",
    "node_control",
    "node_reports",
    "bad_peer",
    "reliable_stream",
    "tls_inner",
    "cookie_ticket",
    "profile",
    "certificate",
    "control_socket",
    "netlink",
)
COMPILED = ("frame", "replay", "segment", "coalesce", "node_path", "switch_path")
"""Those that reach `ovng._fast`: run under the sanitizers too."""
PRIVILEGED = ("kernel",)
"""Those that need root."""
NAMES = PYTHON + COMPILED + PRIVILEGED

Target = Callable[[bytes], None]


def load(name: str) -> Target:
    """The target's `fuzz_one`."""
    target: Target = importlib.import_module(f"tests.fuzz.targets.{name}").fuzz_one
    return target
