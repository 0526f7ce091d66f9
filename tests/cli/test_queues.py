"""``oban-sqla queues``: what it tells of a cluster, and what it asks of one."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from oban_sqla import Job, JobSpec, Oban, Queue, migrations
from oban_sqla.cli import main
from oban_sqla.statements.census import census
from oban_sqla.statements.overview import by_index, finished
from oban_sqla.statements.overview import running as runs
from oban_sqla.statements.roster import members
from oban_sqla.statements.statement import Statement
from tests.cli.test_start import SHOP, add
from tests.processes import ROOT, Process, running
from tests.runtime.helpers import execute, insert
from tests.support import eventually

Call = Callable[..., Coroutine[Any, Any, Result]]

COUNTED = ("QUEUE", "AVAILABLE", "SCHEDULED", "RETRYABLE", "EXECUTING")


@pytest.fixture
def call(database_url: str) -> Call:
    """The command, on this test's database, in a thread: it has an event loop of its own."""

    async def call(*arguments: str) -> Result:
        given = [*arguments, "--database-url", database_url]
        return await asyncio.to_thread(CliRunner().invoke, main, ["queues", *given])

    return call


async def as_json(call: Call, *arguments: str) -> Any:
    result = await call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def queue_of(call: Call, name: str, *arguments: str) -> Any:
    return next(queue for queue in await as_json(call, "list", *arguments) if queue["queue"] == name)


async def filled(engine: AsyncEngine) -> None:
    await insert(engine, *(JobSpec("w", queue="media") for _ in range(3)), JobSpec("w", queue="late", schedule_in=60))
    more = {"executing": 2, "retryable": 1, "completed": 4, "discarded": 1, "cancelled": 1, "suspended": 1}
    for state, count in more.items():
        await execute(
            engine, f"INSERT INTO oban_jobs (worker, queue, state) SELECT 'w', 'media', '{state}' "
            f"FROM generate_series(1, {count})",
        )  # fmt: skip


async def test_without_anything_it_says_so(call: Call, engine: AsyncEngine) -> None:
    assert (await call()).output == "there are no queues with jobs or nodes\n"
    assert await as_json(call) == []


async def test_jobs_are_counted_by_queue_and_state(call: Call, engine: AsyncEngine) -> None:
    await filled(engine)
    await execute(engine, "UPDATE oban_jobs SET scheduled_at = scheduled_at - interval '100 s' WHERE queue = 'media'")
    result = await call()
    assert result.exit_code == 0
    header, late, media = (line.split() for line in result.stdout.splitlines())
    assert header == [
        *["QUEUE", "AVAILABLE", "SCHEDULED", "RETRYABLE", "EXECUTING", "LIMIT", "NODES", "STATE", "OLDEST"]
    ]
    assert late == ["late", "0", "1", "0", "0", "0", "0", "not", "run"]
    assert media[:9] == ["media", "3", "0", "1", "2", "0", "0", "not", "run"]
    assert " ".join(media[9:]) in ("1 min 40 s", "1 min 41 s", "1 min 42 s")
    found = await queue_of(call, "media")
    assert found["oldest_seconds"] == pytest.approx(100, abs=10)
    assert "completed" not in found


async def test_finished_jobs_are_counted_on_request(call: Call, engine: AsyncEngine) -> None:
    await filled(engine)
    found = await queue_of(call, "media", "--all")
    counts = {name: value for name, value in found.items() if isinstance(value, int)}
    assert counts == {
        "available": 3, "scheduled": 0, "retryable": 1, "executing": 2, "suspended": 1, "completed": 4,
        "cancelled": 1, "discarded": 1, "limit": 0,
    }  # fmt: skip
    assert "DISCARDED" in (await call("list", "--all")).stdout


