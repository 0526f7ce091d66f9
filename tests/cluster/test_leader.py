"""One node of an instance leads, for as long as it renews its lease."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import InvalidOption, Oban, telemetry
from oban_sqla.runtime.duties import leader as leader_module
from oban_sqla.runtime.lanes.failure import StatementFailed
from tests.cluster.helpers import lease_of_another
from tests.faults.jobs import note
from tests.runtime.helpers import execute, finished, insert
from tests.support import eventually

HOLDERS = "SELECT name, node FROM oban_leaders WHERE expires_at > timezone('UTC', now()) ORDER BY name DESC"


async def test_who_starts_alone_leads_from_its_start(any_engine: AsyncEngine) -> None:
    oban = Oban(any_engine, node="alone")
    assert not oban.is_leader
    async with oban:
        assert oban.is_leader
        assert [(name, node.split("/")[0]) for name, node in await execute(any_engine, HOLDERS)] == [
            ("oban_sqla:Oban", "alone"),
            ("Oban", "alone"),
        ]
    assert not oban.is_leader
    assert await execute(any_engine, HOLDERS) == []


async def test_one_of_many_leads_and_a_resignation_wakes_a_successor(any_engine: AsyncEngine) -> None:
    nodes = [Oban(any_engine, node=f"node {number}", leader_ttl=3600.0) for number in range(5)]
    for oban in nodes:
        await oban.start()
    while nodes:
        [leader] = [oban for oban in nodes if oban.is_leader]
        nodes.remove(leader)
        await leader.stop()
        if nodes:
            await eventually(lambda: any(oban.is_leader for oban in nodes))


async def test_a_node_without_leadership_never_leads_and_leaves_the_lease_to_others(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 1}, node="web", leadership=False, leader_ttl=0.3) as web:
        [due] = await insert(engine, note.new())
        await finished(engine, [due])
        assert not web.is_leader
        assert await execute(engine, HOLDERS) == []
        async with Oban(engine, node="worker") as worker:
            assert worker.is_leader
            await eventually(lambda: _leads(web, "worker"))
        assert not web.is_leader, "a leader that resigns wakes the others"
        assert await execute(engine, HOLDERS) == []
    with pytest.raises(InvalidOption, match="Oban: leadership must be True or False, got None"):
        Oban(engine, leadership=None)  # type: ignore[arg-type]  # what is refused


async def _leads(oban: Oban, node: str) -> bool:
    """Whether `oban` says that `node` leads."""
    return (await oban.health()).leader == node


async def test_only_the_leader_competes_for_the_row_of_oban(engine: AsyncEngine) -> None:
    await lease_of_another(engine, name="Oban", seconds=1)
    async with Oban(engine, node="first", leader_ttl=0.6) as first, Oban(engine, node="second", leader_ttl=0.6):
        assert first.is_leader

        async def both() -> bool:
            return [node.split("/")[0] for _, node in await execute(engine, HOLDERS)] == ["first", "first"]

        await eventually(both)


async def test_a_lease_that_was_taken_is_noticed(engine: AsyncEngine) -> None:
    async with Oban(engine, leader_ttl=0.6) as oban:
        await execute(engine, "UPDATE oban_leaders SET node = 'thief', expires_at = expires_at + interval '1 hour'")
        await eventually(lambda: not oban.is_leader)
        await execute(engine, "UPDATE oban_leaders SET expires_at = now() - interval '1 day'")
        await eventually(lambda: oban.is_leader)


@pytest.mark.parametrize("until", ["'infinity'", "now() + interval '3 days'", "'-infinity'"])
async def test_a_lease_that_no_node_can_have_taken_is_free(engine: AsyncEngine, until: str) -> None:
    await execute(engine, f"INSERT INTO oban_leaders VALUES ('oban_sqla:Oban', 'nobody', now(), {until})")
    async with Oban(engine) as oban:
        assert oban.is_leader


async def test_it_steps_down_by_its_own_clock(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Oban(engine, leader_ttl=0.5) as oban:
        assert oban._node is not None
        lane = oban._node.leadership._lane

        async def unreachable(*_: Any, **__: Any) -> Any:
            raise StatementFailed("elect", ConnectionError("cut off"), None, unknown=True)

        monkeypatch.setattr(lane, "run", unreachable)
        await eventually(lambda: not oban.is_leader)
        assert len(await execute(engine, "SELECT 1 FROM oban_leaders")) == 2, "it gave nothing back"
        monkeypatch.undo()
        await eventually(lambda: oban.is_leader)


async def test_it_steps_down_before_its_lease_ends(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    left = "SELECT CAST(extract(epoch FROM min(expires_at) - timezone('UTC', clock_timestamp())) AS float)"
    async with Oban(engine, leader_ttl=3600.0) as oban:
        now = time.monotonic()
        [[rest]] = await execute(engine, f"{left} FROM oban_leaders")
        assert oban.is_leader
        # Its clock alone, not that of the event loop.
        monkeypatch.setattr(leader_module, "time", SimpleNamespace(monotonic=lambda: now + rest))
        assert not oban.is_leader
        monkeypatch.undo()


async def test_an_election_is_one_statement_and_told(engine: AsyncEngine) -> None:
    told: list[Any] = []
    telemetry.attach("test", ["oban.leader.election.stop"], lambda _, fields: told.append(fields["leader"]))
    other = create_async_engine(engine.url)
    try:
        async with Oban(engine, leader_ttl=3600.0), Oban(other, leader_ttl=3600.0):
            assert set(told) == {True, False}
    finally:
        telemetry.detach("test")
        await other.dispose()


async def test_it_leads_again_after_a_crash_emptied_the_table(engine: AsyncEngine) -> None:
    async with Oban(engine, leader_ttl=0.6) as oban:
        await execute(engine, "TRUNCATE oban_leaders")

        async def back() -> bool:
            return len(await execute(engine, HOLDERS)) == 2

        await eventually(back)
        assert oban.is_leader


@pytest.mark.parametrize("option", ["leader_ttl", "lifeline_interval"])
@pytest.mark.parametrize("value", [0, -1, "15", 1e6])
def test_intervals_out_of_range_are_refused(option: str, value: Any) -> None:
    engine = create_async_engine("postgresql+asyncpg://localhost/app")
    with pytest.raises(InvalidOption, match=option):
        Oban(engine, **{option: value})
