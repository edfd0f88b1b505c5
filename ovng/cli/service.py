"""What `ovng up` and `ovng switch` share: from a profile to a service that systemd can run."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from ovng.clock import Now, now
from ovng.config.profile import NodeProfile, SwitchProfile
from ovng.errors import ConfigError
from ovng.io import logs
from ovng.io.credentials import read_profile
from ovng.io.files import ProfileLock
from ovng.io.process import collect_early, harden

P = TypeVar("P", NodeProfile, SwitchProfile)


class Service(Protocol):
    """Something that serves until it is told to stop."""

    async def run(self) -> None: ...


def add_profile_argument(parser: argparse.ArgumentParser) -> None:
    """The one argument of both verbs."""
    parser.add_argument("profile", type=Path, metavar="FILE", help="the profile, NAME.ovng")


def serve(path: Path, kind: type[P], start: Callable[[P, Now], Service], settings: Path | None = None) -> int:
    """Run one service in the foreground; 0 after a clean end. Raises OvngError."""
    harden()
    profile = read_profile(path, settings)
    if not isinstance(profile, kind):
        other = "`ovng switch`" if isinstance(profile, SwitchProfile) else "`ovng up`"
        raise ConfigError(f"this profile is for {other}", file=str(path), key="kind")
    logs.setup(profile.log_level)
    with ProfileLock(profile.name):
        service = start(profile, now())
        collect_early()
        asyncio.run(service.run())
    return 0
