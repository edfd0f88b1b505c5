"""What a crowd costs in memory: a node with a thousand sessions 60 MB, a Switch with a million nodes 300 MB in all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ovng.clock import now
from ovng.limits import HEADER_SIZE
from ovng.session.manager import SessionManager
from ovng.wire.header import parse_header
from tests.crowded_node import END
from tests.lacks import needs_own_memory
from tests.pki_fixture import Member, Network

SESSION_BYTES = 60_000
SWITCH_BYTES, NODE_BYTES, STEADY_BYTES = 300_000_000, 300, 10_000_000  # the last does not grow with the nodes


@contextmanager
def crowded_node(member: Member) -> Iterator[socket.socket]:
    """A link to the node of this certificate, in a process of its own."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.crowded_node", str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()]), ours:
        theirs.close()
        ours.settimeout(30)
        pem = {"ca": member.ca, "certificate": member.certificate, "key": member.key}
        profile = {"network": member.identity.network} | {name: text.decode() for name, text in pem.items()}
        ours.send(json.dumps(profile).encode())
        yield ours


def meet(link: socket.socket, node: Member, peer: Member) -> None:
    """A session between the node and a peer, until both have nothing more to say."""
    manager, time = SessionManager(peer.id, "node", peer.trust, os.urandom), now()
    manager.connect(node.id, time)
    while sent := manager.datagrams():
        for datagram, _ in sent:
            link.send(datagram)
            while (answer := link.recv(1 << 16)) != END:
                manager.receive(parse_header(answer), answer[HEADER_SIZE:], b"", time)
    assert len(manager.sessions()) == 1


def measure(link: socket.socket) -> tuple[int, int]:
    """(resident bytes, sessions)"""
    link.send(END)
    answer = json.loads(link.recv(1 << 16))
    return answer["resident"], answer["sessions"]


@needs_own_memory
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_a_session_takes_less_than_60_kilobytes(count: int) -> None:
    network = Network()
    node = network.node("10.77.0.1/32", "fd77::1/128")
    with crowded_node(node) as link:
        idle, none = measure(link)
        for number in range(2, count + 2):
            peer = network.node(f"10.77.{number >> 8}.{number & 255}/32", f"fd77::{number:x}/128")
            meet(link, node, peer)
        full, sessions = measure(link)
    assert (none, sessions) == (0, count)
    assert 10_000 * count < full - idle <= SESSION_BYTES * count  # a session's keys and TLS are at least the former


A_MILLION = pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(1200)])


@needs_own_memory
@pytest.mark.parametrize("count", [20_000, A_MILLION])
def test_a_switch_with_a_million_nodes_takes_less_than_300_megabytes(count: int) -> None:
    command = [sys.executable, "-m", "tests.crowded_switch", str(count)]
    measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert measured["nodes"] == count
    assert 200 * count < measured["full"] - measured["idle"] <= NODE_BYTES * count + STEADY_BYTES
    assert measured["full"] <= SWITCH_BYTES
