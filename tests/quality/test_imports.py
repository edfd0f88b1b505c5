"""Who may import whom: the rows of ARCHITECTURE.md, and what of the standard library only few may touch.

Every refusal carries its reason, so that whoever meets one learns what the rule protects.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.quality.sources import ROOT, imports, module_name, product, relative

ROWS = [
    ("errors", "ids", "limits", "clock", "fields", "hashes"),
    ("wire", "config", "pki"),
    ("session", "roaming", "forwarding", "cluster"),
    ("io", "fabric"),
    ("node", "switch"),
    ("cli", "demo"),
]
ROW = {package: number for number, row in enumerate(ROWS) for package in row}

APART = {
    ("node", "switch"): "the two services do not know each other; what both need belongs a row up",
    ("switch", "node"): "the two services do not know each other; what both need belongs a row up",
    ("demo", "cli"): "the demo starts `ovng` as a user does, by its command line",
    ("errors", "ids"): "errors are the ground of everything",
    ("errors", "limits"): "errors are the ground of everything",
}
FAST = "the data plane has one door, io: everything else is testable without compiled code, and may not stall a loop"

SANS_IO = ("wire", "session", "roaming", "forwarding", "cluster", "config", "pki")
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "time": (("clock",), "only clock.py reads time; everyone else is handed a Now, so that tests run in virtual time"),
    "random": ((), "random bytes come in as a function, from os.urandom at the edges"),
    "secrets": ((), "a service would keep all that it loads; os.urandom, at the edges, is the same"),
    "socket": (("io", "demo"), "only io touches the network; bytes go in and out of everything else"),
    "select": (("io",), "only io waits"),
    "selectors": ((), "asyncio is the only loop"),
    "asyncio": (("io", "node", "cli"), "the event loop is io's; logic takes what happened and tells its deadline"),
    "threading": (("io", "demo"), "logic has no threads; ARCHITECTURE.md lists who owns what"),
    "multiprocessing": ((), "one process per profile"),
    "subprocess": (
        ("demo", "cli.demo", "io.hooks", "io.programs"),
        "a running service executes no program but the user's own hooks and the tool that sets a link's DNS"
        " (io.netifd: and ubus, by asyncio)",
    ),
    "ctypes": (("io", "demo"), "foreign calls are system calls"),
    "fcntl": (("io", "pki.folder"), "locks and ioctls are system calls"),
    "signal": (("io", "node", "switch", "cli", "demo"), "signals belong to services and their drivers"),
    "ssl": (("session.tls", "pki.trust", "io", "cli.main"), "TLS has two homes: the channel, and whom we trust"),
    "cryptography": (("pki.ca", "pki.signing"), "needed on the CA's machine only"),
    "pyroute2": (("io",), "netlink is the system"),
    "netifaces": (("io.poll",), "an optional extra: only the fallback needs it"),
    "logging": (("io", "node", "switch"), "logic returns events and counts; services put them into words"),
    "pickle": ((), "it executes what it reads"),
    "tempfile": (("demo", "pki.folder"), "keys never touch a temporary file but the one that becomes their own"),
}


def owner(module: str) -> str:
    """`ovng.io.tun` → `io`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def refusal(importer: str, imported: str) -> str | None:
    """Why a module of ours may not import another one of ours; None when it may."""
    here, there = owner(importer), owner(imported)
    if there == "_fast":
        return None if here in ("io", "_fast") else FAST
    if not here or not there or here == there or there.startswith("__"):
        return None
    if here not in ROW or there not in ROW:
        return f"{here if here not in ROW else there} has no row yet: add it to ROWS and to ARCHITECTURE.md"
    if ROW[there] > ROW[here]:
        return f"{there} stands below {here}: what {here} needs of it is handed in as an argument"
    return APART.get((here, there))


def stray(importer: str, imported: str) -> str | None:
    """Why a module of ours may not import this one of somebody else; None when it may."""
    top = imported.split(".")[0]
    if top not in REFUSED:
        return None
    homes, reason = REFUSED[top]
    inside = importer.removeprefix("ovng.")
    return None if any(inside == home or inside.startswith(f"{home}.") for home in homes) else reason


@pytest.mark.parametrize("path", product(), ids=relative)
def test_directions(path: Path) -> None:
    importer = module_name(path)
    faults = [
        f"{relative(path)}:{line}: {imported}: {reason}"
        for line, imported in imports(path)
        if imported.split(".")[0] == "ovng" and (reason := refusal(importer, imported))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", product(), ids=relative)
def test_homes(path: Path) -> None:
    faults = [
        f"{relative(path)}:{line}: {imported}: {reason}"
        for line, imported in imports(path)
        if (reason := stray(module_name(path), imported))
    ]
    assert not faults, "\n".join(faults)


def test_every_home_is_used() -> None:
    """A home in which nobody lives any more is a hole in the rule."""
    seen = {(imported.split(".")[0], module_name(path)) for path in product() for _, imported in imports(path)}
    for name, (homes, _) in REFUSED.items():
        for home in homes:
            assert any(top == name and f"{module}.".startswith(f"ovng.{home}.") for top, module in seen), (name, home)


def test_the_rule_bites() -> None:
    assert refusal("ovng.wire.header", "ovng.session.peer")
    assert refusal("ovng.session.peer", "ovng._fast.aead") == FAST
    assert refusal("ovng.node.service", "ovng.switch.service")
    assert refusal("ovng.io.tun", "ovng.cli.main")
    assert refusal("ovng.session.peer", "ovng.wire.header") is None
    assert refusal("ovng.io.tun", "ovng._fast.node") is None
    assert stray("ovng.session.peer", "time") and stray("ovng.clock", "time") is None
    assert stray("ovng.pki.identity", "cryptography.x509") and stray("ovng.pki.ca", "cryptography.x509") is None


def test_compiled_modules_cimport_only_each_other_and_the_system() -> None:
    for path in sorted((ROOT / "ovng" / "_fast").glob("*.p[yx][xd]")):
        for line in path.read_text().splitlines():
            words = line.split()
            if "cimport" in words and words[0] in ("from", "cimport"):
                assert words[1].split(".")[0] in ("libc", "posix", "cpython", "cython") or words[1].startswith(
                    "ovng._fast"
                ), f"{relative(path)}: {line}"
