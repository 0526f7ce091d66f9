"""Workers that run in child processes and ask for objects."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

from oban_sqla import Batch, Workflow, current_job, injected, job


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
