"""`ovng install-service PROFILE`: make a profile a service of systemd, start it, and say what was done."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ovng.cli import services
from ovng.cli.common import Parser, warn
from ovng.config.profile import Profile, SwitchProfile
from ovng.config.yamlfile import parse_yaml, read_private_file
from ovng.errors import SystemProblem
from ovng.io.credentials import use_profile
from ovng.io.files import READ_MAX

_PRIVILEGED_PORTS = 1024


def add_parser(subparsers: argparse._SubParsersAction[Parser]) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        "install-service",
        description="Make a profile a service of systemd and start it: a node as ovng@NAME, a Switch as ovng-switch. "
        "The profile is copied to /etc/ovng. Done again with a renewed profile, it replaces the old one.",
    )
    parser.add_argument("profile", type=Path, metavar="FILE", help="the profile, NAME.ovng")
    services.add_root_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Install. Raises OvngError; what was installed before a fault stays, and the error says how to go on."""
    place = services.Place(args.root)
    path = args.profile
    data = read_private_file(path, also_of=_asker())
    profile = use_profile(data, path)
    services.check_room(place, profile)
    unit, stem = services.unit_of(profile)
    files = list(services.needed_files(place, unit))

    key_file = services.key_file_of(parse_yaml(data, str(path)))
    if key_file is not None:
        services.put(place.profiles / key_file, read_private_file(path.parent / key_file, also_of=_asker()), 0o600)
        print(f"{place.profiles / key_file}: the key, a copy")
    services.put(place.profiles / f"{stem}.ovng", data, 0o600)
    print(f"{place.profiles / f'{stem}.ovng'}: the profile, a copy: keep yours in a safe place, or delete it")
    if isinstance(profile, SwitchProfile):
        _install_crl(place, profile)
    for file, text in files:
        services.put(file, text.encode(), 0o644)
        print(f"{file}: written")
    services.reload_neighbours(place, [file for file, _ in files])
    place.enable(unit, on=True)
    if args.root is not None:
        print(f"{unit}: starts at the next boot")
    else:
        _start(place, unit)
        print(f"{unit}: runs, and starts at each boot; `ovng status {profile.name}`, `journalctl -u {unit}`")
    for line in _advice(profile):
        warn(line)
    return 0


def _asker() -> int | None:
    """Who became root by sudo: the profile may be theirs."""
    text = os.environ.get("SUDO_UID", "")
    return int(text) if text.isdecimal() else None


def _install_crl(place: services.Place, profile: SwitchProfile) -> None:
    """The list of revoked certificates beside the profile, which is no secret."""
    try:
        with profile.crl_file.open("rb") as file:
            crl = file.read(READ_MAX)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SystemProblem(f"{profile.crl_file}: cannot be read: {error.strerror}") from None
    target = place.profiles / profile.crl_file.name
    services.put(target, crl, 0o644)
    print(f"{target}: the list of revoked certificates; a new one there counts after `systemctl reload ovng-switch`")


def _start(place: services.Place, unit: str) -> None:
    try:
        place.systemctl("restart", unit, seconds=services.START_SECONDS)
    except SystemProblem:
        raise SystemProblem(f"{unit} was installed, but does not start: see `journalctl -u {unit}`") from None


def _advice(profile: Profile) -> list[str]:
    if isinstance(profile, SwitchProfile):
        low = [str(endpoint) for endpoint in profile.listen if endpoint.port < _PRIVILEGED_PORTS]
        return [
            f"{', '.join(low)}: a port below 1024 needs a capability: see the comments in ovng-switch.service"
        ] * bool(low)
    if not profile.interface.startswith("ovng"):
        other = f"interface {profile.interface}: NetworkManager and systemd-networkd leave only ovng* alone"
        return [f"{other}: name it so, or tell them"]
    return []
