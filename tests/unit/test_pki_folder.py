"""The CA's folder: what is written is read again, a failed write leaves what was, and who gets which address."""

from __future__ import annotations

import ipaddress
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovng.config.values import Endpoint
from ovng.errors import ConfigError
from ovng.ids import IPAddress, NodeID, Prefix
from ovng.pki.allocation import (
    check_addresses,
    check_network_prefixes,
    check_routes,
    exit_routes,
    next_addresses,
    overlap,
)
from ovng.pki.folder import Folder, Index, Issued, Member, pending_file, write_file

V4, V6 = ipaddress.ip_network("10.77.0.0/29"), ipaddress.ip_network("fd77::/125")


def member(name: str, *addresses: str, routes: tuple[str, ...] = (), cluster: str | None = None) -> Member:
    return Member(
        name,
        "node",
        NodeID(7),
        b"key",
        tuple(map(ipaddress.ip_address, addresses)),
        tuple(map(ipaddress.ip_network, routes)),
        cluster,
        certificates=[Issued(1, 2.0)],
    )


class TestIndex:
    def test_round_trip(self) -> None:
        truck = member("truck", "10.77.0.2", "fd77::2", routes=("192.168.8.0/24",), cluster="gates")
        truck.certificates = [Issued(1 << 158, 1.5), Issued(3, 2.5, revoked=2.0)]
        index = Index("office", (V4, V6), (Endpoint("2001:db8::1", 5140),), 9, [truck, member("car")])
        assert Index.parse(index.dump()) == index

    def test_find(self) -> None:
        old, new, other = member("truck"), member("truck"), member("car")
        old.certificates[0].revoked = 1.0
        other.id = NodeID(8)
        index = Index("office", (V4,), (), 0, [old, new, other])
        assert index.find("truck") is new
        assert index.find("0000-0000-0000-0008") is other
        assert index.live == [new, other]
        new.certificates[0].revoked = 1.0
        assert index.find("truck") is new
        with pytest.raises(ConfigError, match="no member is called boat"):
            index.find("boat")

    @given(st.binary(max_size=60))
    def test_damage_is_an_error_with_a_name(self, tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
        folder = Folder(tmp_path_factory.getbasetemp())
        (folder.path / "index.json").write_bytes(data)
        with pytest.raises(ConfigError, match="is damaged"):
            folder.read_index()


class TestFiles:
    def test_mode_and_content(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        for data, mode in ((b"one", 0o600), (b"two", 0o644)):
            write_file(path, data, mode)
            assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (data, mode)
        assert list(tmp_path.iterdir()) == [path]

    def test_a_failure_in_between_leaves_what_was(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        with pytest.raises(LookupError), pending_file(path, b"new", 0o600):
            raise LookupError
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_it_is_in_place_only_after_the_block(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        with pending_file(path, b"new", 0o600):
            assert not path.exists()
            (waiting,) = tmp_path.iterdir()
            assert stat.S_IMODE(waiting.stat().st_mode) == 0o600
        assert path.read_bytes() == b"new"

    def test_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be written: No such file"):
            write_file(tmp_path / "none" / "file", b"", 0o600)
        (tmp_path / "folder").mkdir()
        with pytest.raises(ConfigError, match="cannot be written: Is a directory"):
            write_file(tmp_path / "folder", b"", 0o600)
        assert [path.name for path in tmp_path.iterdir()] == ["folder"]


class TestAllocation:
    def test_every_host_address_once_and_then_an_error(self) -> None:
        members: list[Member] = []
        with pytest.raises(ConfigError, match=r"every address of 10.77.0.0/29 is taken"):
            while True:
                addresses = next_addresses((V4, V6), members)
                check_addresses(addresses, (V4, V6), members)
                members.append(member("x", *map(str, addresses)))
        assert [str(one.addresses[0]) for one in members] == [f"10.77.0.{i}" for i in range(1, 7)]
        assert [str(one.addresses[1]) for one in members] == [f"fd77::{i}" for i in range(1, 7)]
        assert str(next_addresses((V6,), members)[0]) == "fd77::7"  # IPv6 has no broadcast

    @given(st.sets(st.sampled_from(list(V4)), max_size=5))
    def test_the_lowest_free_one(self, used: set[IPAddress]) -> None:
        (found,) = next_addresses((V4,), [member("x", *map(str, used))])
        assert found == min(set(V4.hosts()) - used)

    def test_network_prefixes(self) -> None:
        check_network_prefixes([V4, V6, ipaddress.ip_network("10.78.0.0/30")])
        for bad in ("10.77.0.0/31", "10.77.0.0/32", "fd77::/128", "fd77::/127"):
            with pytest.raises(ConfigError, match="no room"):
                check_network_prefixes([ipaddress.ip_network(bad)])
        with pytest.raises(ConfigError, match="overlaps"):
            check_network_prefixes([V4, ipaddress.ip_network("10.0.0.0/8")])

    @given(*[st.tuples(st.integers(0, 255), st.integers(1, 8)) for _ in range(2)])
    def test_overlap_is_a_shared_address(self, one: tuple[int, int], other: tuple[int, int]) -> None:
        nets = [ipaddress.ip_network((number << 24, length), strict=False) for number, length in (one, other)]
        shared = bool({*range(int(nets[0][0]) >> 24, (int(nets[0][-1]) >> 24) + 1)}
                      & {*range(int(nets[1][0]) >> 24, (int(nets[1][-1]) >> 24) + 1)})  # fmt: skip
        assert overlap(nets[0], nets[1]) == overlap(nets[1], nets[0]) == shared

    def test_families_and_default_routes_never_overlap(self) -> None:
        default4, default6 = exit_routes((V4, V6))
        assert (str(default4), str(default6)) == ("0.0.0.0/0", "::/0")
        assert exit_routes((V6,)) == (default6,)
        one: Prefix
        for one in (V4, default6, default4):
            assert not overlap(one, default4) and not overlap(default6, one)
        assert not overlap(V4, V6)

    def test_routes_of_a_cluster(self) -> None:
        lan = ipaddress.ip_network("192.168.8.0/24")
        held = [member("gate", routes=("192.168.0.0/16",), cluster="gates")]
        check_routes([lan], "gates", [V4], held)
        for cluster in (None, "others"):
            with pytest.raises(ConfigError, match="which gate serves"):
                check_routes([lan], cluster, [V4], held)
        alone = [member("gate", routes=("192.168.0.0/16",))]
        with pytest.raises(ConfigError, match="which gate serves"):
            check_routes([lan], "gates", [V4], alone)
