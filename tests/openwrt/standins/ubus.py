"""Stands in for OpenWrt's `ubus`: records each call, and where it is told to, does with an interface what netifd would.

UBUS_CALLS    the file to which each call is appended: one JSON array [OBJECT, METHOD, MESSAGE] a line
UBUS_APPLY    set: what `notify_proto` says of addresses and routes is carried out, by ip(8)
UBUS_FAILS    set: every call fails, as with a netifd that does not take it
UBUS_ANSWERS  a directory: the file OBJECT.METHOD is printed
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def ip(*command: str) -> str:
    """ip(8)'s output."""
    return subprocess.run(["ip", *command], check=True, capture_output=True, text=True).stdout


def held(kind: str, device: str, version: int) -> set[str]:
    """Global addresses, or routes of netifd's, of a device."""
    rows = json.loads(ip(f"-{version}", "-json", kind, "show", "dev", device) or "[]")
    if kind == "route":
        return {row["dst"] for row in rows if row.get("protocol") == "static"}
    entries = [entry for row in rows for entry in row.get("addr_info", ()) if entry["scope"] == "global"]
    return {f"{entry['local']}/{entry['prefixlen']}" for entry in entries}


def follow(wanted: set[str], there: set[str], version: int, *words: str) -> None:
    """Add what is missing, remove what is too much."""
    kind, *rest = words
    for entry in wanted - there:
        ip(f"-{version}", kind, "add", entry, *rest)
    for entry in there - wanted:
        ip(f"-{version}", kind, "del", entry, *rest[:2])


def carry_out(message: dict[str, Any]) -> None:
    """As netifd does with a state of an interface."""
    device = message["ifname"]
    ip("link", "set", device, "up")
    for version, suffix in ((4, ""), (6, "6")):
        addresses = {f"{entry['ipaddr']}/{entry['mask']}" for entry in message.get(f"ip{suffix}addr", ())}
        routes = {f"{entry['target']}/{entry['netmask']}" for entry in message.get(f"routes{suffix}", ())}
        nodad = ["nodad"] if version == 6 else []
        follow(addresses, held("address", device, version), version, "address", "dev", device, *nodad)
        follow(routes, held("route", device, version), version, "route", "dev", device, "proto", "static")


words = [word for word in sys.argv[1:] if word != "-S"]
if words[:1] != ["call"] or not 3 <= len(words) <= 4:
    sys.exit(f"ubus: {words}")
place, method, said = words[1], words[2], json.loads(words[3] if len(words) > 3 else "{}")
with Path(os.environ["UBUS_CALLS"]).open("a", encoding="utf-8") as calls:
    calls.write(json.dumps([place, method, said]) + "\n")
if os.environ.get("UBUS_FAILS"):
    sys.exit("Command failed: ubus call network.interface notify_proto (Permission denied)")
answer = Path(os.environ.get("UBUS_ANSWERS", "/nonexistent"), f"{place}.{method}")
if answer.exists():
    sys.stdout.write(answer.read_text(encoding="utf-8"))
if method == "notify_proto" and said["action"] == 0 and os.environ.get("UBUS_APPLY"):
    carry_out(said)
