"""Which child a call gets, and what becomes of the pool when children die, with children that only say that they are.

That real children die like these is in `test_children.py`; here it is about what takes several of them, in an order.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import pytest

from oban_sqla import InvalidOption, ObanError, Processes
from oban_sqla.errors import ChildDied
from oban_sqla.executors import pool as pools
from oban_sqla.executors.pool import Pool
from oban_sqla.runtime.verdict import Stop
from tests.support import eventually


class Told:
    """A child that does what the test says."""

    made: list[Told]
    refusals: list[Exception]
    """What the next starts raise."""
    gate: asyncio.Event
    """Starts wait for it."""

    def __init__(self, setup: Mapping[str, Any], heard: object) -> None:
        self.calls = self.memory = 0
        self.died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.was_ended = self.has_left = False
        self.asked = ""
        self.pid = 0
        self.made.append(self)

    @property
    def is_alive(self) -> bool:
        return not self.died.done()

    @property
    def is_ready(self) -> bool:
        return self.is_alive and bool(self.pid)

    async def start(self, timeout: float) -> None:
        opened = asyncio.ensure_future(self.gate.wait())
        await asyncio.wait((opened, self.died), return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if self.refusals:
            raise self.refusals.pop(0)
        if not self.is_alive:
            raise ChildDied(self.died.result())
        self.pid = len(self.made)

    async def leave(self, patience: float = 2.0) -> None:
        self.has_left = True
        self.die("it has left")

    def die(self, how: str = "it was killed") -> None:
        if not self.died.done():
            self.died.set_result(how)


def _ignore(_child: object, _kind: int, _fields: dict[str, Any]) -> None:
    pass


Make = Callable[..., Pool]


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Makes a pool of such children."""
    Told.made, Told.refusals, Told.gate = [], [], asyncio.Event()
    Told.gate.set()
    monkeypatch.setattr(pools, "Child", Told)
    monkeypatch.setattr(pools, "FIRST_PAUSE", 0.05)
    made: list[Pool] = []

    def make(size: int = 2, **options: Any) -> Pool:
        made.append(Pool(setup=dict, options=Processes(**options), size=size, heard=_ignore))
        return made[-1]

    yield make
    for pool in made:
        Told.gate.set()
        await pool.stop()


