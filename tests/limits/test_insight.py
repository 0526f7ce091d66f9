"""What people see of limits: why a job waits, queues and their keys, and what the doctor says."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from click.testing import CliRunner
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, Partition, Queue, RateLimit
from oban_sqla.cli import main
from oban_sqla.insight.why import Why
from tests.doctor import conftest
from tests.limits import jobs
from tests.limits.helpers import add, nodes, suspended
from tests.limits.jobs import brief, held, refused
from tests.runtime.helpers import execute, insert
from tests.support import eventually


@pytest.fixture(autouse=True)
def _fresh() -> None:
    jobs.reset()


@asynccontextmanager
async def queue(url: str, *limits: Queue) -> AsyncGenerator[Oban, None]:
    """Nodes, whose jobs end at the end."""
    async with nodes(url, *limits) as [oban, *_]:
        try:
            yield oban
        finally:
            jobs.gate.set()


def said(why: Why) -> dict[str, str]:
    return {reason.code: reason.text for reason in why.reasons}


async def test_a_job_waits_for_a_slot_of_the_cluster(engine: AsyncEngine, database_url: str) -> None:
    async with queue(database_url, Queue(limit=20, global_limit=3)) as oban:
        ids = await add(engine, (held.new() for _ in range(5)), oban)
        await eventually(lambda: jobs.running[jobs.ALL] == 3)
        why = await oban.why(ids[4])
        assert why.reason.code == "global_limit"
        assert why.reason.text == "its queue has 3 of 3 jobs running in the cluster"
        assert said(why)["behind"] == "1 available job of its queue comes before it"


async def test_a_job_waits_for_a_slot_of_its_key(engine: AsyncEngine, database_url: str) -> None:
    partition = Partition("args.key", limit=3)
    async with queue(database_url, Queue(limit=20, partition=partition)) as oban:
        ids = await add(engine, (held.new(7) for _ in range(6)), oban)
        await eventually(lambda: jobs.running[7] == 3)
        why = said(await oban.why(ids[5]))
        assert why["partition_limit"] == "key 7 has 3 of 3 running"
        assert why["behind"] == "2 available jobs of key 7 come before it; keys take turns"


async def test_a_job_waits_for_the_rate_of_its_queue_or_of_its_key(engine: AsyncEngine, database_url: str) -> None:
    limits = Queue(
        limit=20, rate_limit=RateLimit(4, 3600), partition=Partition("args.key", rate_limit=RateLimit(1, 60))
    )
    async with queue(database_url, limits) as oban:
        ids = await add(engine, (brief.new(number % 2) for number in range(4)), oban)
        await eventually(lambda: len(jobs.starts) == 2)
        text = said(await oban.why(ids[3]))["partition_rate_limit"]
        assert re.fullmatch(r"the rate of key 1 \(1/60\) allows the next start at \d\d:\d\d:\d\dZ", text)
        [heavy] = await insert(engine, brief.options(weight=3).new(2))
        await eventually(lambda: _reason(oban, heavy, "rate_limit"))
        assert said(await oban.why(heavy))["rate_limit"] == (
            "its queue's rate (4/3600) allows 2 more, and this job counts as 3; what is behind it waits, too"
        )
        assert await oban.limiter("default").consume(2)
        text = said(await oban.why(heavy))["rate_limit"]
        assert re.match(r"its queue's rate \(4/3600\) allows the next start at \d\d:\d\d:\d\dZ", text)


async def _reason(oban: Oban, job_id: int, code: str) -> bool:
    return code in said(await oban.why(job_id))


async def test_a_job_waits_for_the_end_of_a_suspension(engine: AsyncEngine, database_url: str) -> None:
    async with queue(database_url, Queue(limit=5, partition=Partition("args.key"))) as oban:
        await add(engine, [refused.new("a", 3600)], oban)
        await suspended(engine)
        [job_id] = await insert(engine, brief.new("a"))
        await eventually(lambda: _reason(oban, job_id, "partition_suspended"))
        text = said(await oban.why(job_id))["partition_suspended"]
        assert re.fullmatch(r"key a is suspended until \d\d:\d\d:\d\dZ, for (1 h|60 min)", text)
        await oban.limiter("default").suspend(7200)
        assert (await oban.why(job_id)).reason.code == "queue_suspended"
    async with queue(database_url, Queue(limit=5)) as oban:
        assert "queue_suspended" in said(await oban.why(job_id)), "also without limits"


def ran(url: str, *arguments: str) -> str:
    result = CliRunner().invoke(main, [*arguments, "--database-url", url])
    assert result.exit_code == 0, result.output
    return result.output


async def test_the_queues_show_limits_and_the_busiest_keys(engine: AsyncEngine, database_url: str) -> None:
    limits = Queue(limit=20, global_limit=9, rate_limit=RateLimit(50, 3600), partition=Partition("args.key", limit=3))
    async with queue(database_url, limits) as oban:
        await add(engine, (held.new(key) for key in "aaaaab"), oban)
        await eventually(lambda: jobs.running[jobs.ALL] == 4)
        await oban.limiter("default", "z").suspend(3600)
        line = "global 4 of 9, rate 50/3600 (46 left), by args.key (limit 3)"
        assert line in await asyncio.to_thread(ran, database_url, "queues")
        shown = await asyncio.to_thread(ran, database_url, "queues", "show", "default")
        assert f"limits of the cluster: {line}" in shown
        rows = [row.split() for row in shown.splitlines()]
        assert ['["a"]', "3", "2"] in rows
        assert ['["b"]', "1", "0"] in rows
        assert any(row[:3] == ['["z"]', "0", "0"] for row in rows)
        top = await asyncio.to_thread(ran, database_url, "top", "--once")
        assert "global 4 of 9" in top
        assert '["a"]: 3 running, 2 available' in top
        [told] = json.loads(await asyncio.to_thread(ran, database_url, "queues", "list", "--json"))
        assert told["limits"]["global_limit"] == 9
        assert told["limits"]["left"] == 46
        assert [key["key"] for key in told["limits"]["keys"]] == [["a"], ["b"], ["z"]]


async def test_the_queues_show_the_fields_that_hold_while_nodes_disagree(
    engine: AsyncEngine, database_url: str
) -> None:
    limits = [Queue(partition=Partition(by, limit=3)) for by in ("args.key", "worker", "meta.a")]
    async with queue(database_url, *limits):
        [(by,)] = await execute(engine, "SELECT by FROM oban_partitions WHERE queue = 'default'")
        assert f"by {by[0]} (limit 3)" in await asyncio.to_thread(ran, database_url, "queues")


async def test_the_command_line_changes_limits(engine: AsyncEngine, database_url: str) -> None:
    async with queue(database_url, Queue(limit=5)) as oban:

        def options() -> Queue:
            assert oban._node is not None
            return oban._node.producers["default"].options

        async def scaled(*arguments: str) -> None:
            await asyncio.to_thread(ran, database_url, "queues", "scale", "default", *arguments)

        await scaled("7", "--global-limit", "20", "--rate-limit", "100/60")
        await eventually(lambda: options() == Queue(limit=7, global_limit=20, rate_limit=RateLimit(100, 60.0)))
        await scaled("--global-limit", "none", "--partition", '{by = "args.key", limit = 3}')
        await eventually(
            lambda: options() == Queue(7, rate_limit=RateLimit(100, 60.0), partition=Partition(["args.key"], limit=3))
        )
        await scaled("--partition", "args.key, worker")
        await eventually(lambda: options().partition == Partition(["args.key", "worker"]))
        await scaled("--rate-limit", "none", "--partition", "none")
        await eventually(lambda: options() == Queue(limit=7))
        refused = CliRunner().invoke(
            main, ["queues", "scale", "default", "--rate-limit", "often", "--database-url", database_url]
        )
        assert refused.exit_code != 0
        assert 'such as "100/60"' in refused.output


async def test_the_doctor_names_nodes_that_disagree_and_those_that_obey_no_limit(
    engine: AsyncEngine, database_url: str
) -> None:
    async with queue(database_url, Queue(limit=5, global_limit=5), Queue(limit=9, global_limit=7)) as oban:
        finding = await conftest.one(engine, "limits")
        assert finding.status == "warning"
        assert finding.found == (
            "the nodes of queue 'default' disagree about its limits: global limit 5 on node-0; global limit 7 on node-1"
        )
        await oban.scale_queue("default", global_limit=6)
        await eventually(lambda: _agree(engine))
        await execute(
            engine,
            "INSERT INTO oban_producers (uuid, name, node, queue, meta) "
            "VALUES (gen_random_uuid(), 'Oban', 'theirs', 'default', '{\"local_limit\": 5}')",
        )
        finding = await conftest.one(engine, "limits")
        assert finding.found == "theirs of another program works queue 'default', which has limits"


async def _agree(engine: AsyncEngine) -> bool:
    return (await conftest.one(engine, "limits")).status == "ok"


async def test_the_doctor_names_what_is_suspended_for_long(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    assert (await conftest.one(engine, "suspensions")).status == "ok"
    await oban.limiter("media").suspend(500)
    assert (await conftest.one(engine, "suspensions")).status == "ok"
    await oban.limiter("media").suspend(7230)
    finding = await conftest.one(engine, "suspensions")
    assert finding.status == "warning"
    assert conftest.without_seconds(finding.found).startswith(
        "in queue 'media', the queue itself is suspended, the longest for 2 h"
    )
