"""``oban-sqla cron``: the crontab, read and edited from outside."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Cron, Job, JobSpec, Oban, Unique, job
from oban_sqla.cli import main
from oban_sqla.runtime.duties.scheduler import LIFETIME
from tests.processes import ROOT
from tests.runtime.helpers import execute
from tests.support import eventually

Call = Callable[..., Coroutine[Any, Any, Result]]


@job(name="cli.report")
async def report() -> None: ...


@pytest.fixture
def call(database_url: str) -> Call:
    """The command, on this test's database, in a thread: it has an event loop of its own."""

    async def call(*arguments: str) -> Result:
        given = ["cron", *arguments, "--database-url", database_url]
        return await asyncio.to_thread(CliRunner().invoke, main, given)

    return call


async def as_json(call: Call, *arguments: str) -> Any:
    result = await call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def jobs(engine: AsyncEngine) -> list[Job]:
    async with AsyncSession(engine) as session:
        return [*await session.scalars(select(Job).order_by(Job.id))]


async def test_an_empty_crontab_says_so(call: Call, engine: AsyncEngine) -> None:
    assert (await call()).output == "the crontab is empty\n"
    assert await as_json(call, "list") == []


async def test_an_entry_is_put_listed_and_replaced(call: Call, engine: AsyncEngine) -> None:
    options = ["--args", '{"days": 7}', "--timezone", "Europe/Paris", "--queue", "slow", "--priority", "3"]
    more = ["--max-attempts", "2", "--tag", "a", "--tag", "b", "--catch-up"]
    put = await call("put", "nightly", "30 3 * * *", "app.reports.build", *options, *more)
    assert put.exit_code == 0, put.output
    assert put.stdout.startswith("'nightly' is active; next at ")
    [entry] = await as_json(call)
    assert (entry["name"], entry["expression"], entry["timezone"]) == ("nightly", "30 3 * * *", "Europe/Paris")
    assert (entry["worker"], entry["state"], entry["paused"], entry["catch_up"]) == (
        "app.reports.build", "active", False, True,
    )  # fmt: skip
    assert (entry["spec"]["args"], entry["spec"]["queue"], entry["spec"]["tags"]) == ({"days": 7}, "slow", ["a", "b"])
    assert (entry["spec"]["priority"], entry["spec"]["max_attempts"], entry["in_code"]) == (3, 2, False)
    due = datetime.fromisoformat(entry["next_tick"])
    assert datetime.now(UTC) < due < datetime.now(UTC) + timedelta(days=1, hours=1)
    assert entry["last_tick"] is None

    replaced = await as_json(call, "put", "nightly", "@hourly", "app.other", "--paused")
    assert (replaced["expression"], replaced["worker"], replaced["state"]) == ("@hourly", "app.other", "paused")
    header, row = (await call("list")).stdout.splitlines()
    assert header.split() == ["NAME", "EXPRESSION", "TIMEZONE", "WORKER", "STATE", "LAST", "NEXT"]
    assert row.split() == ["nightly", "@hourly", "UTC", "app.other", "paused"], "what is paused has no next time"


async def test_entries_of_the_code_are_listed_with_their_last_tick(call: Call, engine: AsyncEngine) -> None:
    crontab = [Cron("0 9 * * MON-FRI", report.new(), name="of the code"), Cron("@reboot", report.new(), name="boot")]
    async with Oban(engine, crontab=crontab):
        entries = {entry["name"]: entry for entry in await eventually(lambda: _listed(call, 2))}
        assert (entries["of the code"]["in_code"], entries["of the code"]["state"]) == (True, "active")
        assert entries["boot"]["next_tick"] is None
        deleted = await call("delete", "of the code")
        assert deleted.stdout == (
            "'of the code' is deleted; it is in the code of a node, so it comes back when such a node starts\n"
        )
    await execute(engine, "UPDATE oban_crons SET last_tick = '2026-01-02 03:04:05'")
    await execute(engine, f"UPDATE oban_crons SET declared_at = declared_at - interval '{LIFETIME + 60} s'")
    [entry] = await as_json(call)
    assert (entry["state"], entry["last_tick"]) == ("resting", "2026-01-02T03:04:05+00:00")
    assert "2026-01-02 03:04:05Z" in (await call()).stdout
    resumed = await call("resume", "boot")
    assert resumed.stdout == "'boot' is resting: no running node has it in its code\n"


async def _listed(call: Call, count: int) -> Any:
    entries = await as_json(call)
    return entries if len(entries) == count else None


async def test_the_next_times_are_in_utc(call: Call, engine: AsyncEngine) -> None:
    await call("put", "nightly", "0 3 * * *", "w", "--timezone", "America/New_York", "--paused")
    times = [datetime.fromisoformat(time) for time in await as_json(call, "next", "nightly", "-n", "400")]
    assert len(times) == 400
    assert {time.astimezone(UTC).hour for time in times} == {7, 8}, "in summer and in winter"
    assert times == sorted(times)
    lines = (await call("next", "nightly")).stdout.splitlines()
    assert lines[0] == "DUE"
    assert [line.endswith(("07:00:00Z", "08:00:00Z")) for line in lines[1:]] == [True] * 5
    await call("put", "boot", "@reboot", "w")
    assert (
        await call("next", "boot")
    ).stdout == "boot (@reboot): no fixed time; due when a node that starts later leads\n"
    assert await as_json(call, "next", "boot") == []


