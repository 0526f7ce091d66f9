"""The server ends with its owner, however that dies, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.embedded.conftest import Owner, OwnerFactory
from tests.support import eventually

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def one(url: str) -> object:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return (await connection.execute(text("SELECT 1"))).scalar()
    finally:
        await engine.dispose()


def guard_of(owner: Owner) -> int:
    """The parent of the server's process."""
    return int(Path(f"/proc/{owner.postmaster}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, "leave"])
async def test_server_and_directory_go_with_the_owner(
    place: Path, owner: OwnerFactory, how: signal.Signals | str
) -> None:
    owned = owner().started()
    server = owned.postmaster
    assert await one(owned.url) == 1
    begin = time.monotonic()
    if isinstance(how, str):
        owned.tell(how)
    else:
        owned.process.send_signal(how)
    await eventually(lambda: not alive(server) and not list(place.iterdir()))
    # Promised is about a second; a loaded machine gets some more.
    assert time.monotonic() - begin < 5
    # The guard has not kept the owner's stdout open.
    assert owned.answers.read() == ""


async def test_server_of_kept_data_goes_with_the_owner(place: Path, owner: OwnerFactory) -> None:
    owned = owner(place / "data").started()
    server = owned.postmaster
    owned.process.send_signal(signal.SIGKILL)
    await eventually(lambda: not alive(server) and [path.name for path in place.iterdir()] == ["data"])
    assert not (place / "data" / "postmaster.pid").exists()


async def test_owner_killed_while_it_initialises_leaves_nothing(place: Path, owner: OwnerFactory) -> None:
    owned = owner()
    await eventually(lambda: list(place.glob("*/run/data/base")))
    owned.process.send_signal(signal.SIGKILL)
    await eventually(lambda: not list(place.iterdir()))


async def test_owner_killed_while_it_initialises_leaves_kept_data_empty(place: Path, owner: OwnerFactory) -> None:
    owned = owner(place / "data")
    await eventually(lambda: list(place.glob("data/base")))
    owned.process.send_signal(signal.SIGKILL)
    await eventually(lambda: [path.name for path in place.iterdir()] == ["data"])
    assert list((place / "data").iterdir()) == []


async def test_forked_child_of_the_owner_keeps_nothing_alive(place: Path, owner: OwnerFactory) -> None:
    owned = owner().started()
    child = owned.tell("fork")
    assert isinstance(child, int)
    try:
        owned.process.send_signal(signal.SIGKILL)
        await eventually(lambda: not list(place.iterdir()))
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


async def test_only_its_owner_stops_a_server_and_does_while_a_forked_child_lives(
    place: Path, owner: OwnerFactory
) -> None:
    owned = owner().started()
    child = owned.tell("fork")
    assert isinstance(child, int)
    try:
        assert await one(owned.url) == 1, "the child has called stop()"
        owned.tell("stop")
        assert not os.listdir(place)
    finally:
        os.kill(child, signal.SIGKILL)


async def test_interrupt_from_the_terminal_passes_the_server_by(owner: OwnerFactory) -> None:
    owned = owner().started()
    os.killpg(owned.process.pid, signal.SIGINT)  # what Ctrl-C does; the owner lives on
    assert await one(owned.url) == 1
    owned.tell("stop")


@LINUX
async def test_guard_ignores_signals_meant_for_its_owner(owner: OwnerFactory) -> None:
    owned = owner().started()
    guard = guard_of(owned)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guard, number)
    assert await one(owned.url) == 1
    assert alive(guard)


@LINUX
def test_guard_holds_nothing_but_its_pipes_and_the_lock(place: Path, owner: OwnerFactory) -> None:
    owned = owner(place / "data").started()
    guard = guard_of(owned)
    held = [os.readlink(entry) for entry in Path(f"/proc/{guard}/fd").iterdir()]
    pipes = [path for path in held if path.startswith("pipe:")]
    assert len(pipes) == 2
    assert sorted(set(held) - set(pipes)) == ["/dev/null", str(place / "data")]
    assert os.getsid(guard) == guard
    # The server has not inherited the lock.
    server = [os.readlink(entry) for entry in Path(f"/proc/{owned.postmaster}/fd").iterdir()]
    assert str(place / "data") not in server


@LINUX
def test_server_ended_by_another_program_is_cleaned_up_after(place: Path, owner: OwnerFactory) -> None:
    owned = owner().started()
    os.kill(owned.postmaster, signal.SIGQUIT)
    owned.tell("stop")
    assert list(place.iterdir()) == []
