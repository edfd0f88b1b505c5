"""What a Switch keeps on its disk, all 0600: ticket keys, the snapshot {ID, locator}, and the CRL it is given.

The snapshot lets a restarted Switch tell every node at once that it is back; the ticket keys let their tickets open.
Losing either costs a TLS handshake per node, nothing else, so a damaged file is reported once and done without.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ovng.config.profile import crl_from_file
from ovng.errors import ConfigError, SystemProblem
from ovng.io.files import read_private, write_private

log = logging.getLogger(__name__)

TICKET_KEYS, SNAPSHOT = "ticket-keys", "snapshot"
SNAPSHOT_MAX = 1 << 28  # 10^6 nodes of 26 bytes, and room


class SwitchState:
    """The state directory of one Switch. Raises SystemProblem when it cannot be made."""

    def __init__(self, directory: Path, crl_file: Path) -> None:
        self._directory, self._crl_file = directory, crl_file
        self._failed: set[str] = set()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SystemProblem(f"{directory}: cannot be made: {error.strerror}") from None

    def read(self, name: str) -> bytes | None:
        """What was kept under a name; None when there is nothing usable."""
        try:
            return read_private(self._directory / name, SNAPSHOT_MAX)
        except SystemProblem as error:
            log.warning("%s; going on without it", error)
            return None

    def write(self, name: str, data: bytes) -> None:
        """Keep it. A failure (a full disk, say) is told once per name until it works again."""
        try:
            write_private(self._directory / name, data)
            self._failed.discard(name)
        except SystemProblem as error:
            if name not in self._failed:
                log.error("%s; a restart will cost a handshake per node", error)
            self._failed.add(name)

    def read_crl(self) -> bytes | None:
        """The CRL the CA's machine gave us, DER; None when there is none or it cannot be read (told in the log)."""
        try:
            return crl_from_file(self._crl_file)
        except ConfigError as error:
            log.warning("%s; the list held before goes on", error)
            return None
