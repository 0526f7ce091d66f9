"""What `why` and the commands show of long jobs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from click.testing import CliRunner, Result
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban
from oban_sqla.cli import main
from oban_sqla.durable import sleep, step, wait_for
from tests.durable import jobs
from tests.runtime.helpers import execute, finished, insert, until
from tests.support import eventually


def command(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments], env={"OBAN_DATABASE_URL": url, "COLUMNS": "100"})


async def test_why_says_until_when_a_job_sleeps(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.nap.new(3.5 * 86_400))
    await until(engine, job_id, "scheduled")
    reason = (await oban.why(job_id)).reason
    assert reason.code == "asleep"
    assert reason.text.startswith("it sleeps until 20")
    assert reason.text.endswith("Z, in 3 days")


async def test_why_says_for_which_signal_a_job_waits_and_how_to_send_it(oban: Oban, engine: AsyncEngine) -> None:
    long, endless = await insert(engine, jobs.approval.new(2 * 86_400, live=0), jobs.approval.new(live=0))
    for job_id in (long, endless):
        await until(engine, job_id, "scheduled")
    reason = (await oban.why(long)).reason
    assert reason.code == "waits_for_signal"
    assert reason.text.startswith("it waits for the signal 'approved' until 20")
    assert reason.advice == f"send it: oban-sqla jobs signal {long} approved"
    assert (await oban.why(endless)).reason.text == "it waits for the signal 'approved'"


async def test_why_says_that_a_job_waits_with_its_slot(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.approval.new(60, live=30))
    asked = "SELECT 1 FROM oban_steps WHERE kind = 'wait'"
    await eventually(lambda: execute(engine, asked))
    first, second = (await oban.why(job_id)).reasons
    assert (first.code, second.code) == ("waits_for_signal", "executing")
    assert "it waits for the signal 'approved' until 20" in first.text
    assert "it keeps its slot" in first.text
    assert first.advice == f"send it: oban-sqla jobs signal {job_id} approved"
    await oban.signal(job_id, "approved", "anna")
    await finished(engine, [job_id])


async def test_the_commands_show_steps_and_signals_and_send_one(
    oban: Oban, engine: AsyncEngine, database_url: str
) -> None:
    async def body() -> Any:
        await step("first", jobs.value, {"by": "é"})
        await sleep(0, "nap")
        return await wait_for("go on", live=0)

    jobs.bodies["body"] = body
    [job_id] = await insert(engine, jobs.anything.new(name="body"))
    await until(engine, job_id, "scheduled")
    await oban.signal(job_id, "other", 1)
    shown = (await asyncio.to_thread(command, database_url, "jobs", "show", str(job_id))).output
    lines = [line.strip() for line in shown.splitlines()]
    steps = lines[lines.index("steps") + 1 :]
    assert steps[0].startswith("first  20")
    assert steps[0].endswith('= {"by": "é"}')
    assert steps[1].startswith("sleep:nap  20")
    assert steps[2].startswith("wait:go on:1  20")
    assert lines[lines.index("signals") + 1].endswith("not taken = 1")
    as_json = (await asyncio.to_thread(command, database_url, "jobs", "show", str(job_id), "--json")).output
    assert [one["kind"] for one in json.loads(as_json)["steps"]] == ["step", "sleep", "wait"]
    arguments = ("jobs", "signal", str(job_id), "go on", '{"yes": true}')
    twice = await asyncio.to_thread(command, database_url, *arguments, "--payload", "1")
    assert "the payload was given twice" in twice.output
    sent = await asyncio.to_thread(command, database_url, *arguments)
    assert (sent.exit_code, sent.output) == (0, f"the signal 'go on' is sent to job {job_id}\n")
    [done] = await finished(engine, [job_id])
    assert done.meta["return"] == {"yes": True}
    late = await asyncio.to_thread(command, database_url, *arguments)
    assert late.exit_code == 1
    assert f"job {job_id} has finished or does not exist; nothing was sent" in late.output
    wrong = await asyncio.to_thread(command, database_url, "jobs", "signal", str(job_id), "go", "--payload", "yes")
    assert "expected JSON" in wrong.output


async def test_the_steps_of_a_deleted_job_are_deleted_with_it(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.approval.new(live=0))
    await until(engine, job_id, "scheduled")
    await oban.signal(job_id, "other", 1)
    assert await oban.delete(job_id) == 1
    assert await execute(engine, "SELECT name FROM oban_steps UNION ALL SELECT name FROM oban_signals") == []
