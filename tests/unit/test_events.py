"""Events on their way to who follows: numbered, bounded, and never waited for. Real sockets, bad readers too."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ovng.clock import Now
from ovng.errors import SystemProblem
from ovng.io import control
from ovng.io.control import ControlServer, Message, ask, follow
from ovng.io.events import FOLLOWERS_MAX, WAITING_MAX, EventStream, WarningsTold

NOW = Now(1.0, 1.0, 1_767_322_845.6789)
LATER = NOW._replace(wall=NOW.wall + 1)


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVNG_RUNTIME_DIR", str(tmp_path))


def numbers(events: list[Message]) -> list[int]:
    return [event["number"] for event in events]


def test_number_time_and_name_come_first() -> None:
    stream = EventStream()
    event = stream.publish("active", {"path": 1, "uplink": "lte"}, NOW)
    assert list(event) == ["number", "time", "event", "path", "uplink"]
    assert (event["number"], event["time"]) == (1, "2026-01-02T03:00:45.678+00:00")
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    assert stream.publish("active", {}, LATER)["number"] == 2


def test_everything_from_now_on() -> None:
    async def main() -> None:
        stream = EventStream()
        stream.publish("before", {}, NOW)
        follower = stream.follow({"profile": "truck"}, NOW)
        stream.publish("first", {}, NOW)
        taken = await follower.take()
        assert [(event["number"], event["event"]) for event in taken] == [(1, "following"), (2, "first")]
        waiting = asyncio.create_task(follower.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        stream.publish("second", {}, NOW)
        assert numbers(await waiting) == [3]

    asyncio.run(main())


def test_who_does_not_read_loses_the_oldest_and_is_told() -> None:
    async def main() -> None:
        stream = EventStream()
        slow, quick = stream.follow({}, NOW), stream.follow({}, NOW)
        for _ in range(2 * WAITING_MAX):
            stream.publish("active", {}, LATER)
            await quick.take()
        told, *taken = await slow.take()
        assert (told["event"], told["number"], told["count"]) == ("dropped", WAITING_MAX, WAITING_MAX + 1)
        assert numbers(taken) == list(range(WAITING_MAX + 1, 2 * WAITING_MAX + 1))
        stream.publish("active", {}, LATER)
        assert numbers(await slow.take()) == [2 * WAITING_MAX + 1]

    asyncio.run(main())


def test_followers_are_bounded() -> None:
    stream = EventStream()
    followers = [stream.follow({}, NOW) for _ in range(FOLLOWERS_MAX)]
    with pytest.raises(SystemProblem, match="follow already"):
        stream.follow({}, NOW)
    followers[3].close()
    followers[3].close()
    stream.follow({}, NOW)
    assert FOLLOWERS_MAX < control.CONNECTIONS_MAX  # others can still ask


# -- Over the control socket


def serve(clients: Callable[[EventStream], Awaitable[Any]]) -> Any:
    """Run `clients` while a service streams; nothing of it may be left, and nothing may have gone wrong."""
    stream = EventStream()

    def handler(request: Message) -> Message | control.Stream:
        return stream.follow({"profile": "office"}, NOW) if request["verb"] == "events" else {"alive": True}

    async def main() -> Any:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
        server = ControlServer("office", handler)
        await server.start()
        try:
            async with asyncio.timeout(30):
                return await clients(stream)
        finally:
            await server.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert faults == []
            assert stream._followers == set()

    return asyncio.run(main())


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def begin(stream: EventStream, count: int = 1) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Readers that have read their first line."""
    readers = []
    for _ in range(count):
        reader, writer = await asyncio.open_unix_connection(str(control.socket_path("office")))
        writer.write(b'{"verb": "events"}\n')
        assert json.loads(await reader.readline())["event"] == "following"
        readers.append((reader, writer))
    return readers


def test_events_arrive_as_they_happen() -> None:
    async def clients(stream: EventStream) -> None:
        readers = await begin(stream, 2)
        for number in (1, 2, 3):
            stream.publish("active", {"path": number}, NOW)
            for reader, _ in readers:
                event = json.loads(await reader.readline())
                assert (event["number"], event["path"]) == (number, number)
        for _, writer in readers:
            writer.close()
        await until(lambda: not stream._followers)

    serve(clients)


def test_who_goes_away_is_noticed_without_an_event() -> None:
    async def clients(stream: EventStream) -> None:
        ((_, writer),) = await begin(stream)
        assert len(stream._followers) == 1
        writer.close()
        await until(lambda: not stream._followers)

    serve(clients)


