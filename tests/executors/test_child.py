"""One child process as its node sees it: how it starts, what it is told, every way in which it ends, what it leaves.

Their program is a small one, which imports nothing: what a job does in a child is in `test_children.py`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from oban_sqla import InvalidOption
from oban_sqla.errors import ChildDied
from oban_sqla.executors import child as children
from oban_sqla.executors.child import Child
from tests.support import eventually

PROGRAM = """
import json, os, signal, socket, struct, subprocess, time

def main(calls, life):
    line = socket.socket(fileno=calls)

    def receive():
        head = line.recv(5, socket.MSG_WAITALL)
        if len(head) < 5:
            return None, b""
        length, kind = struct.unpack(">IB", head)
        return kind, line.recv(length, socket.MSG_WAITALL) if length else b""

    def send(kind, body):
        line.sendall(struct.pack(">IB", len(body), kind) + body)

    def answer(text):
        send(11, (7).to_bytes(8, "big") + text.encode())

    setup = json.loads(receive()[1])
    if setup.get("never"):
        time.sleep(600)
    send(10, json.dumps({"error": setup.get("error", "")}).encode())
    while True:
        kind, body = receive()
        if kind is None:
            os._exit(0)
        if kind != 1:  # a stop that comes too late
            continue
        what = body.decode()
        if what == "exit":
            os._exit(3)
        elif what == "answer and exit":
            send(13, json.dumps({"said": 1}).encode())
            answer("last words")
            os._exit(0)
        elif what == "leave another":
            print(subprocess.Popen(["sleep", "600"]).pid, file=open(setup["file"], "w"), flush=True)
            os._exit(0)
        elif what.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, what))
        elif what == "stops":
            kind, body = receive()
            answer(f"{kind} {body.decode()}")
        elif what == "spins":
            time.sleep(600)
        elif what == "about itself":
            answer(f"{os.getsid(0) == os.getpid()} {os.read(0, 1)!r}")
"""

Make = Callable[..., Child]


def _ignore(_kind: int, _fields: dict[str, Any]) -> None:
    pass


def open_files() -> list[str]:
    return [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if _is_open(number)]


def _is_open(number: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{number}") and "/proc/" not in os.readlink(f"/proc/self/fd/{number}")


@pytest.fixture
async def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Makes a child that runs the small program; ends it at the end."""
    program = tmp_path / "serve.py"
    program.write_text(PROGRAM)
    monkeypatch.setattr(children, "_SERVE", program)
    monkeypatch.setattr(children, "WARNING", 0.2)
    made: list[Child] = []

    def make(heard: Any = _ignore, **setup: Any) -> Child:
        made.append(Child(setup, heard))
        return made[-1]

    before = len(open_files())
    yield make
    for child in made:
        await child.leave(patience=0)
        assert child.is_alive is False
        assert child.pid == 0 or str(child.pid) not in os.listdir("/proc"), "it is reaped"
    await eventually(lambda: len(open_files()) == before)


async def started(child: Child) -> Child:
    await child.start(20)
    return child


async def answer(child: Child, what: str) -> str:
    async with asyncio.timeout(20):
        return (await child.run(what.encode())).decode()


async def test_a_child_has_its_own_session_and_nothing_on_stdin(make: Make) -> None:
    child = await started(make())
    assert await answer(child, "about itself") == "True b''"
    assert (child.calls, child.memory, child.is_ready) == (1, 7, True)


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("exit", "the child process exited with status 3"),
        ("SIGABRT", "the child process was killed by SIGABRT"),
        ("SIGKILL", "the child process was killed by SIGKILL, perhaps out of memory"),
    ],
)
async def test_a_call_whose_child_ends_says_how_and_so_does_one_that_comes_later(
    make: Make, what: str, how: str
) -> None:
    child = await started(make())
    for again in (what, "about itself"):
        with pytest.raises(ChildDied) as died:
            await answer(child, again)
        assert str(died.value) == how
    assert (child.was_ended, child.is_ready) == (False, False)


async def test_what_a_child_has_said_before_its_end_counts(make: Make) -> None:
    heard: list[Any] = []

    def hears(kind: int, fields: dict[str, Any]) -> None:
        heard.append((kind, fields))

    child = await started(make(hears))
    assert await answer(child, "answer and exit") == "last words"
    assert await child.died == "the child process exited with status 0"
    assert heard == [(13, {"said": 1})]


async def test_a_child_takes_with_it_what_it_has_started(make: Make, tmp_path: Path) -> None:
    child = await started(make(file=str(tmp_path / "pid")))
    with pytest.raises(ChildDied):
        await answer(child, "leave another")
    other = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    await eventually(lambda: not other.exists() or " Z " in other.read_text())


async def test_a_call_that_ends_when_it_is_asked_to_keeps_its_child(make: Make) -> None:
    child = await started(make())
    running = child.run(b"stops")
    child.kill("timeout")
    child.kill("shutdown")  # one is enough
    assert (await running).decode() == "2 timeout"
    assert (child.asked, child.was_ended) == ("timeout", False)
    await asyncio.sleep(0.3)  # longer than the warning
    assert child.is_alive
    running = child.run(b"spins")
    began = time.monotonic()
    child.kill("cancel")
    with pytest.raises(ChildDied, match="killed by SIGKILL"):
        await running
    assert time.monotonic() - began > 0.19
    assert (child.asked, child.was_ended) == ("cancel", True)


async def test_an_idle_child_that_is_to_leave_ends_by_itself(make: Make) -> None:
    child = await started(make())
    await child.leave()
    assert (await child.died, child.was_ended) == ("the child process exited with status 0", False)


@pytest.mark.parametrize(
    ("setup", "error", "says"),
    [
        ({"error": "no module app"}, InvalidOption, "no module app"),
        ({"never": True}, ChildDied, "a child process was not ready within 0.3 s; its imports may take longer"),
    ],
)
async def test_a_child_that_does_not_become_ready_is_ended(
    make: Make, setup: dict[str, Any], error: type[Exception], says: str
) -> None:
    child = make(**setup)
    with pytest.raises(error) as raised:
        await child.start(20 if "error" in setup else 0.3)
    assert (str(raised.value), child.is_alive, child.is_ready) == (says, False, False)


async def test_a_child_that_the_system_can_not_start_leaves_nothing_open(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise BlockingIOError("no room")

    before = len(open_files())
    monkeypatch.setattr(subprocess, "Popen", refuses)
    child = make()
    with pytest.raises(BlockingIOError):
        await child.start(1)
    child.died.set_result("it was never there")
    assert len(open_files()) == before