async def turns() -> None:
    """Let the tasks that are ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def taken(pool: Pool) -> Told:
    async with asyncio.timeout(5):
        return cast(Told, await pool.take())


def back(pool: Pool, child: Told) -> None:
    pool.give_back(cast(Any, child))


async def given_back_to_the_first_of_two(pool: Pool) -> tuple[Told, asyncio.Task[Told], asyncio.Task[Told]]:
    """The only child, which has just been given back, and the two calls that wait for it."""
    await pool.start()
    child = await taken(pool)
    first, second = asyncio.create_task(taken(pool)), asyncio.create_task(taken(pool))
    await turns()
    back(pool, child)
    return child, first, second


async def test_a_child_that_has_died_while_it_was_idle_is_given_to_no_call(make: Make) -> None:
    pool = make(size=1)
    await pool.start()
    [first] = Told.made
    first.die()  # and its pool has not heard of it yet
    second = await taken(pool)
    assert (second is first, second.is_alive) == (False, True)


async def test_a_call_that_is_cancelled_as_it_gets_its_child_leaves_it_to_the_next_one(make: Make) -> None:
    pool = make(size=1)
    child, left, next_one = await given_back_to_the_first_of_two(pool)
    left.cancel()
    assert await next_one is child
    gone = asyncio.create_task(taken(pool))
    await turns()
    gone.cancel()
    await turns()
    back(pool, child)  # nobody waits any more
    assert await taken(pool) is child


async def test_a_child_that_dies_as_a_call_gets_it_and_is_cancelled_is_given_to_no_other_call(make: Make) -> None:
    pool = make(size=1)
    child, left, next_one = await given_back_to_the_first_of_two(pool)
    child.die()
    left.cancel()
    assert await next_one is not child


async def test_no_more_children_are_started_than_may_be(make: Make) -> None:
    pool = make(size=2)
    await pool.start()
    calls = [asyncio.create_task(taken(pool)) for _ in range(5)]
    await eventually(lambda: sum(call.done() for call in calls) == 2)
    assert len(Told.made) == 2
    for call in calls[2:]:
        call.cancel()


async def test_deaths_in_a_row_make_the_next_start_wait_until_a_call_has_ended(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make(size=1)
    pauses: list[float] = []
    grow = pool._grow

    def noting() -> None:
        pauses.append(pool._pause())
        grow()

    monkeypatch.setattr(pool, "_grow", noting)
    await pool.start()
    for _ in range(3):
        (await taken(pool)).die()
        await turns()
    assert pauses == [0.0, 0.05, 0.1]
    began = time.monotonic()
    child = await taken(pool)
    assert time.monotonic() - began > 0.05
    back(pool, child)
    (await taken(pool)).die()
    await taken(pool)
    assert pauses[3:] == [0.0]
    monkeypatch.setattr(pools, "FIRST_PAUSE", 1.0)
    pool._deaths = 50
    assert pool._pause() == 30.0


async def test_a_child_that_is_given_back_dead_does_not_count_as_a_call_that_has_ended(make: Make) -> None:
    pool = make(size=1)
    await pool.start()
    for _ in range(3):
        child = await taken(pool)
        child.die()
        await turns()
        back(pool, child)
        assert child.is_alive is False
    assert pool._pause() > 0


async def test_a_pool_is_unwell_while_its_children_die_one_after_the_other(make: Make) -> None:
    pool = make(size=1)
    await pool.start()
    for number in range(3):
        Told.gate.clear()
        Told.made[-1].die()
        await turns()
        assert pool.is_well is (number < 2), "the next one is being started, and is not ready"
        Told.gate.set()
        await eventually(lambda: Told.made[-1].pid)
        assert pool.is_well


async def test_a_pool_is_well_while_a_child_lives(make: Make) -> None:
    pool = make(size=2)
    await pool.start()
    await taken(pool)
    for _ in range(3):
        (await taken(pool)).die()
        await turns()
    assert (pool._deaths, pool.is_well) == (3, True)


async def test_a_worn_child_is_replaced_before_it_leaves(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    pool = make(size=1, max_jobs=2, max_memory=100)
    await pool.start()
    old = await taken(pool)
    old.calls, old.memory = 1, 100
    back(pool, old)
    assert await taken(pool) is old
    old.calls = 2
    Told.gate.clear()
    back(pool, old)
    await turns()
    assert (len(Told.made), old.has_left, pool.pids) == (2, False, [])
    Told.gate.set()
    new = await taken(pool)
    assert new is Told.made[1]
    await eventually(lambda: old.has_left)
    await turns()
    assert (len(Told.made), pool._leaving, caplog.messages) == (2, set(), [])


async def test_a_pool_that_stops_ends_the_children_that_are_being_replaced_and_starts_no_others(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make(size=1, max_jobs=1)
    await pool.start()
    old = await taken(pool)
    old.calls = 1
    waits = asyncio.create_task(taken(pool))
    Told.gate.clear()
    back(pool, old)
    await turns()
    await pool.stop()
    assert [child.has_left for child in Told.made] == [True, True]
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert (len(Told.made), caplog.messages) == (2, [])


async def test_a_pool_that_stops_starts_no_child_in_the_place_of_one_that_dies_or_is_worn(make: Make) -> None:
    pool = make(size=1, max_jobs=1)
    await pool.start()
    child = await taken(pool)
    pool._stopping = True
    child.calls = 1
    back(pool, child)
    await turns()
    assert len(Told.made) == 1
    child.die()
    await turns()
    assert len(Told.made) == 1


@pytest.mark.parametrize(
    "refusal", [InvalidOption("no module app"), ChildDied("not ready in 30 s"), OSError("no room")]
)
async def test_a_child_that_can_not_start_is_tried_again_while_a_call_waits(
    make: Make, refusal: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make(size=1)
    await pool.start()
    (await taken(pool)).die()
    Told.refusals[:] = [refusal] * 2
    child = await taken(pool)
    assert (child.is_alive, len(Told.made)) == (True, 4)
    assert pool.pids == [4]
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said == [f"a child process could not start: {refusal}"] * 2
    assert pool._pause() > 0, "each of them is a death"


async def test_a_child_that_can_not_start_while_no_call_waits_is_tried_again_when_one_comes(make: Make) -> None:
    pool = make(size=1)
    await pool.start()
    Told.refusals.append(OSError("no room"))
    Told.made[0].die()
    await eventually(lambda: not Told.refusals)
    await turns()
    assert (await taken(pool)).is_alive


async def test_a_child_that_is_killed_while_it_starts_is_replaced_although_no_call_waits(make: Make) -> None:
    pool = make(size=1)
    await pool.start()
    Told.gate.clear()
    for _ in range(2):
        Told.made[-1].die()
        await turns()
    Told.gate.set()
    await eventually(lambda: pool.pids == [3])


async def test_a_first_child_that_can_not_start_fails_the_start_and_is_forgotten(make: Make) -> None:
    pool = make(size=1)
    Told.refusals.append(InvalidOption("no module app"))
    with pytest.raises(ObanError, match="no module app"):
        await pool.start()
    assert (pool.pids, pool._all) == ([], set())


async def test_a_child_that_its_node_has_killed_at_the_stop_of_a_queue_is_replaced_when_a_job_comes(make: Make) -> None:
    pool = make(size=1)
    await pool.start()
    child = await taken(pool)
    child.was_ended, child.asked = True, Stop.SHUTDOWN.value
    child.die()
    await turns()
    assert len(Told.made) == 1
    child = await taken(pool)
    waits = asyncio.create_task(taken(pool))
    await turns()
    child.was_ended, child.asked = True, Stop.SHUTDOWN.value
    child.die()
    assert await waits is Told.made[2], "a call waits already"
    waits.result().was_ended, waits.result().asked = True, Stop.TIMEOUT.value
    waits.result().die()
    await turns()
    assert len(Told.made) == 4, "what is killed for its time is replaced at once"
    assert pool._pause() == 0.0, "and is no death that counts"
