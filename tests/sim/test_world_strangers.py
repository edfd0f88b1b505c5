"""Strangers change nothing: replays of whole runs, garbage, and datagrams that were right but for a few bits."""

from __future__ import annotations

import random
from typing import Any

from ovng.forwarding.record import Record
from ovng.ids import UNKNOWN_LOCATOR, Locator
from ovng.limits import HEADER_SIZE
from ovng.wire.header import Header, PacketType, parse_header
from ovng.wire.report import Ack, Challenge, Common, CrlPiece, Mismatch, Nak, NakReason, ReportKind, Update
from tests.sim.network import Weather
from tests.sim.test_world_moves import at_switch, one_session, talking
from tests.sim.world import Arrival, Place, World


def table(world: World) -> dict[int, Any]:
    """All that the Switch holds of its nodes, but the credit that strangers may use up."""
    held = {}
    for node in world.switch.table.ids():
        data = world.switch.table.record(node)
        assert data is not None
        held[node] = (Record.unpack(data), world.switch.table.locators(node))
    return held


def standing(world: World) -> dict[int, Any]:
    """The same without what honest reports advance: which grant, which keys, where."""
    return {
        node: (record.grant, record.instance, record.report_master, record.private_master, record.serial, locators)
        for node, (record, locators) in table(world).items()
    }


def sessions(world: World) -> list[Any]:
    """Every node's sessions with their keys, counters left out; routes, and who it is attached to."""
    return [
        (
            [(info.peer, info.session_id, info.generation, info.has_keys) for info in place.node.sessions.sessions()],
            {
                peer: (held.prefixes, sorted(held.receive), held.send and held.send.key_id)
                for peer, held in place.node.path.peers.items()
            },
            dict(place.node.path.routes),
            place.node.client.attached,
            place.node.client.observed,
            place.node.ended,
        )
        for place in world.places
    ]


def busy_run(seed: int) -> tuple[World, list[Place]]:
    """Everything that a run can have: handshakes, moves, rekeys, a restart, a node that came again."""
    world, one, other = talking(seed, Weather(duplication=0.1, reordering=0.1))
    third = world.add("10.77.0.4/32", "192.168.9.0/24")
    world.talk(one, third), world.talk(third, other)
    world.move(one)
    world.move(other)
    world.traffic(one, other, 2.0)
    world.run(12.0)
    world.switch.kill()
    world.start_switch()
    world.traffic(one, third, 2.0)
    for place in (one, other):
        place.node.sessions.rekey_all(world.now_of(place.node))
        place.node.flush(world.now_of(place.node))
    world.traffic(one, other, 2.0)
    third.node.kill()
    world.start(third)
    world.talk(one, third, 10.0)
    world.talk(other, third, 10.0)  # else what is replayed would make them find out that they have to
    world.run(100.0)  # old keys retire, attempts are forgotten
    return world, [one, other, third]


def settle(world: World) -> None:
    """Let what the strangers have set off come to its end. Nothing honest is due in less than 17 s."""
    world.run(3.0)


def unread(world: World) -> int:
    """Packets that came out of any TUN."""
    return sum(len(place.received) for place in world.places)


def test_replay_of_a_whole_run_from_where_it_came() -> None:
    for seed in range(2):
        world, places = busy_run(seed)
        before = table(world), sessions(world), unread(world)
        for arrival in list(world.record):
            world.inject(*arrival)
        assert (table(world), sessions(world), unread(world)) == before, "at once"
        before_standing = standing(world)
        settle(world)
        assert standing(world) == before_standing
        assert sessions(world) == before[1], "and later"
        world.traffic(places[0], places[1], 2.0)
        world.talk(places[1], places[2])
        assert all(place.node.ended is None for place in places)


def test_replay_from_elsewhere() -> None:
    """An attacker who has recorded everything plays it from an address of his own."""
    for seed in range(2):
        world, places = busy_run(seed)
        thief = world.fresh_locator()
        before = standing(world), sessions(world), unread(world)
        for arrival in list(world.record):
            world.inject(arrival.to, arrival.datagram, thief)
        settle(world)
        assert (standing(world), sessions(world), unread(world)) == before
        assert all(at_switch(world, place) for place in places)
        sent = world.traffic(places[0], places[1], 2.0)
        assert all(packet.arrived for packet in sent)


def test_replay_in_the_middle_of_things() -> None:
    """Every datagram arrives three times more, at once and later, from its place and from another, all the time."""
    for seed in range(2):
        world = World(seed)
        chance = random.Random(seed)
        thief = world.fresh_locator()

        def again() -> None:
            if world.record and chance.random() < 0.5:  # noqa: B023
                arrival = chance.choice(world.record[-500:])  # noqa: B023
                world.inject(*arrival)  # noqa: B023
                world.inject(arrival.to, arrival.datagram, thief)  # noqa: B023

        world.on_step = again
        one, other = world.add("10.77.0.2/32"), world.add("10.77.0.3/32")
        world.talk(one, other, 10.0)
        for _ in range(3):
            world.move(one)
            sent = world.traffic(one, other, 2.0)
            assert sum(packet.arrived is None for packet in sent) < len(sent) // 5
        world.on_step = lambda: None
        world.talk(one, other)
        assert one_session(one, other)


