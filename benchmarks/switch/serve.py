"""A Switch's data path with a table of nodes and without a control plane.

`python -m benchmarks.switch.serve PORT ENTRIES` prints `ready` when it forwards, and its counters when SIGTERM ends it.
One worker, on the machine's last core.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from benchmarks.switch.cases import FIRST_DESTINATION, FIRST_SOURCE, SOURCES
from benchmarks.switch.place import destination, source
from ovng._fast.table import Table
from ovng.config.values import Endpoint
from ovng.ids import Locator, NodeID
from ovng.io.switchpath import SwitchDataPath, make_table

_SWITCH_ID = NodeID(0x5157_17C4_0000_0001)


def main() -> None:
    """Until SIGTERM."""
    port, entries = map(int, sys.argv[1:])
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    path = SwitchDataPath(_SWITCH_ID, [Endpoint("0.0.0.0", port)], _table(entries))
    path.start()
    print("ready", flush=True)
    signal.sigwait(ends)
    path.stop()
    print(json.dumps(path.stats()))


def _table(entries: int) -> Table:
    table = make_table(entries + SOURCES)
    for index in range(SOURCES):
        _put(table, FIRST_SOURCE + index, source(index))
    for index in range(entries):
        _put(table, FIRST_DESTINATION + index, destination(index))
    return table


def _put(table: Table, node: int, where: tuple[str, int]) -> None:
    table.put(node, b"")
    table.set_locators(node, [Locator.of(*where).packed(), None, None, None], 0, -1, 0)


if __name__ == "__main__":
    main()
