"""What jobs in other processes ask for: each process makes its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Batch, InvalidOption, Oban, Processes, Resource, Workflow, injected, job
from tests.executors import jobs, resource_jobs
from tests.executors.patience import eventually, finished, until
from tests.executors.resource_jobs import Client, Scratch, make_client, make_scratch
from tests.runtime.helpers import execute, insert

ONE = Processes(size=1)


async def test_children_make_their_own_objects_keep_them_and_close_them(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("OBAN_TEST_RESOURCE_LOG", str(log))
    given: dict[Any, Any] = {Client: make_client, Scratch: Resource(make_scratch, scope="job")}
    async with Oban(engine, {"asking": 2}, resources=given, processes=ONE):
        # One after the other: the first has made what the second uses.
        for made in (resource_jobs.plainly.new(1), resource_jobs.in_loop.new(2)):
            [done] = await finished(engine, await insert(engine, made))
            pid, number, scratch = done.meta["return"]
            assert pid != os.getpid()
            assert number == 1, "the child has made one client, and keeps it"
            assert scratch == done.id, "a job's object knows its job"
    lines = log.read_text().splitlines()
    child = [line for line in lines if not line.startswith(f"{os.getpid()} ")]
    assert [line.partition(" ")[2] for line in child] == [
        "client opened", "scratch opened", "scratch closed", "scratch opened", "scratch closed", "client closed",
    ]  # fmt: skip


async def test_factory_that_a_child_can_not_import_ends_the_start(engine: AsyncEngine) -> None:
    def local() -> Client:
        return Client()

    given: dict[Any, Any] = {Client: local, Scratch: make_scratch}
    with pytest.raises(InvalidOption, match=r"client asks for .*Client, and runs in another process .* at the top of"):
        await Oban(engine, {"asking": 1}, resources=given, processes=ONE).start()


async def test_process_worker_that_asks_for_the_runtime_ends_the_start(engine: AsyncEngine) -> None:
    @job(name="children.asks_for_oban", executor="process", queue="asking.oban")
    def asks(oban: Oban, text: str = injected()) -> None: ...

    with pytest.raises(InvalidOption, match="oban asks for Oban, which lives in the node"):
        await Oban(engine, {"asking.oban": 1}, resources={str: str}, processes=ONE).start()


async def test_a_process_worker_gets_its_batch_and_its_workflow(engine: AsyncEngine) -> None:
    flow = Workflow("report", meta={"month": 7})
    node: Any = flow.add(resource_jobs.about_flow.new(), name="about")
    batch = Batch([resource_jobs.nothing.new()], name="mails", on_exhausted=resource_jobs.about_batch.new())
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([flow, batch])
    async with Oban(engine, {"asking.groups": 2}, processes=ONE):
        pid, *of_flow = (await finished(engine, [node.id]))[0].meta["return"]
        assert pid != os.getpid()
        assert of_flow == [flow.id, "report", {"month": 7}, "executing", ["about"]]
        callbacks = "SELECT id FROM oban_jobs WHERE meta ? 'callback'"
        [(callback,)] = await eventually(lambda: execute(engine, callbacks))
        pid, *of_batch = (await finished(engine, [callback]))[0].meta["return"]
        assert pid != os.getpid()
        assert of_batch == [batch.id, "mails", {"completed": 1}, True, ["completed"]]
        [outside] = await insert(engine, resource_jobs.about_batch.options(max_attempts=1).new())
        await until(engine, outside, "discarded")
    assert "neither in a batch nor the callback of one" in str(await execute(engine, "SELECT errors FROM oban_jobs"))


async def test_a_child_finds_the_sessionmaker_for_steps_appends_and_workflows(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBAN_TEST_CHILD_URL", engine.url.render_as_string(hide_password=False))
    flow = Workflow("in a child")
    several: Any = flow.add(resource_jobs.plans.new(2), name="several")
    none = flow.add(resource_jobs.plans.new(0), name="none")
    counts = flow.add(resource_jobs.counts_and_appends.new(), name="counts", after=[none])
    flow.returns(several)
    async with AsyncSession(engine) as session, session.begin():
        session.add(flow)
    # None of these workers asks for a session itself.
    async with Oban(engine, {"asking.flows": 2}, sessionmaker=jobs.Session, processes=ONE) as oban:
        assert await oban.result(flow, timeout=20) == 1
        assert await oban.result(counts, timeout=20) == 6
        [appended] = await execute(engine, "SELECT id FROM oban_jobs WHERE node_name = 'appended'")
        await finished(engine, [*appended])


async def test_process_worker_that_returns_a_workflow_needs_a_sessionmaker(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidOption, match=r"plans' returns a workflow, and a child process can't find"):
        await Oban(engine, {"asking.flows": 1}).start()