def test_tickets_and_moves_of_the_past_after_a_restart() -> None:
    """The Switch knows nobody, and the thief is the first to call."""
    for seed in range(2):
        world, places = busy_run(seed)
        world.run(12.0)
        recorded = [arrival for arrival in world.record if arrival.to is None]
        thief = world.fresh_locator()
        world.switch.kill()
        world.start_switch()
        for arrival in recorded:
            world.inject(None, arrival.datagram, thief)
        assert not table(world)
        assert world.talk(places[0], places[1], 5.0) < 3.0
        world.run(5.0)
        assert all(at_switch(world, place) for place in places)


# -- Garbage


def garbage(chance: random.Random, world: World) -> bytes:
    """Half noise, half with a valid header between IDs that exist."""
    size = chance.choice((0, 1, 27, 28, 29, 53, 62, 64, 92, 93, 300, 1232, 1400, chance.randrange(1, 2_000)))
    if chance.random() < 0.3:
        return chance.randbytes(size)
    ids = [world.switch.id, *(place.node.id for place in world.places), *(chance.getrandbits(64) for _ in range(2))]
    kind = chance.choice(list(PacketType))
    key_id = chance.choice((0, 1, 2, 3, 4, 5, 16, 17, 18, 32, 33, chance.randrange(256)))
    number = chance.choice((0, 1, 2, 1 << 32, chance.getrandbits(64)))
    dst, src = chance.choice([0, *ids]), chance.choice(ids)
    header = Header(kind, key_id, chance.choice((0, 0, 0, 1, 2, 0x8000)), dst, src, number)  # type: ignore[arg-type]
    return header.pack() + chance.randbytes(size)


def places_of_attack(world: World, chance: random.Random) -> tuple[Place | None, Locator]:
    """Where to, and as if from where: true locators and false ones."""
    to = chance.choice([None, None, *world.places])
    return to, chance.choice([*(place.locator for place in world.places), Locator.of("198.51.100.66", 4_000)])


def test_garbage_everywhere() -> None:
    for seed in range(2):
        world, one, other = talking(seed)
        chance = random.Random(seed)
        before = standing(world), sessions(world), unread(world)
        for _ in range(3_000):
            to, source = places_of_attack(world, chance)
            world.inject(to, garbage(chance, world), source)
        settle(world)
        assert (standing(world), sessions(world), unread(world)) == before
        sent = world.traffic(one, other, 2.0)
        assert all(packet.arrived for packet in sent)


