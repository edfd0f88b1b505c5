"""`ovng ca`: the CA's machine. Thin: the rules are in `ovng.pki.ca`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovng.cli.common import Parser, argument, show_json, show_table, warn, whole_number
from ovng.clock import now
from ovng.config.names import SERVERS_MAX, DnsSettings, parse_domain
from ovng.config.values import parse_address, parse_endpoint, parse_name, parse_network, parse_unicast_prefix
from ovng.errors import ConfigError, SystemProblem
from ovng.ids import IPAddress
from ovng.limits import CERTIFICATE_DAYS, CERTIFICATE_WARN_DAYS
from ovng.pki.folder import CA_KEY, CRL, Folder, Member
from ovng.pki.trust import day

if TYPE_CHECKING:
    from ovng.pki import ca as authority
    from ovng.pki import signing

_DAYS_MAX = 3_650


def add_parser(subparsers: argparse._SubParsersAction[Parser]) -> None:
    """Register the verb."""
    parser = subparsers.add_parser("ca", description="Make a network; issue, renew, revoke and list its members.")
    parser.add_argument("-C", "--directory", type=Path, default=Path(), help="the network's folder (default: this one)")
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True, parser_class=Parser)

    init = actions.add_parser("init", help="make the folder NETWORK with a CA and switch.ovng")
    init.add_argument("network", metavar="NETWORK", type=argument(parse_network), help="small letters, digits, `-`")
    init.add_argument(
        "--prefix",
        type=argument(parse_unicast_prefix),
        action="append",
        required=True,
        help="inner addresses, such as 10.77.0.0/16; again for IPv6",
    )
    init.add_argument(
        "--switch",
        type=argument(parse_endpoint),
        action="append",
        required=True,
        metavar="HOST:PORT",
        help="where nodes reach the Switch; may be repeated, best first",
    )
    init.add_argument(
        "--listen",
        type=argument(parse_endpoint),
        action="append",
        metavar="ADDRESS:PORT",
        help="where the Switch listens (default: [::] and the port of --switch)",
    )
    _add_key_type(init)
    _add_days(init)

    issue = actions.add_parser("issue", help="make a node's profile NAME.ovng")
    issue.add_argument("name", metavar="NAME", type=argument(parse_name))
    _add_order(issue)
    _add_key_type(issue)

    sign = actions.add_parser("sign", help="make the profile of a node that keeps its key (`ovng request` there)")
    sign.add_argument("request", metavar="FILE", type=Path, help="the request, NAME.csr")
    _add_order(sign)
    sign.add_argument("--json", action="store_true", help="the profile in JSON: the device needs no PyYAML to read it")

    renew = actions.add_parser("renew", help="a new certificate for the same key")
    renew.add_argument("name", metavar="NAME", help="name or ID")
    place = renew.add_mutually_exclusive_group()
    place.add_argument("-o", "--output", type=Path, metavar="FILE", help="the profile (default: where it was written)")
    place.add_argument("--certificate", type=Path, metavar="FILE", help="write the certificate alone")
    _add_days(renew)

    revoke = actions.add_parser("revoke", help="take a member out of the network, by a new crl.der")
    revoke.add_argument("name", metavar="NAME", help="name or ID")

    actions.add_parser("crl", help="sign crl.der anew before it goes out of date")

    listing = actions.add_parser("list", help="show all members")
    listing.add_argument("--json", action="store_true", help="for scripts")


def _add_order(parser: argparse.ArgumentParser) -> None:
    """What a node gets."""
    parser.add_argument(
        "--address",
        type=argument(parse_address),
        action="append",
        help="inner address; may be repeated (default: the next free one of every prefix)",
    )
    parser.add_argument(
        "--route",
        type=argument(parse_unicast_prefix),
        action="append",
        metavar="PREFIX",
        help="a network served behind this node; may be repeated",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the profile (default: NAME.ovng)")
    parser.add_argument("--cluster", type=argument(parse_network), metavar="NAME", help="its nodes may share routes")
    parser.add_argument("--managed", action="store_true", help="the Switch may hold this node's keys")
    parser.add_argument("--exit", action="store_true", help="others may use this node as their way to the Internet")
    parser.add_argument(
        "--use-exit", action="append", metavar="NAME", help="take the default route from this member; may be repeated"
    )
    parser.add_argument(
        "--dns", type=argument(parse_address), action="append", metavar="ADDRESS", help="a DNS server; may be repeated"
    )
    parser.add_argument(
        "--domain",
        type=argument(parse_domain),
        action="append",
        metavar="NAME",
        help="names below it are asked of the DNS servers alone; may be repeated (default: all names)",
    )
    _add_days(parser)


def _add_key_type(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--key-type", choices=("p256", "ed25519"), default="p256", help="default: p256")
    group.add_argument("--ed25519", action="store_const", const="ed25519", dest="key_type", help="--key-type ed25519")


def _add_days(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--days",
        type=whole_number(1, _DAYS_MAX),
        default=CERTIFICATE_DAYS,
        help=f"the certificate's lifetime (default: {CERTIFICATE_DAYS})",
    )


def run(args: argparse.Namespace) -> int:
    """Run `ovng ca …`. Raises OvngError."""
    actions = {
        "init": _init,
        "issue": _issue,
        "sign": _sign,
        "renew": _renew,
        "revoke": _revoke,
        "crl": _crl,
        "list": _list,
    }
    actions[args.action](args)
    return 0


def _authority() -> Any:
    """The module that needs `cryptography`."""
    try:
        from ovng.pki import ca
    except ImportError as error:
        raise SystemProblem(
            f"`ovng ca` needs the Python package cryptography ({error}): install it (python3-cryptography), only here"
        ) from None
    return ca


def _open(args: argparse.Namespace) -> authority.CertificateAuthority:
    ca: authority.CertificateAuthority = _authority().CertificateAuthority.open(args.directory)
    return ca


def _init(args: argparse.Namespace) -> None:
    folder = args.directory / args.network
    switch: Member = _authority().init_network(
        folder,
        args.network,
        tuple(args.prefix),
        tuple(args.switch),
        now().wall,
        listen=tuple(args.listen or ()),
        key_type=args.key_type,
        days=args.days,
    )
    print(f"made network {args.network} in {folder}/: {CA_KEY} is its one secret, keep it here and keep a copy")
    print(f"Switch {switch.id}: {folder}/switch.ovng, start it with `ovng switch switch.ovng`")
    print(f"next: cd {folder} && ovng ca issue NAME")


def _issue(args: argparse.Namespace) -> None:
    ca = _open(args)
    output = args.output or args.directory / f"{args.name}.ovng"
    member = ca.issue(_order(args, args.name, args.key_type), output, now().wall)
    _show_member(member)
    print(f"wrote {output}: carry it to the device by a safe way, and there: ovng up {output.name}")


def _sign(args: argparse.Namespace) -> None:
    ca = _open(args)
    name, public = _authority().requested(args.request)
    output = args.output or args.directory / f"{name}.ovng"
    member = ca.sign(_order(args, name), public, output, now().wall, json=args.json)
    _show_member(member)
    print(f"wrote {output}: no secret is in it; on the device put it (chmod 600) beside {name}.key, and start it")


def _order(args: argparse.Namespace, name: str, key_type: signing.KeyType = "p256") -> authority.Order:
    order: authority.Order = _authority().Order(
        name=name,
        addresses=tuple(args.address or ()),
        routes=tuple(args.route or ()),
        cluster=args.cluster,
        managed=args.managed,
        exit=args.exit,
        use_exits=tuple(args.use_exit or ()),
        dns=_dns(args.dns or (), args.domain or ()),
        key_type=key_type,
        days=args.days,
    )
    return order


def _show_member(member: Member) -> None:
    print(f"{member.name} {member.id}: {_join(member.prefixes)}, until {day(member.not_after)}")


def _dns(servers: Sequence[IPAddress], domains: Sequence[str]) -> DnsSettings:
    if len(servers) > SERVERS_MAX:
        raise ConfigError(f"--dns: at most {SERVERS_MAX} servers are possible")
    if domains and not servers:
        raise ConfigError("--domain needs a server to ask: --dns ADDRESS")
    return DnsSettings(tuple(dict.fromkeys(servers)), tuple(dict.fromkeys(domains)))


def _renew(args: argparse.Namespace) -> None:
    member, path = _open(args).renew(args.name, args.output, args.certificate, now().wall, args.days)
    print(f"{member.name} {member.id}: until {day(member.not_after)}")
    print(f"wrote {path}; where {member.name} runs, replace the file and run `ovng reload`")


def _revoke(args: argparse.Namespace) -> None:
    member, number = _open(args).revoke(args.name, now().wall)
    print(f"revoked {member.name} {member.id}")
    if member.kind == "switch":
        warn("that was the Switch: no node will attach to it any more")
    _show_crl(args, number)


def _crl(args: argparse.Namespace) -> None:
    _show_crl(args, _open(args).refresh_crl(now().wall))


def _show_crl(args: argparse.Namespace, number: int) -> None:
    path = args.directory / CRL
    print(f"wrote {path}, number {number}: put it beside switch.ovng where the Switch runs, and there: ovng reload")


def _list(args: argparse.Namespace) -> None:
    index = Folder.open(args.directory).read_index()
    wall = now().wall
    if args.json:
        show_json(
            {
                "network": index.network,
                "prefixes": list(map(str, index.prefixes)),
                "switch": list(map(str, index.switch)),
                "crl_number": index.crl_number,
                "members": [_as_json(member, wall) for member in index.members],
            }
        )
        return
    rows = [
        (
            member.name,
            str(member.id),
            _join(member.addresses) or "-",
            _join(member.routes) or "-",
            member.cluster or "-",
            _state(member, wall),
            day(member.not_after),
        )
        for member in index.members
    ]
    show_table(("NAME", "ID", "ADDRESSES", "ROUTES", "CLUSTER", "STATE", "UNTIL"), rows)


def _as_json(member: Member, wall: float) -> dict[str, Any]:
    return {
        "name": member.name,
        "kind": member.kind,
        "id": str(member.id),
        "addresses": list(map(str, member.addresses)),
        "routes": list(map(str, member.routes)),
        "cluster": member.cluster,
        "managed": member.managed,
        "state": _state(member, wall),
        "not_after": day(member.not_after),
        "days_left": int((member.not_after - wall) // 86_400),
        "serials": [f"{issued.serial:x}" for issued in member.certificates],
        "profile": member.profile,
    }


def _state(member: Member, wall: float) -> str:
    if member.revoked:
        return "revoked"
    days = (member.not_after - wall) / 86_400
    return "expired" if days < 0 else "renew soon" if days < CERTIFICATE_WARN_DAYS else "good"


def _join(items: Any) -> str:
    return ", ".join(map(str, items))