def test_who_goes_away_unread_harms_nobody() -> None:
    """Its socket is full, and is reset under the service."""

    async def clients(stream: EventStream) -> None:
        ((reader, writer),) = await begin(stream)
        rude = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        rude.connect(str(control.socket_path("office")))
        rude.sendall(b'{"verb": "events"}\n')
        await until(lambda: len(stream._followers) == 2)
        for _ in range(100):
            for _ in range(WAITING_MAX // 2):
                stream.publish("active", {"uplink": "x" * 100}, NOW)
            while reader._buffer:  # type: ignore[attr-defined]
                await reader.readline()
            await asyncio.sleep(0)
        rude.close()
        await until(lambda: len(stream._followers) == 1)
        assert await asyncio.to_thread(ask, "office", {"verb": "status"}) == {"alive": True}
        writer.close()
        await until(lambda: not stream._followers)

    serve(clients)


def test_a_slow_reader_is_told_what_it_missed() -> None:
    async def clients(stream: EventStream) -> None:
        slow = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        slow.connect(str(control.socket_path("office")))
        slow.sendall(b'{"verb": "events"}\n')
        await until(lambda: stream._followers)
        published = 0
        while published < 20_000:  # 3 MB: more than any socket holds
            stream.publish("active", {"uplink": "x" * 100}, NOW)
            published += 1
            if published % 100 == 0:
                await asyncio.sleep(0)

        def read() -> list[Message]:
            events: list[Message] = []
            with slow, slow.makefile("rb") as file:
                while not events or events[-1]["number"] < published:
                    events.append(json.loads(file.readline()))
            return events

        events = await asyncio.to_thread(read)
        dropped = [event for event in events if event["event"] == "dropped"]
        kept = [event["number"] for event in events if event["event"] == "active"]
        assert dropped
        assert len(kept) + sum(event["count"] for event in dropped) == published
        assert kept == sorted(set(kept))
        await until(lambda: not stream._followers)

    serve(clients)


def test_one_too_many() -> None:
    async def clients(stream: EventStream) -> None:
        readers = await begin(stream, FOLLOWERS_MAX)
        with pytest.raises(SystemProblem, match="follow already"):
            await asyncio.to_thread(lambda: next(follow("office", {"verb": "events"})))
        assert await asyncio.to_thread(ask, "office", {"verb": "status"}) == {"alive": True}
        for _, writer in readers:
            writer.close()

    serve(clients)


def test_follow_ends_with_the_service() -> None:
    events: list[Message] = []

    async def clients(stream: EventStream) -> Awaitable[None]:
        reading = asyncio.create_task(
            asyncio.to_thread(lambda: events.extend(follow("office", {"verb": "events"}))), name="reader"
        )
        await until(lambda: events)
        stream.publish("stopping", {}, NOW)
        while any(follower._waiting for follower in stream._followers):  # taken, and not yet sent
            await asyncio.sleep(0)
        return reading

    async def main() -> None:
        stream = EventStream()
        server = ControlServer("office", lambda request: stream.follow({}, NOW))
        await server.start()
        reading = await clients(stream)
        await server.close()
        await reading

    asyncio.run(asyncio.wait_for(main(), 30))
    assert [event["event"] for event in events] == ["following", "stopping"]


def test_what_is_half_sent_when_the_service_ends_is_not_sent_again() -> None:
    async def main() -> None:
        stream = EventStream()
        server = ControlServer("office", lambda request: stream.follow({}, NOW))
        await server.start()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, str(control.socket_path("office")))
            client.send(b'{"verb": "events"}\n')
            await until(lambda: stream._followers)
            stream.publish("warning", {"text": "x" * (1 << 20)}, NOW)  # more than the socket holds
            await until(lambda: len(client.recv(1 << 20, socket.MSG_PEEK)) > 1 << 15)
            said = client.recv(1 << 20)  # there is room again, and the service ends before it sees that
            await server.close()
            while piece := client.recv(1 << 20):
                said += piece
        assert said.count(b'"warning"') == 1

    asyncio.run(asyncio.wait_for(main(), 30))


def test_not_running() -> None:
    with pytest.raises(SystemProblem, match="office is not running"):
        list(follow("office", {"verb": "events"}))


def test_warnings_are_told() -> None:
    told: list[str] = []
    log = logging.getLogger("ovng.test")
    with WarningsTold(told.append):
        log.warning("no %s", "route")
        log.info("nothing")
        log.error("worse")
    log.warning("afterwards")
    assert told == ["no route", "worse"]