async def test_what_another_program_wrote_breaks_nothing(call: Call, engine: AsyncEngine) -> None:
    await filled(engine)
    await execute(engine, "UPDATE oban_jobs SET scheduled_at = '-infinity' WHERE queue = 'media'")
    await execute(
        engine,
        "INSERT INTO oban_producers (uuid, name, node, queue, meta) "
        "VALUES (gen_random_uuid(), 'Oban', 'odd', 'media', '{\"local_limit\": \"many\", \"paused\": 7}')",
    )
    found = await queue_of(call, "media")
    assert (found["available"], found["oldest_seconds"], found["limit"], found["paused"]) == (3, None, 0, "no")
    assert (await call("list", "--all")).exit_code == 0
    assert (await call("show", "media")).exit_code == 0


async def test_live_nodes_are_summed_up(call: Call, engine: AsyncEngine) -> None:
    async with (
        Oban(engine, {"media": Queue(limit=3, paused=True), "default": 10}, node="a"),
        Oban(engine, {"media": 4}, node="b"),
        Oban(engine, {"media": 100}, name="other", node="c"),
    ):
        await eventually(lambda: _producers(engine, 4))
        media = await queue_of(call, "media")
        assert (media["limit"], media["paused"], len(media["nodes"])) == (7, "partly", 2)
        assert [(node["node"], node["limit"], node["paused"]) for node in media["nodes"]] == [
            ("a", 3, True),
            ("b", 4, False),
        ]
        assert (await queue_of(call, "default"))["limit"] == 10
        assert (await queue_of(call, "media", "--instance", "other"))["limit"] == 100
        shown = (await call("show", "media")).stdout.splitlines()
        assert shown[0] == "0 available, 0 scheduled, 0 retryable, 0 executing"
        assert shown[1].split() == ["NODE", "UUID", "LIMIT", "PAUSED", "RUNNING", "STARTED", "LAST", "HEARTBEAT"]
        assert shown[2].split()[0::2][:3] == ["a", "3", "0"]
        assert shown[2].endswith("ago")
        assert (await as_json(call, "show", "media"))["nodes"][0]["last_beat"].startswith("20")
    assert await as_json(call) == [], "and forgotten when they have stopped"


async def test_the_state_of_a_queue_says_whether_its_jobs_run(call: Call, engine: AsyncEngine) -> None:
    await insert(engine, JobSpec("w", queue="elsewhere"))
    async with Oban(engine, {"media": 4}, node="a") as a:
        await eventually(lambda: _producers(engine, 1))
        assert (await queue_of(call, "media"))["state"] == "running"
        assert (await queue_of(call, "elsewhere"))["state"] == "not run"
        await call("pause", "media")
        await eventually(lambda: a.check_queues()[0].paused)
        assert (await queue_of(call, "media"))["state"] == "paused"
        await call("stop", "media")
        await eventually(lambda: _producers(engine, 0))
        assert (await queue_of(call, "media"))["state"] == "stopped"
        lines = [line.split() for line in (await call()).stdout.splitlines()]
        assert "STATE" in lines[0]
        assert [line[-1] for line in lines if line[0] == "media"] == ["stopped"]
        assert "it is stopped on all nodes" in (await call("show", "media")).stdout


async def test_a_node_that_is_dead_is_none(call: Call, engine: AsyncEngine) -> None:
    await execute(
        engine,
        "INSERT INTO oban_producers (uuid, name, node, queue, meta, updated_at) VALUES (gen_random_uuid(), 'Oban', "
        "'gone', 'media', '{\"local_limit\": 5, \"stale_after\": 15}', timezone('UTC', now()) - interval '10 minutes')",
    )
    await insert(engine, JobSpec("w", queue="media"))
    media = await queue_of(call, "media")
    assert (media["limit"], media["nodes"]) == (0, [])
    assert "no live node works this queue" in (await call("show", "media")).stdout


async def _producers(engine: AsyncEngine, count: int) -> bool:
    return len(await execute(engine, "SELECT 1 FROM oban_producers")) == count


