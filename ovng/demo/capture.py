"""What a wire shows: tcpdump into a file, and the file's packets and bytes.

A gigabyte passes within seconds, and a capture that lost packets proves nothing: the buffer is large, tcpdump runs
ahead of other programs as what it watches does (`io/niceness`), and `stop` tells how many the kernel dropped.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from ovng.clock import now
from ovng.demo.net import Host, wait_until
from ovng.errors import SystemProblem
from ovng.limits import NICE

BUFFER_KIB = 512 * 1024
WHOLE = 262_144  # tcpdump's largest snapshot length: super-packets are captured as one
SETTLE_SECONDS = 1.5  # tcpdump's own buffer timeout is one second
SETTLE_MAX_SECONDS = 60.0
_FILE_HEADER = 24
_RECORD = struct.Struct("<IIII")  # seconds, microseconds, bytes kept, bytes on the wire
_MAGIC = b"\xd4\xc3\xb2\xa1"


class Capture:
    """A running capture of one device of one host. `at_once`: for few packets, which are in the file at once."""

    def __init__(
        self, host: Host, device: str, *, snaplen: int = WHOLE, filter: str = "", at_once: bool = False
    ) -> None:
        self.path = host.net.directory / f"{host.name}-{device}.pcap"
        limits = ["-s", str(snaplen), "-B", str(BUFFER_KIB)]
        words = ["-n", "-p", "-i", device, *limits, "-w", str(self.path), "-Z", "root"]
        words += ["--immediate-mode", "-U"] if at_once else []
        self._at_once = at_once
        ahead = ["nice", "-n", str(NICE)]
        self._process = host.start(f"tcpdump-{device}", *ahead, "tcpdump", *words, *filter.split())
        self._size, self._since = -1, 0.0
        wait_until(self._listening, f"tcpdump on {host.name}")

    def _listening(self) -> bool:
        self._process.check()
        return "listening on" in self._process.output

    def stop(self) -> int:
        """End it, `at_once` or when it has written what it holds, for which nothing may pass any more; the number of
        packets that the kernel could not hand over."""
        if not self._at_once:
            wait_until(self._settled, f"end of the capture {self.path.name}", SETTLE_MAX_SECONDS)
        self._process.stop()
        found = re.search(r"(\d+) packets? dropped by kernel", self._process.output)
        if found is None:
            raise SystemProblem(f"tcpdump did not end well: {self._process.output.strip()[-200:]}")
        return int(found[1])

    def _settled(self) -> bool:
        """Whether the file has not grown for longer than tcpdump holds anything back."""
        size, at = self.path.stat().st_size, now().mono
        if size != self._size:
            self._size, self._since = size, at
        return at - self._since > SETTLE_SECONDS

    def contains(self, needle: bytes) -> bool:
        """Whether these bytes stand anywhere in what was captured."""
        return contains(self.path, needle)

    def packets(self) -> Iterator[bytes]:
        """Every frame as captured, link header included."""
        return packets(self.path)


def contains(path: Path, needle: bytes) -> bool:
    """Whether these bytes stand anywhere in a file."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(needle) >= 0


def packets(path: Path) -> Iterator[bytes]:
    """The frames of a pcap file of this machine. Raises SystemProblem when it is none."""
    with path.open("rb") as file:
        header = file.read(_FILE_HEADER)
        if len(header) < _FILE_HEADER or header[:4] != _MAGIC:
            raise SystemProblem(f"{path}: is not a little-endian pcap file with microseconds")
        while len(record := file.read(_RECORD.size)) == _RECORD.size:
            kept = _RECORD.unpack(record)[2]
            frame = file.read(kept)
            if len(frame) < kept:
                return  # cut off while it was written
            yield frame
