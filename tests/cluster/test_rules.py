"""What each statement of the cluster changes, and what it leaves alone: one of each kind of row, side by side."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla.statements.cluster import bury
from oban_sqla.statements.lead import elect
from oban_sqla.statements.rescue import reconcile, rescue
from oban_sqla.statements.statement import Statement
from tests.cluster.helpers import executing, lease_of_another, producer
from tests.runtime.helpers import execute

LEASE = {"lease": "oban_sqla:Oban", "holder": "another"}
NO_LEASE = LEASE | {"holder": "a leader that was"}


async def run(engine: AsyncEngine, statement: Statement, **given: Any) -> list[Any]:
    async with engine.begin() as connection:
        return [*await connection.run_sync(lambda sync: statement.execute(sync, **given).all())]


async def states(engine: AsyncEngine) -> dict[int, tuple[str, int]]:
    """The state and attempt of each job."""
    return {row.id: (row.state, row.attempt) for row in await execute(engine, "SELECT * FROM oban_jobs")}


async def test_a_producer_is_given_back_from_its_queue_what_it_does_not_hold(engine: AsyncEngine) -> None:
    mine, other = str(uuid4()), str(uuid4())
    lost = await executing(engine, mine)
    stopped = await executing(engine, mine, cancel_at="now()")
    held = await executing(engine, mine)
    elsewhere = await executing(engine, mine, queue="'elsewhere'")
    of_other = await executing(engine, other)
    ended = await executing(engine, mine, state="'completed'")
    given: dict[str, Any] = {"queue": "gone", "producer": mine, "held": [held], "refused": [], "limit": 10}
    assert sorted(row.id for row in await run(engine, reconcile, **given)) == [lost, stopped]
    assert await states(engine) == {
        lost: ("available", 0),
        stopped: ("cancelled", 0),
        held: ("executing", 1),
        elsewhere: ("executing", 1),
        of_other: ("executing", 1),
        ended: ("completed", 1),
    }


async def test_jobs_of_the_dead_find_their_states_by_the_lease_alone(engine: AsyncEngine) -> None:
    dead, alive = str(uuid4()), str(uuid4())
    await lease_of_another(engine)
    first = await executing(engine, dead)
    again = await executing(engine, dead, meta="""'{"rescued": 1}'""")
    exhausted = await executing(engine, dead, attempt="3", max_attempts="3")
    stopped = await executing(engine, dead, attempt="3", max_attempts="3", cancel_at="now()")
    running = await executing(engine, alive)
    given: dict[str, Any] = {"dead": [dead], "patience": 60.0, "refused": [], "limit": 10}
    assert await run(engine, rescue, **given, **NO_LEASE) == []
    assert len(await run(engine, rescue, **given, **LEASE)) == 4
    assert await states(engine) == {
        first: ("available", 1),
        again: ("retryable", 1),
        exhausted: ("discarded", 3),
        stopped: ("cancelled", 3),
        running: ("executing", 1),
    }


async def test_a_row_of_a_dead_producer_goes_when_it_is_silent_still_and_runs_nothing(engine: AsyncEngine) -> None:
    await lease_of_another(engine)
    silent, busy, back = [await producer(engine) for _ in range(3)]
    await executing(engine, busy)
    rows = await execute(engine, "SELECT uuid::text AS key, updated_at::text AS beat FROM oban_producers")
    given = {"dead": [row.key for row in rows], "beats": [row.beat for row in rows]}
    await execute(engine, "UPDATE oban_producers SET updated_at = now() WHERE uuid::text = :back", back=back)
    assert await run(engine, bury, **given, **NO_LEASE) == []
    assert await run(engine, bury, **given, **LEASE) == [(silent,)]


async def test_who_does_not_lead_takes_no_lease_of_oban_either(engine: AsyncEngine) -> None:
    await lease_of_another(engine, seconds=600)
    [(leads, oban, left)] = await run(engine, elect, lease="oban_sqla:Oban", holder="here", oban="Oban", ttl=15.0)
    assert (leads, oban) == (False, False)
    assert 590 < left <= 600
    assert await execute(engine, "SELECT name, node FROM oban_leaders") == [("oban_sqla:Oban", "another")]
    [(leads, oban, _)] = await run(engine, elect, lease="oban_sqla:Oban", holder="another", oban="Oban", ttl=15.0)
    assert (leads, oban) == (True, True)