async def test_what_is_asked_of_a_queue_says_whom_it_reaches(call: Call, engine: AsyncEngine) -> None:
    async with Oban(engine, {"media": 3}, node="a") as a, Oban(engine, {"media": 4}, node="b") as b:
        await eventually(lambda: _producers(engine, 2))
        result = await call("pause", "media")
        assert (result.exit_code, result.stdout) == (0, "asked: pause queue 'media' on all nodes; 2 live nodes: a, b\n")
        await eventually(lambda: a.check_queues()[0].paused and b.check_queues()[0].paused)
        assert (await queue_of(call, "media"))["paused"] == "whole"
        result = await call("resume", "media", "--node", "a")
        assert result.stdout == "asked: resume queue 'media' on node 'a'; 1 live node: a\n"
        await eventually(lambda: not a.check_queues()[0].paused)
        assert b.check_queues()[0].paused
        assert await as_json(call, "scale", "media", "50", "--node", "b") == {
            "asked": "scale", "queue": "media", "limit": 50, "node": "b", "live_nodes": ["b"],
        }  # fmt: skip
        await eventually(lambda: b.check_queues()[0].limit == 50)
        assert a.check_queues()[0].limit == 3
        result = await call("start", "late", "--limit", "2")
        assert result.stdout == "asked: start queue 'late' with limit 2 on all nodes; 2 live nodes: a, b\n"
        await eventually(lambda: {info.queue for info in a.check_queues()} == {"media", "late"})
        assert (await call("stop", "late")).exit_code == 0
        await eventually(lambda: {info.queue for info in a.check_queues()} == {"media"})


async def test_all_queues_are_paused_by_one_command(call: Call, engine: AsyncEngine) -> None:
    none = "there is no queue to pause: no node runs one, and none was changed at run time\n"
    assert (await call("pause", "--all")).stdout == none
    assert (await as_json(call, "pause", "--all"))["queues"] == []
    async with Oban(engine, {"media": 2, "late": 3}, node="a") as a:
        result = await call("pause", "--all")
        asked = "asked: pause every queue ('late', 'media') on all nodes; 1 live node: a\n"
        assert (result.exit_code, result.stdout) == (0, asked)
        await eventually(lambda: all(queue.paused for queue in a.check_queues()))
        assert await execute(engine, "SELECT verb, target->>'queue' FROM oban_audit ORDER BY id") == [
            ("queue.pause", "late"), ("queue.pause", "media"),
        ]  # fmt: skip
        assert await as_json(call, "resume", "--all") == {
            "asked": "resume", "queue": None, "limit": None, "node": None, "queues": ["late", "media"],
            "live_nodes": ["a"],
        }  # fmt: skip
        await eventually(lambda: not any(queue.paused for queue in a.check_queues()))
    assert (await call("pause", "--all")).stdout == (
        "asked: pause every queue ('late', 'media') on all nodes; no live node works any, so it takes effect later\n"
    )
    for wrong in (["pause"], ["resume", "media", "--all"]):
        result = await call(*wrong)
        assert (result.exit_code, "Give the NAME of a queue, or --all, and not both." in result.output) == (2, True)


async def test_a_queue_can_be_paused_before_any_node_is_there(call: Call, engine: AsyncEngine) -> None:
    await call("start", "media", "--limit", "2")
    result = await call("pause", "media")
    assert result.stdout.endswith("; no live node works it, so it takes effect later\n")
    assert (await queue_of(call, "media"))["paused"] == "whole"
    assert "no live node works this queue, and it is paused on all nodes" in (await call("show", "media")).stdout
    async with Oban(engine, node="a") as a:
        assert [(info.queue, info.limit, info.paused) for info in a.check_queues()] == [("media", 2, True)]


