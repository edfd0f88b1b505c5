"""A service for the tests of verbs: real lock, control socket and driver in a process of its own, canned answers.

What stands under `events` is told as the fields of events, to whoever begins to follow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_CODE = """
import asyncio, json, sys
from ovng.io.control import ControlServer
from ovng.clock import now
from ovng.io.driver import Driver
from ovng.io.events import EventStream
from ovng.io.files import ProfileLock

name, answers, deaf = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] == "deaf"
stream = EventStream()
driver = Driver(deadline=lambda now: None, on_timer=lambda now: None)

def answer(request):
    if request["verb"] == "down":
        driver.stop()
        return {"stopping": True}
    if request["verb"] == "events":
        follower = stream.follow({"profile": name}, now())
        for fields in answers["events"]:
            stream.publish("path_closed", fields, now())
        return follower
    return answers[request["verb"]]

async def main():
    server = ControlServer(name, answer)
    if not deaf:
        await server.start()
    driver.call_soon(lambda now: print("ready", flush=True))
    await driver.run()
    await server.close()

with ProfileLock(name):
    asyncio.run(main())
"""

Service = subprocess.Popen[str]


@contextmanager
def running(name: str, answers: dict[str, Any], *, deaf: bool = False) -> Iterator[Service]:
    """Run one until the end of the context; a deaf one has no control socket, as one that hangs."""
    arguments = [sys.executable, "-c", _CODE, name, json.dumps(answers), "deaf" if deaf else "hears"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
