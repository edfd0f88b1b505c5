"""Profiles as services of systemd: where each file of one lies, and what `install-service` and its undoing do with it.

Files of the Debian package are used as they are. Without it, units and the settings that keep NetworkManager and
systemd-networkd away from our interfaces are written below /etc; the first line of each says who wrote it, and only
such files are ever removed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import ovng
from ovng.config.profile import NodeProfile, Profile, SwitchProfile
from ovng.config.yamlfile import Section, parse_yaml
from ovng.errors import ConfigError, SystemProblem
from ovng.io import programs
from ovng.io.files import read_private, write_private
from ovng.pki.der import parse_certificate

DATA = Path(ovng.__file__).parent / "data"
MARK = "# Written by `ovng install-service`; `ovng uninstall-service` removes it.\n"
NODE_UNIT, SWITCH_UNIT = "ovng@.service", "ovng-switch.service"
SWITCH_NAME = "switch"
START_SECONDS = 90.0

_COMMAND = "/usr/bin/ovng"
_PLAIN_PATH = re.compile(r"[\w/.+@:-]+\Z")
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - units have their own


def add_root_argument(parser: argparse.ArgumentParser) -> None:
    """`--root`, as systemctl has it."""
    parser.add_argument(
        "--root", metavar="DIR", type=Path, help="work on the system whose files are below DIR, and start nothing"
    )


class Place:
    """The machine whose files are changed: this one, or one below `root` that does not run."""

    def __init__(self, root: Path | None) -> None:
        """Raises SystemProblem when it has no systemd, or we may not change it."""
        self.root = root
        if os.geteuid():
            raise SystemProblem("only root may do this: run it with sudo")
        if root is None and not Path("/run/systemd/system").is_dir():
            raise SystemProblem(
                "systemd does not run here: start `ovng up` or `ovng switch` by what starts services here"
            )
        if root is not None and not root.is_dir():
            raise SystemProblem(f"{root}: is not a directory")
        self.profiles = self.path("etc/ovng")

    def path(self, name: str) -> Path:
        """A file of that machine, by its path without the first slash."""
        return (self.root or Path("/")) / name

    def systemctl(self, *words: str, seconds: float = programs.SECONDS) -> None:
        """Have systemd do something, where one runs. Raises SystemProblem."""
        if self.root is None:
            programs.run("systemctl", *words, seconds=seconds)

    def enable(self, unit: str, *, on: bool) -> None:
        """Have a unit started at boot, or not. Raises SystemProblem."""
        where = [] if self.root is None else [f"--root={self.root}"]
        programs.run("systemctl", *where, "enable" if on else "disable", "--quiet", unit)

    def is_active(self, unit: str) -> bool:
        """Whether it runs; never so where no systemd does."""
        with contextlib.suppress(SystemProblem):
            self.systemctl("is-active", "--quiet", unit)
            return self.root is None
        return False

    def packaged(self, name: str) -> bool:
        """Whether a package brought this file of ours."""
        return any(self.path(f"{directory}/{name}").exists() for directory in ("usr/lib", "lib"))

    def installed(self) -> dict[str, Section]:
        """The profiles that are there: file name without its end → what is in it. What cannot be read is left out."""
        found = {}
        with contextlib.suppress(OSError):
            for path in sorted(self.profiles.glob("*.ovng")):
                with contextlib.suppress(SystemProblem, ConfigError):
                    found[path.stem] = parse_yaml(read_private(path) or b"", str(path))
        return found


def unit_of(profile: Profile) -> tuple[str, str]:
    """A profile's unit, and the file name (without its end) of the profile that the unit runs."""
    if isinstance(profile, SwitchProfile):
        return SWITCH_UNIT, SWITCH_NAME
    return f"ovng@{profile.name}.service", profile.name


def check_room(place: Place, profile: Profile) -> None:
    """Raises ConfigError when something that is installed stands in the way of this profile."""
    _, stem = unit_of(profile)
    file = str(profile.path)
    if isinstance(profile, NodeProfile) and stem == SWITCH_NAME:
        raise ConfigError(
            "a node that runs as a service cannot have this name: the Switch has it", file=file, key="name"
        )
    for other, section in place.installed().items():
        if other == stem:
            if _key_of(section) != _public_key(profile.credentials.certificate):
                raise ConfigError(
                    f"another node is installed as {other}: run `ovng uninstall-service {other}`, or change this name",
                    file=file,
                    key="name",
                )
        elif isinstance(profile, NodeProfile) and section.need("kind").text() == "node":
            value = section.get("interface")
            taken = "ovng0" if value is None or value.absent else value.text()
            if taken == profile.interface:
                raise ConfigError(
                    f"{other} has {taken} as well: write another one into this profile, say `interface: ovng1`",
                    file=file,
                    key="interface",
                )


