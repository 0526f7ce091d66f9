"""Changing a worker while its jobs wait: ``upcast``, ``oban-sqla check`` and ``check_queued``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import InvalidOption, Job, JobSpec, Oban, Workflow, job, worker
from oban_sqla.cli.check import _print
from oban_sqla.insight.queued import Queued
from oban_sqla.testing import check_queued, drain
from tests.processes import finished
from tests.runtime.helpers import insert, load, until

greeted: list[tuple[str, str]] = []


def split_name(args: dict[str, Any]) -> dict[str, Any]:
    if "name" in args:
        first, _, last = args.pop("name").partition(" ")
        args |= {"first": first, "last": last}
    return args


@job(name="upcast.greet", upcast=split_name)
async def greet(first: str, last: str) -> None:
    greeted.append((first, last))


@job(name="upcast.broken", upcast=lambda args: [args])  # type: ignore[arg-type,return-value]
async def broken(first: str) -> None: ...


@pytest.fixture(autouse=True)
def nothing_greeted() -> None:
    """Nothing is left of the test before."""
    greeted.clear()


async def test_stored_args_of_an_older_version_run(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"default": 2}):
        old = JobSpec("upcast.greet", {"name": "Ada Lovelace"})
        ids = await insert(any_engine, old, greet.new("Grace", "Hopper"))
        for job_id in ids:
            await until(any_engine, job_id, "completed")
        assert sorted(greeted) == [("Ada", "Lovelace"), ("Grace", "Hopper")]
        assert (await load(any_engine, ids[0])).args == {"name": "Ada Lovelace"}  # the row stays as it was written
        [bad] = await insert(any_engine, broken.new("x"))
        failed = await until(any_engine, bad, "retryable")
        assert "upcast has to return a dict of args" in failed.errors[0]["error"]


async def test_they_run_in_drain_too(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add(JobSpec("upcast.greet", {"name": "Ada Lovelace"}))
        assert await drain(session) == {"completed": 1}
        await session.rollback()
    assert greeted == [("Ada", "Lovelace")]


def test_anything_but_a_function_of_args_is_refused() -> None:
    wrong: list[Any] = ["split", 1]
    for given in wrong:
        with pytest.raises(InvalidOption, match="upcast: expected a function that takes and returns a dict"):
            job(name="upcast.wrong", upcast=given)(lambda: None)

    async def slow(args: dict[str, Any]) -> dict[str, Any]:
        return args

    coroutine: Any = slow
    with pytest.raises(InvalidOption, match="upcast: expected a plain function"):
        job(name="upcast.wrong", upcast=coroutine)(lambda: None)
    with pytest.raises(InvalidOption, match="upcast: it is for functions"):

        @worker(name="upcast.Wrong", upcast=split_name)
        class Wrong:
            def process(self, job: Job) -> None: ...


async def test_a_test_sees_which_waiting_jobs_can_not_run(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add_all([JobSpec("upcast.greet", {"name": "Ada Lovelace"}), greet.new("Grace", "Hopper")])
        await check_queued(session)
        session.add(JobSpec("upcast.greeet", {}))
        session.add_all(JobSpec("upcast.greet", {"first": "Ada"}) for _ in range(2))
        with pytest.raises(AssertionError) as failed:
            await check_queued(session)
        await session.rollback()
    assert "upcast.greeet: 1 (ids [" in str(failed.value)
    assert "did you mean 'upcast.greet'? give that one aliases=['upcast.greeet']" in str(failed.value)
    assert "upcast.greet: 2 (ids [" in str(failed.value)
    assert "last" in str(failed.value)


async def test_what_another_job_is_to_give_is_not_missed_in_a_job_that_waits_for_it(engine: AsyncEngine) -> None:
    flow = Workflow("checked")
    number = flow.add(numbers.new(), name="number").result
    flow.add(total.new(number[0], [1, number[1]], {"k": number[2]}), name="total")
    each = flow.map(lambda n: total.new(n, [], {}), over=number, name="each")
    flow.add(total.new(1, each.results, {}), name="all")
    flow.add(JobSpec("upcast.greet", {"name": number}), name="greet")
    async with AsyncSession(engine) as session:
        session.add(flow)
        await check_queued(session)
        wrong = Workflow("wrong")
        wrong.add(
            JobSpec("upcast.total", {"one": wrong.add(numbers.new()).result, "more": "no", "by": {}}), name="total"
        )
        session.add(wrong)
        with pytest.raises(AssertionError, match="total: more: Input should be a valid array") as failed:
            await check_queued(session)
        await session.rollback()
    assert "total: one" not in str(failed.value)


@job(name="upcast.numbers")
async def numbers() -> list[int]:
    return [1, 2, 3]


@job(name="upcast.total")
async def total(one: int, more: list[int], by: dict[str, int]) -> int:
    return one + sum(more) + sum(by.values())


NEW = """
from oban_sqla import job

@job(name="shop.invoice")
async def invoice(order: int) -> None: ...

@job(name="shop.send_mail")
async def send_mail(to: str) -> None: ...
"""

Check = Callable[..., Any]


@pytest.fixture
def check(tmp_path: Path, database_url: str, clean_tables: None) -> Check:
    """Runs the command on this test's database, in a directory with ``shop.py``."""
    (tmp_path / "shop.py").write_text(NEW)

    def check(*arguments: str) -> Any:
        environment = {"OBAN_DATABASE_URL": database_url}
        return finished(["-m", "oban_sqla", "check", *arguments], tmp_path, environment)

    return check


async def test_the_command_names_a_renamed_worker_and_a_changed_parameter(check: Check, engine: AsyncEngine) -> None:
    assert check("shop").stdout.strip() == "all 0 waiting jobs can run"
    async with AsyncSession(engine) as session, session.begin():
        for worker_name, args, count in [
            ("shop.invoice", '{"order": "none"}', 6_000),
            ("shop.invoice", '{"order": 7}', 500),
            ("shop.send_mails", '{"to": "a"}', 3_500),
        ]:
            await session.execute(
                text(
                    "INSERT INTO oban_jobs (worker, args) SELECT :worker, CAST(:args AS jsonb) "
                    "FROM generate_series(1, :count)"
                ),
                {"worker": worker_name, "args": args, "count": count},
            )
    told = check("shop")
    assert told.returncode == 1, told.stderr
    assert "shop.invoice: 6,000 jobs (ids " in told.stdout
    assert "order" in told.stdout
    assert "shop.send_mails: 3,500 jobs" in told.stdout
    assert "did you mean 'shop.send_mail'?" in " ".join(told.stdout.split())
    assert told.stdout.strip().endswith("9,500 jobs of 10,000 waiting can't run")
    found = json.loads(check("shop", "--json").stdout)
    assert (found["ok"], found["jobs"]) == (False, 10_000)
    assert [(one["worker"], one["jobs"], len(one["ids"])) for one in found["misfits"]] == [
        ("shop.invoice", 6_000, 10),
        ("shop.send_mails", 3_500, 10),
    ]


@pytest.mark.parametrize(
    ("jobs", "says"), [(0, "all 0 waiting jobs can run"), (1, "the one waiting job can run")], ids=str
)
def test_the_command_counts_what_can_run(jobs: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    _print(Queued(jobs, ()))
    assert capsys.readouterr().out.strip() == says