async def test_limits_of_the_cluster_are_told_and_audited_as_they_were_typed(call: Call, engine: AsyncEngine) -> None:
    await call("start", "media", "--limit", "2")
    result = await call("scale", "media", "--global-limit", "20", "--rate-limit", "none")
    assert result.stdout.startswith("asked: scale queue 'media' with global limit 20, rate limit none on all nodes; ")
    [[target]] = await execute(engine, "SELECT target FROM oban_audit WHERE verb = 'queue.scale'")
    assert target == {"queue": "media", "node": None, "global_limit": "20", "rate_limit": "none"}
    asked = await as_json(call, "scale", "media", "5", "--partition", "args.tenant_id")
    assert (asked["limit"], asked["partition"]) == (5, "args.tenant_id")


async def test_another_instance_is_not_reached(call: Call, engine: AsyncEngine) -> None:
    async with Oban(engine, {"media": 3}, node="a") as a, Oban(engine, {"media": 3}, name="other", node="b") as b:
        assert (await as_json(call, "pause", "media", "--instance", "other"))["live_nodes"] == ["b"]
        await eventually(lambda: b.check_queues()[0].paused)
        assert not a.check_queues()[0].paused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pause", "meida"], "unknown queue 'meida': did you mean 'media'?"),
        (["show", "meida"], "unknown queue 'meida': did you mean 'media'?"),
        (["show", "zzz"], "unknown queue 'zzz': there are: late, media"),
        (["scale", "media", "5", "--node", "nobody"], "unknown node 'nobody': there are: "),
        (["start", "new"], "queue 'new': no node is configured with it, so it needs a limit, such as limit=10"),
        (["pause", " "], "queue"),
    ],
)
async def test_what_there_is_not_is_an_error(call: Call, engine: AsyncEngine, arguments: list[str], said: str) -> None:
    await insert(engine, JobSpec("w", queue="media"), JobSpec("w", queue="late"))
    await call("start", "media", "--limit", "1")
    result = await call(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["scale", "media", "0"], ["scale", "media"], ["scale", "media", "many"], ["start", "media", "--limit", "10001"],
     ["pause"], ["puase", "media"], ["--lal"]],
)  # fmt: skip
async def test_what_can_t_be_asked_is_a_usage_error(call: Call, engine: AsyncEngine, arguments: list[str]) -> None:
    result = await call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")


async def test_the_documented_commands_are_understood(call: Call, engine: AsyncEngine) -> None:
    async with Oban(engine, {"media": 1, "calls": 1}, node="worker.1"):
        await eventually(lambda: _producers(engine, 2))
        page = (ROOT / "docs/command-line.md").read_text()
        commands = re.findall(r"^oban-sqla queues\b(.*)$", page, re.MULTILINE)
        assert len(commands) == 9
        for command in commands:
            result = await call(*shlex.split(command, comments=True))
            assert result.exit_code == 0, result.output


async def test_psycopg_will_do(database_url: str, engine: AsyncEngine) -> None:
    await filled(engine)
    url = database_url.replace("+asyncpg", "+psycopg")
    for arguments in (["queues"], ["queues", "list", "--all"], ["queues", "show", "media"], ["top", "--once"]):
        result = await asyncio.to_thread(CliRunner().invoke, main, [*arguments, "--database-url", url])
        assert result.exit_code == 0, result.output
        assert "media" in result.stdout or "3 available" in result.stdout
    for arguments in (["start", "media", "--limit", "5"], ["pause", "media"]):
        result = await asyncio.to_thread(CliRunner().invoke, main, ["queues", *arguments, "--database-url", url])
        assert result.exit_code == 0, result.output


async def test_queues_in_another_schema(empty_database: str) -> None:
    engine = create_async_engine(empty_database).execution_options(schema_translate_map={None: "jobs"})
    try:
        await migrations.migrate(engine, "jobs")
        arguments = ["--database-url", empty_database, "--schema", "jobs"]
        async with Oban(engine, {"media": 3}, node="a") as a:
            result = await asyncio.to_thread(CliRunner().invoke, main, ["queues", "pause", "media", *arguments])
            assert result.output == "asked: pause queue 'media' on all nodes; 1 live node: a\n"
            await eventually(lambda: a.check_queues()[0].paused)
            listed = await asyncio.to_thread(CliRunner().invoke, main, ["queues", *arguments, "--json"])
            assert [(queue["queue"], queue["paused"]) for queue in json.loads(listed.stdout)] == [("media", "whole")]
            for command in (
                ["cron", "put", "n", "@daily", "w"], ["cron", "run", "n"], ["cron", "delete", "n"], ["top", "--once"]
            ):  # fmt: skip
                done = await asyncio.to_thread(CliRunner().invoke, main, [*command, *arguments])
                assert done.exit_code == 0, done.output
    finally:
        await engine.dispose()