def _key_of(section: Section) -> bytes:
    return _public_key(section.need("certificate").text().encode())


def _public_key(pem: bytes) -> bytes:
    """What of a certificate a renewal keeps."""
    from ovng.config.values import pem_to_der

    return parse_certificate(pem_to_der(pem)).spki


def key_file_of(section: Section) -> str | None:
    """The name of the key's own file beside the profile, where there is one (`ovng request`)."""
    value = section.get("key_file")
    name = None if value is None or value.absent else value.text()
    return None if name is None or "/" in name else name


def needed_files(place: Place, unit: str) -> Iterator[tuple[Path, str]]:
    """What no package brought: each file and its text. Raises SystemProblem when ovng lies where no unit can see it."""
    template = SWITCH_UNIT if unit == SWITCH_UNIT else NODE_UNIT
    if not place.packaged(f"systemd/system/{template}"):
        yield place.path(f"etc/systemd/system/{template}"), MARK + _unit_text(template)
    if unit == SWITCH_UNIT:
        return
    if place.path("etc/NetworkManager").is_dir() and not place.packaged("NetworkManager/conf.d/ovng.conf"):
        text = (DATA / "NetworkManager.conf").read_text()
        yield place.path("etc/NetworkManager/conf.d/ovng.conf"), MARK + text
    if place.packaged("systemd/systemd-networkd") and not place.packaged("systemd/network/10-ovng.network"):
        yield place.path("etc/systemd/network/10-ovng.network"), MARK + (DATA / "networkd.network").read_text()


def written_files(place: Place, *, node: bool) -> list[Path]:
    """What `needed_files` has brought to the machine, as far as it is there and ours."""
    names = [
        f"etc/systemd/system/{NODE_UNIT}",
        "etc/NetworkManager/conf.d/ovng.conf",
        "etc/systemd/network/10-ovng.network",
    ]
    paths = map(place.path, names if node else [f"etc/systemd/system/{SWITCH_UNIT}"])
    return [path for path in paths if path.is_file() and path.read_text(errors="replace").startswith(MARK)]


def reload_neighbours(place: Place, changed: list[Path]) -> None:
    """Have those who look at the files that were changed look again. Raises SystemProblem."""
    parts = {part for path in changed for part in path.parts}
    if "system" in parts:
        place.systemctl("daemon-reload")
    if "NetworkManager" in parts and place.is_active("NetworkManager.service"):
        place.systemctl("reload", "NetworkManager.service")
    if "network" in parts and place.is_active("systemd-networkd.service"):
        programs.run("networkctl", "reload")


def put(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole, and the directories above it. Raises SystemProblem."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        write_private(path, data)
        path.chmod(mode)
    except OSError as error:
        raise SystemProblem(f"{path}: cannot be written: {error.strerror}") from None


def _unit_text(template: str) -> str:
    command = _own_command()
    text = (DATA / template).read_text().replace(_COMMAND, command)
    seat = Path(command.split()[0])
    seats = {seat, seat.resolve(), DATA}
    if any(path.is_relative_to(top) for path in seats for top in _TEMPORARY):
        raise SystemProblem(f"ovng is at {seat}, a temporary place that services do not see: install it elsewhere")
    if any(path.is_relative_to(top) for path in seats for top in _HOMES):
        if template == SWITCH_UNIT:
            raise SystemProblem(f"ovng is at {seat}, where the Switch's user may not look: install it below /opt, say")
        text = text.replace("ProtectHome=yes", "ProtectHome=read-only")
    return text


def _own_command() -> str:
    """How this ovng is started, for a unit."""
    started = Path(sys.argv[0])
    if started.name == "ovng" and started.is_file():
        words = [str(started.absolute())]
    else:
        words = [sys.executable, "-m", "ovng.cli.main"]
    if not all(map(_PLAIN_PATH.match, words)):
        raise SystemProblem(f"{words[0]}: a path with such characters cannot stand in a unit: install ovng elsewhere")
    return " ".join(words)
