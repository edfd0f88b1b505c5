"""What a node's data path does not take from the control plane."""

from __future__ import annotations

import pytest

from ovng.errors import SystemProblem
from ovng.ids import Locator
from tests.datapath_rig import AES, IV, KEY, OUT, PEER, Rig, open_descriptors, opened


def test_a_key_is_never_installed_twice(rig: Rig) -> None:
    """Its packet numbers would begin again (one nonce for two packets), or what it opened could be replayed."""
    rig.know_peer()
    with pytest.raises(ValueError, match="twice"):
        rig.path.install_send(PEER, 8, AES, KEY, IV)
    rig.path.retire_send(PEER)
    with pytest.raises(ValueError, match="twice"):
        rig.path.install_send(PEER, 7, AES, KEY, IV)
    with pytest.raises(ValueError, match="twice"):
        rig.path.install_receive(PEER, 9, AES, KEY, IV)
    rig.path.install_send(PEER, 7, AES, KEY[::-1], IV)
    rig.send(OUT)
    assert opened(rig.left(), key=KEY[::-1]) == (1, OUT)


def test_wrong_material_is_refused(rig: Rig) -> None:
    with pytest.raises(LookupError):
        rig.path.install_send(PEER, 1, AES, KEY, IV)
    with pytest.raises(LookupError):
        rig.path.install_receive(PEER, 1, AES, KEY, IV)
    rig.path.add_peer(PEER, [])
    for cipher, key, iv in ((AES, KEY[1:], IV), (AES, KEY, IV[1:]), (3, KEY, IV)):
        with pytest.raises(ValueError):
            rig.path.install_send(PEER, 1, cipher, key, iv)
        with pytest.raises(ValueError):
            rig.path.install_receive(PEER, 1, cipher, key, iv)
    with pytest.raises(OverflowError):
        rig.path.install_send(PEER, 256, AES, KEY, IV)


@pytest.mark.parametrize("first", ["first_packet", "first_block"])
def test_a_generation_counts_from_1_or_later(rig: Rig, first: str) -> None:
    rig.path.add_peer(PEER, [])
    with pytest.raises(ValueError, match="from 1"):
        rig.path.install_send(PEER, 7, AES, KEY, IV, **{first: 0})
    with pytest.raises(OverflowError):
        rig.path.install_send(PEER, 7, AES, KEY, IV, **{first: -1})
    rig.path.install_send(PEER, 7, AES, KEY, IV)


def test_a_socket_that_cannot_reach_the_switch_is_refused(rig: Rig) -> None:
    with pytest.raises(SystemProblem, match="IPv4 socket"):
        rig.path.set_path(1, rig.outer, Locator.of("2001:db8::1", 5140))
    with pytest.raises(ValueError, match="a path is 0 to 3"):
        rig.path.set_path(4, rig.outer, Locator.of("192.0.2.1", 5140))


def test_a_refused_path_leaves_no_descriptor(rig: Rig) -> None:
    before = open_descriptors()
    for _ in range(5):
        with pytest.raises(ValueError, match="a path is 0 to 3"):
            rig.path.set_path(4, rig.outer, Locator.of("192.0.2.1", 5140))
    assert open_descriptors() == before
