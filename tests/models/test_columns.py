"""The columns of a job are listed in one place, from which everything else is derived."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine

import oban_sqla
from oban_sqla import JobSpec
from oban_sqla.control.jobs import CHANGES, Changes
from oban_sqla.models.job import mapped
from oban_sqla.models.kind import FIELDS, IN_META, NAMES, OPTIONS
from oban_sqla.models.spec import CommonOptions, SpecOptions
from oban_sqla.statements.fetch import FETCHED
from oban_sqla.workers.worker_options import WORKER_OPTIONS, ChunkOptions
from tests.processes import finished

COLUMN = """\
    urgency: Mapped[int] = mapped_column(
        SmallInteger, server_default=text("1"), info=brought(Option("urgency", integer(1, 100, "how soon"), 1))
    )
"""

# Run with a copy of the package that has the column, on a database that has it, too.
PROGRAM = """
import asyncio, inspect, json, sys
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from oban_sqla import Job, JobSpec, InvalidOption, Oban, Unique, enqueue, job, worker
from oban_sqla.control.jobs import CHANGES
from oban_sqla.insight.jobs import DETAILS, details
from oban_sqla.statements.jobs import COLUMNS
from oban_sqla.testing import perform
from oban_sqla.workers.cron import copied, packed

said = {}
handed = []


@job(name="lift", urgency=3)
async def lift(number: int, job: Job) -> None:
    handed.append((number, job.urgency))


@worker(name="Lifter", urgency=4)
class Lifter:
    async def process(self, job: Job) -> None: ...


def refusal(**options):
    try:
        JobSpec("lift", {"number": 0}, **options)
    except InvalidOption as error:
        return str(error)


async def stored(engine, *where):
    async with AsyncSession(engine) as session:
        return list(await session.scalars(select(Job.urgency).where(*where).order_by(Job.id)))


async def main(url):
    engine = create_async_engine(url)
    said["signature"] = "urgency" in inspect.signature(JobSpec).parameters
    said["default"] = JobSpec("lift").urgency
    said["option"] = JobSpec("lift", urgency=7).urgency
    said["refused"] = refusal(urgency=0)
    said["misspelt"] = refusal(ugrency=2)
    said["of the worker"] = [lift.new(1).urgency, Lifter.new().urgency, lift.options(urgency=5).new(1).urgency]
    async with AsyncSession(engine) as session:
        session.add(lift.options(urgency=11).new(1))
        await session.commit()
        session.add_all(lift.options(urgency=urgency).new(urgency) for urgency in (21, 22))
        await session.commit()
        unique = [lift.options(urgency=urgency, unique=Unique()).new(urgency) for urgency in (31, 32)]
        await enqueue(session, unique)
        await session.commit()
    said["inserted"] = sorted(await stored(engine))
    async with AsyncSession(engine) as session:
        [first, *_] = await session.scalars(select(Job).order_by(Job.id))
        said["details"] = (await details(session, first.id))["urgency"]
    said["changed"] = [await Oban(engine).update(first.id, urgency=99), (await stored(engine))[0]]
    said["copied"] = copied(json.loads(packed(lift.options(urgency=8).new(1))), {}).urgency
    await perform(lift.options(urgency=13).new(0))
    said["performed"] = handed.pop()
    async with Oban(engine, queues={"default": 10}) as oban:
        await asyncio.gather(*(oban.result(id) for id in range(first.id, first.id + 5)))
    said["fetched"] = sorted(handed)
    said["lists"] = [name for name, names in {"changes": CHANGES, "details": DETAILS, "summaries": COLUMNS}.items()
                     if "urgency" in names]
    await engine.dispose()


asyncio.run(main(sys.argv[1]))
print(json.dumps(said))
"""


async def test_a_column_that_is_added_to_the_table_is_everywhere(migrated_database: str, tmp_path: Path) -> None:
    shutil.copytree(Path(oban_sqla.__file__).parent, tmp_path / "oban_sqla")
    table = tmp_path / "oban_sqla" / "models" / "job.py"
    before, mark, after = table.read_text().partition("    # What its attempts leave.")
    table.write_text(before + COLUMN + mark + after)
    (tmp_path / "program.py").write_text(PROGRAM)
    engine = create_async_engine(migrated_database)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE oban_jobs ADD COLUMN urgency smallint NOT NULL DEFAULT 1")
    await engine.dispose()
    ran = finished(["program.py", migrated_database], cwd=tmp_path, environment={"PYTHONPATH": str(tmp_path)})
    assert ran.returncode == 0, ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    assert said == {
        "signature": True,
        "default": 1,
        "option": 7,
        "refused": "urgency: expected 1 to 100 (how soon), got 0",
        "misspelt": "unknown option 'ugrency' for JobSpec: did you mean 'urgency'?",
        "of the worker": [3, 4, 5],
        "inserted": [11, 21, 22, 31, 32],
        "details": 11,
        "changed": [1, 99],
        "copied": 8,
        "performed": [0, 13],
        "fetched": [[1, 99], [21, 21], [22, 22], [31, 31], [32, 32]],
        "lists": ["changes", "details", "summaries"],
    }


def test_type_checkers_know_the_options_of_the_table() -> None:
    options = {**OPTIONS, **IN_META}
    assert set(SpecOptions.__annotations__) == set(options) == set(NAMES)
    assert set(CommonOptions.__annotations__) == {name for name, option in options.items() if option.of_worker}
    assert set(ChunkOptions.__annotations__) == set(WORKER_OPTIONS)
    assert set(Changes.__annotations__) == set(CHANGES)
    assert set(JobSpec.__annotations__) >= set(FIELDS)


def test_the_signature_of_a_spec_names_its_options() -> None:
    parameters = inspect.signature(JobSpec).parameters
    assert [*parameters] == ["worker", "args", *NAMES]
    assert all(parameters[name].default is None for name in OPTIONS)


def test_type_checkers_know_what_a_fetch_returns() -> None:
    assert set(FETCHED) == {column.name for column in mapped} - {"state", "queue", "attempted_by"}
    declared = inspect.getsource(oban_sqla.statements.fetch.Fetched)
    assert all(f"    {name}: " in declared for name in FETCHED)


def test_a_spec_has_all_of_its_attributes_from_the_start() -> None:
    spec = JobSpec("w", {"a": 1}, queue="q", meta={"b": 2})
    before = list(vars(spec))
    spec.written(7, "available", conflict=False)
    assert list(vars(spec)) == before


def test_specs_of_one_worker_share_what_they_have_in_common() -> None:
    first, second, other = JobSpec("w", {"a": 1}), JobSpec("w", {"a": 2}), JobSpec("w", queue="q")
    assert first.kind is second.kind
    first.queue = "changed"
    assert (first.queue, second.queue, other.queue) == ("changed", "default", "q")
