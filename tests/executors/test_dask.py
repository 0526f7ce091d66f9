"""Jobs on a Dask cluster of two real processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import InvalidOption, Oban
from tests.executors import dask_jobs as jobs
from tests.executors.patience import finished, until
from tests.runtime.helpers import insert

# Dask's own processes and sockets are closed when it likes.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def executor(given: Any) -> Any:
    from oban_sqla.dask import DaskExecutor  # takes a second, which only the process that runs these tests is to spend

    return DaskExecutor(given)


def started(failures: int, workers: int) -> Any:
    import dask as typed_in_part
    import distributed as typed_in_part_too

    dask: Any = typed_in_part
    distributed: Any = typed_in_part_too
    settings = {"distributed.scheduler.allowed-failures": failures, "distributed.worker.daemon": True}
    with dask.config.set(settings):
        return distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1"
        )


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    cluster = started(0, workers=2)
    yield cluster.scheduler_address
    cluster.close()


async def test_jobs_run_on_the_cluster(engine: AsyncEngine, scheduler: str) -> None:
    async with Oban(engine, queues={"dask": 5}, executors={"dask": executor(scheduler)}):
        ids = await insert(engine, *(jobs.triple.new(n) for n in range(8)), jobs.refuse.new())
        done = await finished(engine, ids[:-1])
        assert [job.meta["return"][0] for job in done] == [3 * n for n in range(8)]
        assert os.getpid() not in {job.meta["return"][1] for job in done}
        assert "ValueError: no" in (await until(engine, ids[-1], "retryable")).errors[0]["error"]


async def test_the_job_of_a_lost_worker_is_a_failed_attempt_and_the_others_complete(
    engine: AsyncEngine, scheduler: str
) -> None:
    async with Oban(engine, queues={"dask": 5}, executors={"dask": executor(scheduler)}):
        [lost, *others] = await insert(engine, jobs.leave.new(), *(jobs.triple.new(n) for n in range(8)))
        job = await until(engine, lost, "retryable")
        assert job.attempt == 1
        assert "the Dask worker that ran the job was lost" in job.errors[0]["error"]
        await finished(engine, others)


async def test_a_scheduler_that_reruns_lost_calls_is_refused_at_the_start(engine: AsyncEngine) -> None:
    cluster = started(3, workers=0)
    try:
        with pytest.raises(InvalidOption, match="allowed-failures = 3"):
            await Oban(engine, executors={"dask": executor(cluster.scheduler_address)}).start()
    finally:
        cluster.close()


def test_what_is_not_a_client_is_refused() -> None:
    with pytest.raises(InvalidOption, match=r"expected a distributed\.Client or an address"):
        executor(7)
