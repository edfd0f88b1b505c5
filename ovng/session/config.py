"""What a session manager is told once."""

from __future__ import annotations

from ovng.fields import Frozen
from ovng.limits import REKEY_SECONDS
from ovng.wire.inner import Cipher, Doubling


class SessionConfig(Frozen):
    """`rekey_seconds` (1 … 86,400) is the age at which keys are replaced, minus up to 10 % jitter; a key serves at most
    three times as long. `ciphers`: what this machine offers, its preferred one first. `wish`: what peers shall send
    doubled."""

    rekey_seconds: float = REKEY_SECONDS
    ciphers: tuple[int, ...] = (Cipher.AES_256_GCM, Cipher.CHACHA20_POLY1305)
    wish: Doubling = Doubling.NONE

    def __post_init__(self) -> None:
        if not 1 <= self.rekey_seconds <= 86_400:
            raise ValueError("rekey_seconds must be 1 … 86400")
        if not self.ciphers or any(number not in (1, 2) for number in self.ciphers):
            raise ValueError("ciphers must be one or both of 1, 2")

    @property
    def cipher_mask(self) -> int:
        """The bits READY carries."""
        return sum(1 << number - 1 for number in set(self.ciphers))
