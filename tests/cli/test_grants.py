"""``oban-sqla grants``: with what it prints, and nothing else, a role can do its work."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from oban_sqla import Batch, Job, JobSpec, Oban, ObanError, Unique, Workflow, enqueue, flow_of, job
from oban_sqla.cli import main
from oban_sqla.cli.problems import line
from tests.runtime.helpers import execute, insert, until


@job(name="grants.works", queue="granted")
async def works(session: AsyncSession) -> None:
    await session.execute(text("SELECT 1"))


@pytest.fixture
async def role(engine: AsyncEngine) -> AsyncIterator[str]:
    """A role without any privileges."""
    name = f"oban granted {os.urandom(4).hex()}"
    await execute(engine, f'CREATE ROLE "{name}"')
    yield name
    await execute(engine, f'DROP OWNED BY "{name}"')
    await execute(engine, f'DROP ROLE "{name}"')


@pytest.fixture
async def limited(engine: AsyncEngine, role: str) -> AsyncIterator[AsyncEngine]:
    """An engine whose connections have only the privileges of the role."""
    made = create_async_engine(engine.url, connect_args={"server_settings": {"role": role}})
    yield made
    await made.dispose()


async def granted(engine: AsyncEngine, *arguments: str) -> None:
    result = CliRunner().invoke(main, ["grants", *arguments], env={"OBAN_SCHEMA": ""})
    assert result.exit_code == 0, result.output
    for statement in result.stdout.splitlines():
        await execute(engine, statement)


async def test_a_node_works_with_what_is_granted(engine: AsyncEngine, limited: AsyncEngine, role: str) -> None:
    await granted(engine, role)
    async with Oban(limited, {"granted": 2}, sessionmaker=async_sessionmaker(limited)) as oban:
        [spec] = await oban.enqueue(works.new())
        assert spec.id is not None
        await until(engine, spec.id, "completed")
        await oban.pause_queue("granted")
        [waits] = await insert(limited, works.new())
        assert await oban.cancel(waits) == 1
        assert await oban.delete(waits) == 1
        await oban.crons.put("nightly", "@daily", works)
        assert (await oban.health()).ok


async def test_a_program_that_only_enqueues_can_do_that_and_no_more(
    engine: AsyncEngine, limited: AsyncEngine, role: str
) -> None:
    await granted(engine, role, "--enqueue-only")
    async with AsyncSession(limited) as session, session.begin():
        session.add(works.new())
        unique = [JobSpec("w", {"n": 1}, unique=Unique()) for _ in range(2)]
        await enqueue(session, unique)
        await enqueue(session, [JobSpec("w", schedule_in=60)])
    assert unique[0].id == unique[1].id
    assert await Oban(limited).enqueue(JobSpec("w"))
    flow, batch = Workflow("granted"), Batch([works.new()], on_completed=works.new())
    flow.add(works.new(), after=[flow.add(works.new(), name="first")])
    async with AsyncSession(limited, expire_on_commit=False) as session, session.begin():
        session.add_all([flow, batch])
    async with AsyncSession(limited, expire_on_commit=False) as session, session.begin():
        await enqueue(session, works.new(), batch=await session.get_one(Batch, batch.id))
        waiting = (await session.scalars(select(Job).where(Job.workflow_id == flow.id))).first()
        assert waiting is not None
        await flow_of(waiting).append(works.new(), name="appended", after=["first"], session=session)
    assert (await Oban(limited).signal(waiting, "go")) is True
    for refused in (delete(Job), update(Job).values(priority=1)):
        async with AsyncSession(limited) as session:
            with pytest.raises(ProgrammingError, match="permission denied"):
                await session.execute(refused.execution_options(synchronize_session=False))


async def test_without_them_nothing_can_be_enqueued(limited: AsyncEngine) -> None:
    async with AsyncSession(limited) as session:
        session.add(JobSpec("w"))
        with pytest.raises(ProgrammingError, match="permission denied") as refused:
            await session.flush()
    assert "as the owner of the tables run `oban-sqla grants ROLE | psql" in refused.value.__notes__[0]


async def test_a_node_without_them_names_the_command(engine: AsyncEngine, limited: AsyncEngine, role: str) -> None:
    said = r"no right to use the tables of the jobs: .*permission denied for table {}; .* `oban-sqla grants .* \| psql"
    with pytest.raises(ObanError, match=said.format("oban_schema")):
        await Oban(limited, {"granted": 2}).start()
    await granted(engine, role, "--enqueue-only")
    with pytest.raises(ObanError, match=said.format("oban_queues")):
        await Oban(limited, {"granted": 2}).start()
    with pytest.raises(ProgrammingError) as refused:
        await Oban(limited).pause_queue("granted")
    assert "permission denied for table oban_" in line(refused.value)
    assert "as the owner of the tables run `oban-sqla grants ROLE" in line(refused.value)


def test_the_names_of_roles_and_schemas_are_quoted() -> None:
    said = CliRunner().invoke(main, ["grants", 'we"b', "--enqueue-only", "--schema", "Jobs"]).stdout.splitlines()
    assert said[0] == 'GRANT USAGE ON SCHEMA "Jobs" TO "we""b";'
    assert 'GRANT SELECT, INSERT ON "Jobs"."oban_jobs" TO "we""b";' in said


def test_a_blank_role_is_refused() -> None:
    result = CliRunner().invoke(main, ["grants", " "])
    assert (result.exit_code, result.stderr) == (1, "Error: the name of the role is blank\n")