async def test_finished_jobs_are_not_read(engine: AsyncEngine) -> None:
    await execute(
        engine,
        "INSERT INTO oban_jobs (worker, queue, state, completed_at) "
        "SELECT 'w', 'q', 'completed', timezone('UTC', now()) FROM generate_series(1, 20000)",
    )
    await execute(engine, "INSERT INTO oban_jobs (worker) SELECT 'w' FROM generate_series(1, 2000)")
    await execute(engine, "ANALYZE oban_jobs")
    for statement, given in (
        (census, {}),
        (members, {}),
        (runs, {"most": 10}),
        (finished, {"seconds": 0.0}),
    ):
        plan = "\n".join(await plan_of(engine, statement, given))
        assert "Seq Scan on oban_jobs" not in plan, plan
        if statement is census:
            assert "Index Only Scan using oban_jobs_fetch_index" in plan, plan


async def plan_of(engine: AsyncEngine, statement: Statement, given: dict[str, Any]) -> list[str]:
    """How it is executed after :data:`by_index`."""
    compiled = statement.compiled(engine.dialect)
    async with engine.connect() as connection:
        await connection.run_sync(by_index.execute)
        # What an index can't answer alone would else be read by a bitmap on a table so small and new.
        await connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        return [row[0] for row in await driver.fetch(f"EXPLAIN {compiled.sql}", *compiled.values(given))]


# --- a node in a process of its own


@pytest.fixture
def node(tmp_path: Path, database_url: str, clean_tables: None) -> Callable[[], AbstractContextManager[Process]]:
    (tmp_path / "shop.py").write_text(SHOP)

    def node() -> AbstractContextManager[Process]:
        arguments = ["-m", "oban_sqla", "start", "shop", "--queues", "default=2", "--node", "worker.1"]
        environment = {"OBAN_DATABASE_URL": database_url, "APP_URL": database_url}
        return running(arguments, tmp_path / "log", tmp_path, environment)

    return node


async def states(engine: AsyncEngine) -> list[str]:
    async with AsyncSession(engine) as session:
        return [str(state) for state in await session.scalars(select(Job.state).order_by(Job.id))]


async def test_a_queue_that_is_paused_from_the_command_line_is_paused_on_other_nodes(
    call: Call, engine: AsyncEngine, node: Callable[[], AbstractContextManager[Process]]
) -> None:
    with node() as process:
        await process.says("started on worker.1")
        await add(engine, [JobSpec("shop.quick")])
        await eventually(lambda: _all(engine, ["completed"]))
        assert (await as_json(call, "pause", "default"))["live_nodes"] == ["worker.1"]
        await process.says("queue 'default' now has limit 2, paused")
        await add(engine, [JobSpec("shop.quick"), JobSpec("shop.quick", queue="elsewhere")])
        # It polls every second at the latest, and would have run by the time that another queue's job was done.
        await call("start", "elsewhere", "--limit", "1", "--node", "worker.1")
        await eventually(lambda: _all(engine, ["completed", "available", "completed"]))
        shown = await as_json(call, "show", "default")
        assert (shown["available"], shown["paused"], shown["nodes"][0]["node"]) == (1, "whole", "worker.1")
        await call("resume", "default", "--node", "worker.1")
        await eventually(lambda: _all(engine, ["completed"] * 3))


async def _all(engine: AsyncEngine, expected: list[str]) -> bool:
    found = await states(engine)
    assert found == expected
    return True
