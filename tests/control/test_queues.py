"""Queues are paused, scaled, started and stopped by rows: at once where signals travel, with the poll where not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import FrozenInstanceError

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import InvalidOption, Oban, Queue, QueueInfo
from oban_sqla.runtime import control
from oban_sqla.runtime.control import Control
from oban_sqla.runtime.lanes.failure import connecting_failed
from tests.control import jobs
from tests.control.conftest import Place, with_psycopg
from tests.control.jobs import noop, waits
from tests.runtime.helpers import execute, finished, insert, load, until, wake
from tests.support import eventually

SOON = 1.5
"""Seconds."""


@pytest.fixture(autouse=True)
def _fresh() -> None:
    jobs.reset()


def info(oban: Oban, queue: str = "default") -> QueueInfo:
    found = oban.check_queue(queue)
    assert found is not None
    return found


@with_psycopg
async def test_a_paused_queue_fetches_nothing_and_a_resumed_one_goes_on(place: Place) -> None:
    async with place.node() as oban:
        await place.operator.pause_queue("default")
        await eventually(lambda: info(oban).paused, SOON)
        [job_id] = await insert(place.engine, noop.new())
        wake(oban, "default")
        assert (await until(place.engine, job_id, "available")).attempt == 0
        await place.operator.resume_queue("default")
        await finished(place.engine, [job_id])


@pytest.mark.parametrize("ask", ["pause", "suspend"])
async def test_a_committed_change_is_done_later_where_the_connection_of_the_node_is_lost(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    look, caller = Control.look, asyncio.current_task()
    lost = asyncio.Event()

    async def lost_for_the_caller(self: Control) -> None:
        if asyncio.current_task() is caller:
            lost.set()
            raise connecting_failed("upkeep", ConnectionResetError("lost"))
        await look(self)

    async with Oban(engine, queues={"default": 1}, notify="off") as oban:
        monkeypatch.setattr(Control, "look", lost_for_the_caller)
        await (oban.pause_queue("default") if ask == "pause" else oban.limiter("default").suspend(60))
        assert lost.is_set()
        if ask == "pause":
            await eventually(lambda: info(oban).paused, SOON)


async def test_what_runs_goes_on_when_a_full_queue_is_paused(place: Place) -> None:
    async with place.node(queues={"default": 2}) as oban:
        ids = await insert(place.engine, *(waits.new() for _ in range(4)))
        wake(oban, "default")
        await eventually(lambda: jobs.events == ["started"] * 2)
        await oban.pause_queue("default")
        assert len(info(oban).running) == 2
        jobs.gate.set()
        await eventually(lambda: jobs.events.count("ended") == 2)
        assert jobs.events.count("started") == 2, "nothing more was fetched"
        await oban.resume_queue("default")
        await finished(place.engine, ids)


async def test_scaling_up_starts_more_and_scaling_down_lets_the_surplus_end(place: Place) -> None:
    async with place.node(queues={"default": 1}) as oban:
        ids = await insert(place.engine, *(waits.new() for _ in range(6)))
        wake(oban, "default")
        await eventually(lambda: len(info(oban).running) == 1)
        await place.operator.scale_queue("default", limit=4)
        await eventually(lambda: len(info(oban).running) == 4, SOON)
        await oban.scale_queue("default", limit=2)
        assert (info(oban).limit, len(info(oban).running)) == (2, 4), "what runs goes on"
        jobs.gate.set()
        await finished(place.engine, ids)
    assert [(await load(place.engine, job_id)).attempt for job_id in ids] == [1] * 6


@with_psycopg
async def test_a_queue_starts_where_it_was_not_configured_and_stops_again(place: Place) -> None:
    async with place.node() as oban:
        await place.operator.start_queue("late", limit=3)
        await eventually(lambda: "late" in {queue.queue for queue in oban.check_queues()}, SOON)
        assert info(oban, "late").limit == 3
        [job_id] = await insert(place.engine, noop.options(queue="late").new())
        wake(oban, "late")
        await finished(place.engine, [job_id])
        rows = await execute(place.engine, "SELECT queue FROM oban_producers ORDER BY 1")
        assert rows == [("default",), ("late",)]
        await oban.stop_queue("late")
        await eventually(lambda: oban.check_queue("late") is None)

        async def only_default_is_alive() -> bool:
            return bool(await execute(place.engine, "SELECT queue FROM oban_producers") == [("default",)])

        await eventually(only_default_is_alive)


async def test_a_stopping_queue_gives_its_jobs_the_grace_and_then_gives_them_back(place: Place) -> None:
    async with place.node() as oban:
        [job_id] = await insert(place.engine, waits.new())
        wake(oban, "default")
        await eventually(lambda: jobs.events == ["started"])
        await oban.stop_queue("default")
        back = await until(place.engine, job_id, "available")
        assert back.attempt == 0, "the attempt is given back"
        assert jobs.events == ["started", "cancelled"]
        await eventually(lambda: oban.check_queue("default") is None)
        jobs.gate.set()
        await oban.start_queue("default")
        assert info(oban).limit == 10, "as it was configured"
        await finished(place.engine, [job_id])


async def test_a_queue_that_is_started_while_it_ends_goes_on_afterwards(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 1}, shutdown_grace=0.3) as oban:
        before = info(oban).uuid
        [job_id] = await insert(engine, waits.new())
        await eventually(lambda: jobs.events == ["started"])
        await oban.stop_queue("default")
        await oban.start_queue("default")
        jobs.gate.set()
        await finished(engine, [job_id])
        await eventually(lambda: (found := oban.check_queue("default")) is not None and found.uuid != before)


async def test_the_end_of_a_node_does_not_wait_twice_for_a_queue_that_ends(engine: AsyncEngine) -> None:
    oban = Oban(engine, {"default": 1}, shutdown_grace=0.2)
    await oban.start()
    [job_id] = await insert(engine, waits.new())
    await eventually(lambda: jobs.events == ["started"])
    await oban.stop_queue("default")
    assert await oban.stop() == []
    assert (await load(engine, job_id)).state == "available"
    assert await execute(engine, "SELECT 1 FROM oban_producers") == []


async def test_what_was_asked_survives_a_restart(place: Place) -> None:
    async with place.node(queues={"default": 10, "media": 5}) as oban:
        await oban.pause_queue("default")
        await oban.scale_queue("media", limit=2)
        await oban.start_queue("late", limit=3)
    async with place.node(queues={"default": 10, "media": 5}) as oban:
        now = {queue.queue: (queue.limit, queue.paused) for queue in oban.check_queues()}
        assert now == {"default": (10, True), "media": (2, False), "late": (3, False)}
        await oban.stop_queue("media")
    async with place.node(queues={"default": 10, "media": 5}) as oban:
        assert oban.check_queue("media") is None, "a stopped queue stays so, although it is configured"


async def test_what_is_asked_of_one_node_overrides_what_was_asked_of_all(place: Place) -> None:
    async with place.node("a") as a, place.node("b") as b:
        await place.operator.pause_queue("default")
        await place.operator.scale_queue("default", limit=4)
        await place.operator.resume_queue("default", node="a")
        await place.operator.scale_queue("default", limit=8, node="a")
        await eventually(lambda: (info(a).limit, info(a).paused) == (8, False), SOON)
        await eventually(lambda: (info(b).limit, info(b).paused) == (4, True), SOON)


async def test_what_is_asked_of_all_replaces_what_was_asked_of_one_before(place: Place) -> None:
    async with place.node("a") as a:
        await place.operator.resume_queue("default", node="a")
        await place.operator.scale_queue("default", limit=8, node="a")
        await place.operator.pause_queue("default")
        await eventually(lambda: (info(a).limit, info(a).paused) == (8, True), SOON)


async def test_all_queues_are_paused_and_resumed_at_once(place: Place) -> None:
    async with (
        place.node("a", queues={"media": 5, "late": 2}) as a,
        place.node("b") as b,
        place.node(name="other") as c,
    ):
        await place.operator.resume_queue("late", node="a")
        assert await place.operator.pause_all_queues() == ["default", "late", "media"]
        await eventually(lambda: [info(a, queue).paused for queue in ("media", "late")] == [True, True], SOON)
        await eventually(lambda: info(b).paused, SOON)
        assert await a.resume_all_queues(node="a") == ["default", "late", "media"]
        assert [info(a, queue).paused for queue in ("media", "late")] == [False, False]
        assert (info(b).paused, info(c).paused) == (True, False), "another node's, and another instance's"
        with pytest.raises(InvalidOption, match="unknown node 'aa': did you mean 'a'\\?"):
            await place.operator.pause_all_queues(node="aa")


async def test_instances_do_not_share_their_queues_states(place: Place) -> None:
    async with place.node() as one, place.node("there", name="other") as other:
        await one.pause_queue("default")
        await other.scale_queue("default", limit=3)
        assert (info(one).limit, info(one).paused) == (10, True)
        assert (info(other).limit, info(other).paused) == (3, False)


async def test_a_queue_is_described_by_a_frozen_object(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": Queue(limit=2, paused=True)}, node="here") as oban:
        found = info(oban)
        assert (found.queue, found.node, found.limit, found.paused, found.running) == ("default", "here", 2, True, ())
        assert found.started_at.tzinfo is not None
        assert await execute(engine, "SELECT uuid FROM oban_producers") == [(found.uuid,)]
        assert oban.check_queues() == [found]
        with pytest.raises(FrozenInstanceError):
            found.limit = 3  # type: ignore[misc]
    assert oban.check_queue("default") is None
    assert oban.check_queues() == []


BAD: list[tuple[Callable[[Oban], Awaitable[object]], str]] = [
    (lambda oban: oban.pause_queue("defualt"), "unknown queue 'defualt': did you mean 'default'"),
    (lambda oban: oban.resume_queue("nope"), "unknown queue 'nope': there are: default"),
    (lambda oban: oban.stop_queue(""), "queue: expected a name"),
    (lambda oban: oban.pause_queue("default", node="heer"), "unknown node 'heer': did you mean 'here'"),
    (lambda oban: oban.scale_queue("default", limit=0), "1 to 10,000, got 0"),
    (lambda oban: oban.scale_queue("default", limit=True), "1 to 10,000, got True"),
    (lambda oban: oban.scale_queue("defualt", limit=5), "did you mean 'default'"),
    (lambda oban: oban.start_queue("new"), "'new'.*needs a limit"),
    (lambda oban: oban.start_queue("new", limit=-1), "1 to 10,000, got -1"),
]


async def test_where_there_are_no_queues_it_says_so(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidOption, match="unknown queue 'nope': no node runs one, and no job waits in it"):
        await Oban(engine).pause_queue("nope")


@pytest.mark.parametrize(("call", "message"), BAD)
async def test_bad_input_is_said(engine: AsyncEngine, call: Callable[[Oban], Awaitable[object]], message: str) -> None:
    async with Oban(engine, {"default": 1}, node="here") as oban:
        with pytest.raises(InvalidOption, match=message):
            await call(oban)
        with pytest.raises(InvalidOption, match="did you mean 'default'"):
            oban.check_queue("defualt")
        with pytest.raises(InvalidOption, match="queue: expected a name, got 5"):
            oban.check_queue(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert await execute(engine, "SELECT 1 FROM oban_queues") == [], "nothing was written"


async def test_a_queue_is_paused_before_the_first_node_comes(engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, noop.options(queue="early").new())
    await Oban(engine).pause_queue("early")
    async with Oban(engine, {"early": 1}) as oban:
        assert info(oban, "early").paused
        await oban.resume_queue("early")
        await until(engine, job_id, "completed")


async def test_an_invalid_row_of_another_program_changes_nothing(engine: AsyncEngine) -> None:
    sql = "INSERT INTO oban_queues (name, queue, local_limit) VALUES ('Oban', 'default', -5), ('Oban', 'x', 0)"
    await execute(engine, sql)
    async with Oban(engine, {"default": 3}) as oban:
        assert info(oban).limit == 3
        assert oban.check_queue("x") is None


@pytest.mark.parametrize(
    "limits",
    [
        "[]",
        '{"global_limit": -1}',
        pytest.param('{"global_limit": ' + "9" * 5_000 + "}", id="more digits than Python reads"),
        pytest.param('{"partition": ' + "[" * 3_000 + "]" * 3_000 + "}", id="more levels than Python reads"),
    ],
)
async def test_limits_of_another_program_that_are_not_valid_change_nothing(engine: AsyncEngine, limits: str) -> None:
    await execute(engine, f"INSERT INTO oban_queues (name, queue, limits) VALUES ('Oban', 'default', '{limits}')")
    async with Oban(engine, {"default": 3}) as oban:
        assert info(oban).limit == 3
        [job_id] = await insert(engine, noop.new())
        await until(engine, job_id, "completed")
    with pytest.raises(InvalidOption, match="has no rate_limit"):
        await Oban(engine).limiter("default").available()


@pytest.mark.parametrize(("polls", "unheard"), [(0.05, 300.0), (300.0, 0.05)])
async def test_an_idle_node_that_does_not_listen_looks_when_it_polls_and_after_a_second_at_most(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, polls: float, unheard: float
) -> None:
    assert control.LOOK_UNHEARD_EVERY == 1.0
    monkeypatch.setattr(control, "LOOK_EVERY", 300.0)
    monkeypatch.setattr(control, "LOOK_UNHEARD_EVERY", unheard)
    operator = Oban(engine, node="operator", notify="off")
    async with Oban(engine, {"default": 3}, notify="off", poll_interval=polls) as oban:
        await operator.pause_queue("default")
        await eventually(lambda: info(oban).paused)
        await operator.resume_queue("default")
        await eventually(lambda: not info(oban).paused)
