"""How much a test tries: all of it, or the share that OVNG_EXAMPLES says, for a machine that is emulated."""

from __future__ import annotations

import os

LEAST = 10


def examples(count: int) -> int:
    """For hypothesis: `count`, or that share of it."""
    return max(LEAST, round(count * float(os.environ.get("OVNG_EXAMPLES", "1"))))
