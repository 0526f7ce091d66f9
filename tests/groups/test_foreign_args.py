"""Jobs of a chunk that another program has written, with arguments that Python does not read."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Chunk, Hook, Job, Oban, job
from tests.runtime.helpers import execute, finished, insert
from tests.support import eventually

DEEP = '{"key":' * 5_000 + "1" + "}" * 5_000
LONG = f'{{"key": {"9" * 5_000}}}'


def is_read(args: str) -> bool:
    """Whether Python reads it. From 3.13 on it reads more levels than before."""
    try:
        json.loads(args)
    except (ValueError, RecursionError):
        return False
    return True


@job(name="foreign.together", queue="foreign", chunk=Chunk(size=5, timeout=0.1, by="args.key"), max_attempts=1)
async def together(jobs: list[Job]) -> None: ...


@job(name="foreign.after", queue="foreign")
async def after() -> None: ...


@pytest.mark.parametrize("args", [DEEP, LONG], ids=["deep", "long"])
@pytest.mark.parametrize("hooks", [(), (Hook(),)], ids=["alone", "with a hook"])
async def test_one_that_can_not_be_read_fails_alone_and_holds_up_no_other(
    engine: AsyncEngine, args: str, hooks: tuple[Hook, ...]
) -> None:
    row = f"('foreign.together', 'foreign', 1, '{args}')".replace(":", r"\:")
    into = "oban_jobs (worker, queue, max_attempts, args)"
    [(foreign,)] = await execute(engine, f"INSERT INTO {into} VALUES {row} RETURNING id")
    async with Oban(engine, queues={"foreign": 1}, hooks=hooks):
        await finished(engine, await insert(engine, together.new({"key": 1}), after.new()))

        ended = ("completed", False) if is_read(args) else ("discarded", True)

        async def has_ended() -> bool:
            [found] = await execute(engine, f"SELECT state::text, errors <> '[]' FROM oban_jobs WHERE id = {foreign}")
            return tuple(found) == ended

        await eventually(has_ended)
