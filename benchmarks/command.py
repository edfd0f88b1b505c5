"""How a benchmark's command ends: what stops it is told in one line, and everything is taken down first."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from ovng.errors import OvngError

INTERRUPTED = 130


def exit_status(work: Callable[[], int]) -> int:
    """What `work` returns, or the status of what stopped it: Ctrl-C, SIGTERM, an OvngError."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return work()
    except KeyboardInterrupt:
        print("stopped; everything is taken down", file=sys.stderr)
        return INTERRUPTED
    except OvngError as error:
        print(error, file=sys.stderr)
        return error.exit_code
