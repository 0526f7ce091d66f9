"""A node's heartbeat: rows, and locks that its listening connection holds."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Heartbeat, InvalidOption, Oban, job
from oban_sqla.runtime import notifier
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.statements.cluster import lock_key
from tests.cluster.helpers import LOCKED, QUICK
from tests.runtime.helpers import execute, insert, until
from tests.support import eventually


def test_the_key_of_a_lock_is_the_first_half_of_the_uuid() -> None:
    assert lock_key(UUID("00000000-0000-0001-ffff-ffffffffffff")) == 1
    assert lock_key(UUID("ffffffff-ffff-ffff-0000-000000000000")) == -1
    assert lock_key(UUID("80000000-0000-0000-0000-000000000000")) == -(2**63)


async def test_each_producer_has_a_row_and_a_lock_on_one_connection(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"a": 1, "b": 2}, node="here"):
        rows = await execute(any_engine, "SELECT queue, node, meta FROM oban_producers ORDER BY queue")
        assert [(queue, node, meta["locked"], meta["stale_after"]) for queue, node, meta in rows] == [
            ("a", "here", True, 15.0),
            ("b", "here", True, 15.0),
        ]
        locked = await execute(any_engine, LOCKED)
        assert [row.queue for row in locked] == ["a", "b"]
        assert len({row.pid for row in locked}) == 1


async def test_what_changed_is_told_while_the_connection_with_the_locks_is_in_use(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"a": 1}) as oban:
        assert oban._node is not None
        listening = oban._node.connections.listening
        async with listening._lock:  # as psycopg has it for up to a second while it waits for notifications
            await oban.pause_queue("a")

            async def is_told() -> bool:
                return await execute(any_engine, "SELECT meta->>'paused' FROM oban_producers") == [("true",)]

            await eventually(is_told)


async def test_heartbeats_that_go_on_without_their_locks_leave_one_task_that_waits_for_them(
    engine: AsyncEngine,
) -> None:
    async with Oban(engine, queues={"a": 1}, heartbeat=Heartbeat(interval=0.05, stale_after=0.2)) as oban:
        assert oban._node is not None
        listening = oban._node.connections.listening
        async with listening._lock:  # as on a line that is too slow to connect
            oban._node.liveness._locked.clear()
            beats: set[Any] = set()

            async def go_on() -> bool:
                beats.update(
                    await execute(engine, "SELECT updated_at FROM oban_producers WHERE meta @> '{\"locked\": false}'")
                )
                return len(beats) > 5

            await eventually(go_on)
            assert len(listening._under_way) == 1


async def test_a_stopped_node_leaves_no_lock(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"a": 1}) as oban:
        assert oban._node is not None
        [[_, pid]] = await execute(engine, LOCKED)

    async def free() -> bool:
        return await execute(engine, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = :pid", pid=pid) == []

    await eventually(free)


async def test_a_queue_that_was_stopped_leaves_no_lock_on_a_node_that_goes_on(
    any_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "PSYCOPG_SLICE", 0.05)
    async with Oban(any_engine, queues={"a": 1}, **QUICK) as oban:
        [[_, pid]] = await execute(any_engine, LOCKED)

        async def are_locked(count: int) -> bool:
            locks = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = :pid"
            return len(await execute(any_engine, locks, pid=pid)) == count

        await oban.start_queue("b", limit=1)
        assert await are_locked(2)
        await oban.stop_queue("b")
        await eventually(lambda: are_locked(1))


async def test_locks_come_back_with_the_connection(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"a": 1}):
        [[_, pid]] = await execute(any_engine, LOCKED)
        await execute(any_engine, f"SELECT pg_terminate_backend({pid})")

        async def again() -> bool:
            rows = await execute(any_engine, LOCKED)
            return len(rows) == 1 and rows[0].pid != pid

        await eventually(again)


async def test_a_connection_that_the_server_still_believes_in_is_not_waited_for(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"a": 1}) as oban:
        assert oban._node is not None
        [[_, pid]] = await execute(engine, LOCKED)
        key = lock_key(oban._node.producers["a"].uuid)
        async with engine.connect() as stale:  # as the old connection of a node that was cut off
            await stale.exec_driver_sql(f"SELECT pg_advisory_lock_shared({key})")
            await execute(engine, f"SELECT pg_terminate_backend({pid})")

            async def two() -> bool:
                rows = await execute(engine, LOCKED)
                return len(rows) == 2 and pid not in {row.pid for row in rows}

            await eventually(two)


async def test_the_listening_connection_is_noticed_when_its_node_is_cut_off(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    run = Lane.run

    async def spy(lane: Lane, statement: Any, /, **parameters: Any) -> Any:
        rows = await run(lane, statement, **parameters)
        if statement.name == "claim":
            said.extend(tuple(row)[2:] for row in rows)
        return rows

    monkeypatch.setattr(Lane, "run", spy)
    async with Oban(engine, queues={"a": 1}):
        [[address]] = await execute(engine, "SELECT inet_server_addr()")
        assert said == [("0", "0", "0") if address is None else ("10", "5", "3")], "sockets of a machine have none"


@job(queue="a")
def sleeps(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_thread_that_outlasts_its_runtime_keeps_its_job(engine: AsyncEngine) -> None:
    """R12: nobody else may run the job while the thread does; when it ends, its outcome counts."""
    async with Oban(engine, **QUICK):
        oban = Oban(engine, queues={"a": 1}, shutdown_grace=0.0, **QUICK)
        await oban.start()
        [job_id] = await insert(engine, sleeps.new(5.0))
        await until(engine, job_id, "executing")
        assert await oban.stop() == [job_id]
        outlasted = await until(engine, job_id, "completed")
    assert (outlasted.attempt, outlasted.errors, outlasted.meta) == (1, [], {})
    await eventually(lambda: _nobody(engine))


async def _nobody(engine: AsyncEngine) -> bool:
    return await execute(engine, "SELECT 1 FROM oban_producers") == []


async def test_a_beat_inserts_what_is_missing_under_the_same_uuid(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"a": 1, "b": 1}, heartbeat=Heartbeat(interval=0.05)):
        before = await execute(engine, "SELECT uuid FROM oban_producers ORDER BY uuid")
        assert len(before) == 2
        await execute(engine, "TRUNCATE oban_producers")

        async def back() -> bool:
            return await execute(engine, "SELECT uuid FROM oban_producers ORDER BY uuid") == before

        await eventually(back)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stale_after": 0}, "stale_after"),
        ({"dead_after": "never"}, "dead_after"),
        ({"interval": 10.0}, "stale_after must be at least twice the interval .20 s."),
        ({"dead_after": 9.0}, "dead_after must be at least twice the interval .10 s."),
    ],
)
def test_a_heartbeat_that_would_kill_the_living_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        Heartbeat(**options)