async def test_running_an_entry_enqueues_its_job(call: Call, engine: AsyncEngine) -> None:
    await call("put", "nightly", "0 3 * * *", "app.build", "--args", '{"days": 7}', "--queue", "slow", "--paused")
    first = await call("run", "nightly")
    second = await as_json(call, "run", "nightly")
    [one, two] = await jobs(engine)
    assert first.stdout == f"job {one.id} of 'nightly' (app.build, queue slow) is available\n"
    assert second == {"id": two.id, "state": "available", "conflict": False}
    assert (one.worker, one.args, one.queue, one.state) == ("app.build", {"days": 7}, "slow", "available")
    assert (one.meta["cron"], one.meta["cron_name"]) == (True, "nightly")


async def test_a_unique_job_that_is_there_already_is_said(call: Call, engine: AsyncEngine) -> None:
    await Oban(engine).crons.put("nightly", "0 3 * * *", JobSpec("w", unique=Unique()))
    await call("run", "nightly")
    again = await call("run", "nightly")
    [only] = await jobs(engine)
    assert again.stdout == f"job {only.id} of 'nightly' (w, queue default) is unique, and exists already\n"


async def test_an_entry_is_paused_and_resumed(call: Call, engine: AsyncEngine) -> None:
    await call("put", "nightly", "0 3 * * *", "w")
    assert (await call("pause", "nightly")).stdout == "'nightly' is paused\n"
    assert (await as_json(call))[0]["paused"] is True
    assert (await call("resume", "nightly")).stdout.startswith("'nightly' is active; next at 20")
    assert (await as_json(call, "pause", "nightly"))["state"] == "paused"
    assert await as_json(call, "delete", "nightly") == {"name": "nightly", "deleted": True, "in_code": False}
    assert await as_json(call) == []


async def test_an_entry_put_from_outside_runs_on_a_node(call: Call, engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}):
        await call("put", "now", "0 3 * * *", "cli.report")
        await call("run", "now")

        async def done() -> bool:
            return [job.state for job in await jobs(engine)] == ["completed"]

        await eventually(done)


async def test_the_documented_commands_are_understood(call: Call, engine: AsyncEngine) -> None:
    await call("put", "nightly", "0 3 * * *", "w")
    page = (ROOT / "docs/command-line.md").read_text()
    commands = re.findall(r"^oban-sqla cron\b(.*)$", page, re.MULTILINE)
    assert len(commands) == 7
    for command in commands:
        result = await call(*shlex.split(command, comments=True))
        assert result.exit_code == 0, result.output


async def test_what_another_program_wrote_breaks_no_list(call: Call, engine: AsyncEngine) -> None:
    await execute(
        engine,
        "INSERT INTO oban_crons (name, expression, timezone, spec) "
        "VALUES ('odd', 'never', 'Mars/Phobos', '{}'), ('worse', '@hourly', 'UTC', '[]')",
    )
    [entry, _] = await as_json(call)
    assert (entry["name"], entry["worker"], entry["next_tick"]) == ("odd", None, None)
    assert (await call()).exit_code == 0
    failed = await call("next", "odd")
    assert (failed.exit_code, failed.stdout) == (1, "")


@pytest.mark.parametrize("command", ["next", "run", "pause", "resume", "delete"])
async def test_an_entry_that_there_is_not_is_told_the_nearest(call: Call, engine: AsyncEngine, command: str) -> None:
    await call("put", "nightly", "0 3 * * *", "w")
    near, far = await call(command, "nihgtly"), await call(command, "zzz")
    assert (near.exit_code, near.stdout) == (1, "")
    assert near.stderr == "Error: unknown cron entry 'nihgtly': did you mean 'nightly'?\n"
    assert far.stderr == "Error: unknown cron entry 'zzz': there are: nightly\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["n", "0 3 * * *"], 2, "Missing argument 'WORKER'"),
        (["n", "0 3 * * *", "w", "--args", "{"], 2, "'{' is not valid JSON"),
        (["n", "0 3 * * *", "w", "--args", "[1]"], 2, "expected a JSON object such as '{\"days\": 7}', got [1]"),
        (["n", "0 25 * * *", "w"], 1, "cron expression '0 25 * * *': '25' for the hour: expected 0 to 23"),
        (["n", "@dialy", "w"], 1, "did you mean '@daily'?"),
        (["n", "0 3 * * *", "w", "--timezone", "Europe/Pariss"], 1, "Europe/Paris"),
        (["n", "0 3 * * *", "w", "--priority", "10"], 1, "priority"),
        (["n", "0 3 * * *", " "], 1, "worker"),
        (["n", "0 3 * * *", "w", "--args", '{"a": NaN}'], 1, "a"),
    ],
)
async def test_what_can_t_be_put_is_refused(
    call: Call, engine: AsyncEngine, arguments: list[str], code: int, said: str
) -> None:
    result = await call("put", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert await as_json(call) == []
