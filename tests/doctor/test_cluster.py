"""Nodes, dead or alive, and their leaders: as rows, or as runtimes where these are needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Heartbeat, Oban
from oban_sqla.insight.doctor import Finding
from tests.cluster.helpers import executing, lease_of_another, producer
from tests.doctor import conftest
from tests.runtime.helpers import execute
from tests.support import eventually

ALIVE = '{"locked": true, "stale_after": 15, "local_limit": 2, "paused": false}'
FOREIGN = '{"local_limit": 5, "paused": false}'

One = Callable[[str], Awaitable[Finding]]


@pytest.fixture
def one(engine: AsyncEngine) -> One:
    """The one finding of a check."""
    return lambda check: conftest.one(engine, check)


async def test_nodes_are_named(engine: AsyncEngine, one: One) -> None:
    await producer(engine, ALIVE, "0 s", "a")
    assert (await one("living_nodes")).found == "1 node: gone"
    await producer(engine, FOREIGN, "20 s", "b")  # oban-py sends a heartbeat every 15 s
    await execute(engine, "UPDATE oban_producers SET node = 'theirs' WHERE queue = 'b'")
    assert (await one("living_nodes")).found == "2 nodes, 1 of another program: gone, theirs"


async def test_a_node_that_is_silent_and_connected(engine: AsyncEngine, one: One) -> None:
    async with Oban(engine, queues={"a": 1}, node="here", heartbeat=Heartbeat(interval=60, stale_after=120)) as oban:
        assert oban._node is not None
        await oban._node.liveness.stop()
        await execute(engine, "UPDATE oban_producers SET updated_at = updated_at - interval '5 m'")
        finding = await one("living_nodes")
        assert finding.status == "warning"
        found = conftest.without_seconds(finding.found)
        assert found == "1 node (here) sent no heartbeat for 5 min, but is still connected"
        assert finding.why.endswith("its jobs are not rescued for 1 h")
        assert (await one("dead_nodes")).status == "ok"


async def test_a_heartbeat_from_the_future(engine: AsyncEngine, one: One) -> None:
    await producer(engine, ALIVE, "-1 h", "a")
    finding = await one("living_nodes")
    assert (finding.status, finding.found) == ("warning", "1 node (gone) sent a heartbeat from the future")


async def test_living_nodes_that_no_node_leads(engine: AsyncEngine, one: One) -> None:
    assert (await one("leader")).status == "ok"  # there is nobody to lead
    await producer(engine, FOREIGN, "0 s", "a")
    assert (await one("leader")).status == "ok"  # nor somebody of ours
    await producer(engine, ALIVE, "0 s", "a")
    finding = await one("leader")
    assert (finding.status, finding.found) == (
        "problem", "no node leads the instance 'Oban', although nodes of it are alive"
    )  # fmt: skip
    assert finding.advice.startswith(
        "start a node without Oban(leadership=False); nodes that may lead say in their logs"
    )
    await lease_of_another(engine, seconds=-10)
    assert "a successor is elected within seconds" in (await one("leader")).found
    await execute(engine, "UPDATE oban_leaders SET expires_at = expires_at - interval '2 m'")
    assert (await one("leader")).status == "problem"
    await execute(engine, "UPDATE oban_leaders SET expires_at = 'infinity'")
    assert (await one("leader")).status == "problem"
    await execute(engine, "DELETE FROM oban_leaders")
    await lease_of_another(engine)
    assert (await one("leader")).found == "another leads Oban"


async def test_another_program_leads(engine: AsyncEngine, one: One) -> None:
    assert (await one("foreign_leader")).status == "ok"
    await lease_of_another(engine, name="Oban", seconds=30)
    finding = await one("foreign_leader")
    assert (finding.status, finding.found) == ("warning", "another, a node of oban-py or Oban, leads 'Oban'")
    assert "rescues by time alone" in finding.why
    await execute(engine, "UPDATE oban_leaders SET expires_at = expires_at - interval '1 m'")
    assert (await one("foreign_leader")).status == "ok"


async def test_a_leader_of_this_package_is_not_taken_for_another_program(engine: AsyncEngine, one: One) -> None:
    async with Oban(engine, queues={"a": 1}):
        leaders = await execute(engine, "SELECT name FROM oban_leaders ORDER BY name")
        assert sorted(name for (name,) in leaders) == ["Oban", "oban_sqla:Oban"]
        assert (await one("foreign_leader")).status == "ok"


async def test_a_dead_node_whose_row_is_not_removed(engine: AsyncEngine, one: One) -> None:
    await producer(engine, ALIVE, "90 s", "a")
    assert (await one("dead_nodes")).found == "1 node is dead; the jobs wait until a node leads"
    await lease_of_another(engine)
    assert (await one("dead_nodes")).found == "1 node is dead; a leader rescues the jobs within a minute"
    await execute(engine, "DELETE FROM oban_leaders")
    await producer(engine, ALIVE, "10 m", "a")
    finding = await one("dead_nodes")
    assert (finding.status, finding.found) == ("warning", "1 node (gone) died, and no node leads")
    await lease_of_another(engine)
    assert (await one("dead_nodes")).found == "1 node (gone) died, and the leader another has not removed the rows"


async def test_jobs_without_a_producer(engine: AsyncEngine, one: One) -> None:
    alive = await producer(engine, ALIVE, "0 s")
    await executing(engine, alive)
    await executing(engine, "00000000-0000-0000-0000-000000000001", attempted_at="timezone('UTC', now())")
    assert (await one("orphans")).status == "ok"  # a crash of the server was a moment ago, perhaps
    await executing(engine, "00000000-0000-0000-0000-000000000001")
    await executing(engine, None, attempted_at="'-infinity'")
    finding = await one("orphans")
    assert finding.status == "warning"
    assert finding.found == "2 executing jobs belong to no known node, the oldest for 1 h"
    assert finding.advice == "start a node: no node leads"


async def test_after_a_node_was_started_and_stopped_all_is_well(engine: AsyncEngine, one: One) -> None:
    for _ in range(2):
        async with Oban(engine, queues={"a": 1}, node="here"):
            for check in ("leader", "foreign_leader", "dead_nodes", "living_nodes"):
                assert (await one(check)).status == "ok"

    async def gone() -> bool:
        return (await one("living_nodes")).found == "no node is running"

    await eventually(gone)