def mutated(datagram: bytes, chance: random.Random) -> bytes:
    """One to three bits, a cut, something behind it, or a piece of itself elsewhere."""
    data = bytearray(datagram)
    match chance.randrange(4):
        case 0:
            for _ in range(chance.randint(1, 3)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 1:
            del data[chance.randrange(len(data)) :]
        case 2:
            data += chance.randbytes(chance.randint(1, 40))
        case _:
            start, end = sorted((chance.randrange(len(data)), chance.randrange(len(data))))
            at = chance.randrange(len(data))
            data[at : at + end - start] = data[start:end]
    return bytes(data)


def one_of_each_kind(world: World, chance: random.Random, per_kind: int = 12) -> list[Arrival]:
    """Recorded datagrams: some of every type, report kind, direction and control kind."""
    kinds: dict[object, list[Arrival]] = {}
    for arrival in world.record:
        header = parse_header(arrival.datagram)
        control = arrival.datagram[HEADER_SIZE] if header.type is PacketType.CONTROL else 0
        report = header.key_id if header.type is PacketType.REPORT else 0
        kinds.setdefault((header.type, report, control, arrival.to is None), []).append(arrival)
    return [arrival for some in kinds.values() for arrival in chance.sample(some, min(per_kind, len(some)))]


def test_mutations_of_what_was_right() -> None:
    for seed in range(2):
        world, places = busy_run(seed)
        chance = random.Random(seed)
        before = standing(world), sessions(world), unread(world)
        for arrival in one_of_each_kind(world, chance) * 10:
            changed = mutated(arrival.datagram, chance)
            if changed != arrival.datagram:
                world.inject(arrival.to, changed, chance.choice([arrival.source, world.fresh_locator()]))
        settle(world)
        assert (standing(world), sessions(world), unread(world)) == before
        sent = world.traffic(places[0], places[1], 2.0)
        assert all(packet.arrived for packet in sent)


def test_mutations_as_they_happen() -> None:
    """Of every datagram that arrives, two changed copies arrive before it: handshakes, reports, data."""
    for seed in range(3):
        world = World(seed)
        chance = random.Random(seed)

        def before(arrival: Arrival) -> bool:
            for _ in range(2):
                changed = mutated(arrival.datagram, chance)  # noqa: B023
                if changed[: HEADER_SIZE + 9] != arrival.datagram[: HEADER_SIZE + 9]:
                    world.inject(arrival.to, changed, arrival.source)  # noqa: B023
            return False

        world.drop = before
        one, other = world.add("10.77.0.2/32"), world.add("10.77.0.3/32")
        world.talk(one, other, 10.0)
        world.move(one)
        sent = world.traffic(one, other, 3.0)
        assert sum(packet.arrived is None for packet in sent) < len(sent) // 10
        assert one_session(one, other)


def forged_reports(world: World, place: Place, number: int) -> tuple[list[bytes], list[bytes]]:
    """Everything one could say of a node whose every public figure is known: (to the Switch, to the node)."""
    held, switch = place.node.client.grant, world.switch.id
    assert held is not None
    key, thief = bytes(range(32)), world.fresh_locator()
    up = Common(switch, place.node.id, number, held.boot_id, held.grant)
    down = up.answer(held.boot_id)
    updates = [
        Update(kind, up, observed, 25, cookie, ticket if kind in (ReportKind.REFRESH, ReportKind.MOVE) else b"")
        for kind in (ReportKind.REFRESH, ReportKind.MOVE, ReportKind.CONFIRM, ReportKind.BYE, ReportKind.GET_CRL)
        for observed in (UNKNOWN_LOCATOR, thief, place.locator)
        for cookie in (bytes(16), bytes(range(16)))
        for ticket in (b"", bytes(100))
    ]
    answers = [Ack(down, thief, 75, 99, bytes(range(8))).pack(key), CrlPiece(down, 99, 5, 0, b"12345").pack(key)]
    answers += [Nak(common, reason, 7).pack(key) for reason in NakReason for common in (down, down._replace(number=0))]
    return [update.pack(key) for update in updates], answers


def test_forged_reports_and_answers() -> None:
    for seed in range(2):
        world, one, other = talking(seed)
        before = table(world), sessions(world)
        for place in (one, other):
            held = place.node.client.grant
            assert held is not None
            for number in (held.sequence, held.sequence + 1, held.sequence + 1_000, (1 << 32) - 1):
                to_switch, to_node = forged_reports(world, place, number)
                for datagram in to_switch:
                    world.inject(None, datagram, place.locator)
                    world.inject(None, datagram, world.fresh_locator())
                for datagram in to_node:
                    world.inject(place, datagram, world.fresh_locator())
        assert (table(world), sessions(world)) == before
        settle(world)
        assert all(place.node.client.attached and place.node.trust.crl_number == 0 for place in (one, other))
        world.talk(one, other)
        assert one_session(one, other)


def test_forged_hints_put_nothing_off() -> None:
    """Whoever is the first to speak in every second: the node's own tries go on beside what it makes of hints."""
    for kind in ("mismatch", "challenge"):
        world, one, other = talking()
        thief = world.fresh_locator()
        grant = one.node.client.grant
        assert grant is not None
        common = Common(one.node.id, world.switch.id, 0, grant.boot_id, grant.grant)
        challenge = Challenge(common, bytes(range(16)), bytes(8)).pack()
        mismatch = Mismatch(one.node.id, world.switch.id, 0, thief, bytes(range(16))).pack()
        world.run(10.0)
        one.link.cut = True
        for _ in range(100):
            world.send(one, other)
            world.run(0.1)
        world.rebind(one)
        one.link.cut = False
        for _ in range(40):
            world.inject(one, mismatch if kind == "mismatch" else challenge, thief)
            world.run(0.1)
        assert at_switch(world, one), f"within 4 s, in spite of every {kind}"


def test_memory_of_a_flood_is_bounded() -> None:
    """Ten thousand IDs that do not exist call the Switch and a node."""
    world, one, other = talking()
    chance = random.Random(1)
    for i in range(10_000):
        src = chance.getrandbits(63) + 1
        hello = Header(PacketType.CONTROL, 0, 0, world.switch.id, src, 0).pack()  # type: ignore[arg-type]
        source = Locator(bytes(10) + b"\xff\xff" + chance.randbytes(4), 1_000 + i % 60_000)
        world.inject(None, hello + b"\1" + chance.randbytes(8) + bytes(16), source)
        data = Header(PacketType.DATA, 1, 0, one.node.id, src, 1).pack()  # type: ignore[arg-type]
        world.inject(one, data + chance.randbytes(60), source)
        if i % 1_000 == 0:
            world.run(0.05)
    assert len(world.switch.sessions._table) == 0
    assert len(one.node.sessions._table) < 64 and len(one.node.sessions._peers) < 64
    world.run(70.0)
    assert len(one.node.sessions._peers) == 1
    world.talk(one, other)
