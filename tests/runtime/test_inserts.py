"""``oban.enqueue``: jobs in a transaction of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from datetime import timedelta

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import InvalidOption, JobSpec, Oban, ObanError, Unique, job, later
from tests.runtime.helpers import execute, finished, load, until


@job
async def noop(number: int = 0) -> None: ...


async def test_it_runs_with_and_without_a_started_runtime(any_engine: AsyncEngine) -> None:
    oban = Oban(any_engine, queues={"default": 10})
    [before] = await oban.enqueue(noop.new(1))
    async with oban:
        first, second = await oban.enqueue(noop.new(2), noop.new(3))
        written = await oban.enqueue([noop.new(number) for number in range(20)])
        ids = [spec.id for spec in (before, first, second, *written)]
        assert ids == sorted(ids)  # type: ignore[type-var]
        jobs = await finished(any_engine, ids)  # type: ignore[arg-type]
    assert [job.args["number"] for job in jobs] == [1, 2, 3, *range(20)]


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("kind", [list, tuple, iter])
async def test_specs_beside_a_list_of_specs_are_written_too(
    engine: AsyncEngine, kind: Callable[[list[JobSpec]], Iterable[JobSpec]], started: bool
) -> None:
    oban = Oban(engine)
    async with oban if started else nullcontext():
        given = [noop.new(1), noop.new(2)]
        written = await oban.enqueue(kind(given), noop.new(3))
        assert [spec.args["number"] for spec in written] == [1, 2, 3]
        assert all([await load(engine, spec.id) for spec in written if spec.id])
        assert len(given) == 2
        with pytest.raises(InvalidOption, match="expected JobSpec objects, got 'x'"):
            await oban.enqueue([noop.new(4)], "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_the_list_that_was_given_stays_the_callers(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban:
        given = [noop.new(1)]
        written = await oban.enqueue(given)
        assert written == given
        assert written is not given


async def test_it_opens_no_transaction_of_the_engine(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban:
        statements: list[str] = []
        event.listen(engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        [spec] = await oban.enqueue(noop.options(schedule_in=timedelta(hours=1)).new())
        assert statements == []
        assert (spec.state, spec.conflict) == ("scheduled", False)
        assert spec.id is not None
        assert (await load(engine, spec.id)).state == "scheduled"


async def test_those_that_come_at_once_share_a_statement(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban:
        await oban.enqueue(noop.new())
        lane = oban._node.inserts.lane  # type: ignore[union-attr]
        sent = 0
        run = lane.run_unshielded

        async def counted(*args: object, **kwargs: object) -> object:
            nonlocal sent
            sent += 1
            return await run(*args, **kwargs)  # type: ignore[arg-type]

        lane.run_unshielded = counted  # type: ignore[method-assign]
        specs = [noop.new(number) for number in range(100)]
        await asyncio.gather(*(oban.enqueue(spec) for spec in specs))
        assert sent <= 2
        assert len({spec.id for spec in specs}) == 100


async def test_a_job_that_the_database_refuses_is_its_callers_alone(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban:
        bad = JobSpec("refused", {})
        bad.args_json = "{no json"  # as no spec can be made
        results = await asyncio.gather(
            oban.enqueue(noop.new(1)), oban.enqueue(bad), oban.enqueue(noop.new(2)), return_exceptions=True
        )
        assert isinstance(results[1], ObanError)
        assert "none was written" in str(results[1])
        assert [row.worker for row in await execute(engine, "SELECT worker FROM oban_jobs")] == [noop.worker_name] * 2


async def test_unique_jobs_and_later_arguments_go_the_usual_way(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"elsewhere": 1}) as oban:
        unique = noop.options(unique=Unique())
        [first] = await oban.enqueue(unique.new(1))
        [second] = await oban.enqueue(unique.new(1))
        assert (second.id, second.conflict) == (first.id, True)
        [filled] = await oban.enqueue(noop.new(later(lambda: 7)))
        assert filled.id is not None
        assert (await load(engine, filled.id)).args == {"number": 7}


async def test_a_spec_that_is_pending_in_a_session_is_not_written_twice(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban, AsyncSession(engine) as session:
        spec = noop.new()
        session.add(spec)
        with pytest.raises(InvalidOption, match="another session"):
            await oban.enqueue(spec)
        await session.commit()
        assert [row.id for row in await execute(engine, "SELECT id FROM oban_jobs")] == [spec.id]


async def test_stopping_waits_for_jobs_that_are_being_written(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    await oban.start()
    pending = [asyncio.create_task(oban.enqueue(noop.new(number))) for number in range(50)]
    await asyncio.sleep(0)
    await oban.stop()
    await asyncio.gather(*pending)
    async with Oban(engine, queues={"default": 10}):
        for [spec] in [task.result() for task in pending]:
            assert spec.id is not None
            await until(engine, spec.id, "completed")


async def test_a_caller_that_is_cancelled_leaves_and_its_job_is_written(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 1}) as oban:
        spec = noop.new(1)
        waiting = asyncio.create_task(oban.enqueue(spec))
        await asyncio.sleep(0)  # it has asked
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        [other] = await oban.enqueue(noop.new(2))
        assert spec.id is not None, "what comes later is written later"
        await finished(engine, [spec.id, other.id])  # type: ignore[list-item]


async def test_an_error_of_the_runtime_is_its_callers_and_holds_up_no_other(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.runtime.inserts.LARGEST_BATCH", 1)
    async with Oban(engine) as oban:
        inserts = oban._node.inserts  # type: ignore[union-attr]
        told = inserts._written
        broken = [True]

        def written(specs: Sequence[JobSpec]) -> None:
            if broken:
                broken.clear()
                raise ValueError("broken")
            told(specs)

        monkeypatch.setattr(inserts, "_written", written)
        results = await asyncio.gather(oban.enqueue(noop.new(1)), oban.enqueue(noop.new(2)), return_exceptions=True)
        assert isinstance(results[0], ValueError)
        assert isinstance(results[1], list)
