"""A Switch with a long queue: sparse datagrams overtake bulk, in their order, and leave it its share."""

from __future__ import annotations

from tests.switch_fixture import DATA, FakeNode, World, header

A, B = 0xA << 60, 0xB << 60
SPARSE = 4
BULK_SIZE, TRAIN = 1300, 40


def datagram(number: int, *, sparse: bool = False, size: int = BULK_SIZE) -> bytes:
    return header(B, A, DATA, flags=SPARSE if sparse else 0, number=number) + bytes(size)


def arrivals(*trains: list[bytes]) -> list[int]:
    """The numbers of all datagrams as they came to B, having waited before forwarding began; − of a sparse one."""
    w = World()
    try:
        a, b = w.node(A), w.node(B)
        for train in trains:
            a.send_train(train)
        w.path.start()
        return numbers(b, sum(map(len, trains)))
    finally:
        w.close()


def numbers(b: FakeNode, count: int) -> list[int]:
    got = b.receive(count)
    return [int.from_bytes(each[20:28], "big") * (-1 if each[3] & SPARSE else 1) for each in got]


def bulk(index: int) -> list[bytes]:
    return [datagram(1000 * (index + 1) + i) for i in range(TRAIN)]


def test_what_is_sparse_comes_first() -> None:
    got = arrivals(*map(bulk, range(12)), [datagram(1, sparse=True, size=60)], [datagram(2, sparse=True, size=61)])
    assert got[:2] == [-1, -2]
    assert got[2:] == sorted(got[2:]), "bulk keeps its order"


def test_behind_many_receives_it_still_comes_first() -> None:
    """More than one receive brings in: what is forwarded meanwhile is a small part."""
    got = arrivals(*map(bulk, range(50)), [datagram(1, sparse=True, size=60)])
    assert got.index(-1) <= 20 * TRAIN
    assert [number for number in got if number > 0] == sorted(number for number in got if number > 0)


def test_what_was_joined_to_bulk_is_parted_from_it() -> None:
    """As a network card's GRO joins them: at the end, at the beginning, and all."""
    ends = [*bulk(0), datagram(1, sparse=True, size=60)]
    begins = [datagram(2, sparse=True), datagram(3, sparse=True), *bulk(1)]
    both = [datagram(4, sparse=True), *bulk(2), datagram(5, sparse=True)]
    whole = [datagram(6, sparse=True), datagram(7, sparse=True, size=9)]
    got = arrivals(ends, begins, both, whole)
    assert got[:7] == [-1, -2, -3, -4, -5, -6, -7]
    assert got[7:] == sorted(got[7:]) and len(got) == 7 + 3 * TRAIN


def test_one_in_between_keeps_its_place() -> None:
    train = bulk(0)
    train[7] = datagram(1, sparse=True)
    got = arrivals(bulk(1), train)
    assert got.index(-1) == TRAIN + 7


def test_a_flood_of_sparse_leaves_bulk_its_share() -> None:
    flood = [[datagram(10_000 * (i + 1) + k, sparse=True) for k in range(TRAIN)] for i in range(40)]
    got = arrivals(*flood[:2], *map(bulk, range(6)), *flood[2:])
    assert max(got.index(number) for number in got if number > 0) < 20 * TRAIN
    assert [number for number in got if number < 0] == sorted((n for n in got if n < 0), reverse=True)


def test_single_datagrams_pass_a_train() -> None:
    singles = [[datagram(i, sparse=True, size=60)] for i in range(1, 9)]
    got = arrivals(bulk(0), bulk(1), *singles)
    assert got[:8] == [-i for i in range(1, 9)]
