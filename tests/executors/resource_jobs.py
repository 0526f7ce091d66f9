"""Workers that run in child processes and ask for objects."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from oban_sqla import Batch, Workflow, current_job, flow_of, injected, job
from oban_sqla.durable import step


class Client:
    made = 0


class Scratch:
    def __init__(self, job_id: int) -> None:
        self.job_id = job_id


@asynccontextmanager
async def make_client() -> AsyncGenerator[Client]:
    Client.made += 1
    log("client opened")
    yield Client()
    log("client closed")


def make_scratch() -> Generator[Scratch]:
    log("scratch opened")
    yield Scratch(current_job().id)
    log("scratch closed")


def log(text: str) -> None:
    if path := os.environ.get("OBAN_TEST_RESOURCE_LOG"):
        with Path(path).open("a") as file:
            file.write(f"{os.getpid()} {text}\n")


@job(executor="process", queue="asking", recorded=True)
def plainly(number: int, client: Client = injected(), scratch: Scratch = injected()) -> list[int]:
    return [os.getpid(), client.made, scratch.job_id]


@job(executor="process", queue="asking", recorded=True)
async def in_loop(number: int, client: Client = injected(), scratch: Scratch = injected()) -> list[int]:
    return [os.getpid(), client.made, scratch.job_id]


@job(executor="process", queue="asking.groups", recorded=True)
def about_batch(batch: Batch) -> list[object]:
    finished = batch.finished_at
    states = [str(one.state) for one in batch.jobs]
    return [
        os.getpid(),
        batch.id,
        batch.name,
        batch.counts,
        finished is not None and finished.tzinfo is not None,
        states,
    ]


@job(executor="process", queue="asking.groups", recorded=True)
async def about_flow(flow: Workflow) -> list[object]:
    return [os.getpid(), flow.id, flow.name, flow.meta, flow.state, [one.node_name for one in flow.jobs]]


@job(queue="asking.groups")
async def nothing() -> None: ...


async def count_rows(session: AsyncSession) -> int:
    return int(await session.scalar(text("SELECT count(*) FROM oban_jobs")) or 0)


@job(executor="process", queue="asking.flows", recorded=True)
async def counts_and_appends() -> int:
    await flow_of(current_job()).append(answers.new(1), name="appended")
    return await step("count", count_rows)


@job(executor="process", queue="asking.flows")
def plans(number: int) -> Workflow:
    flow = Workflow("planned")
    nodes = [flow.add(answers.new(n), name=f"answer {n}") for n in range(number)]
    if nodes:
        flow.returns(nodes[-1])
    return flow


@job(queue="asking.flows")
async def answers(number: int) -> int:
    return number
