"""Chains: one job of a key at a time, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import (
    Batch,
    Cancel,
    Chain,
    Chunk,
    Discard,
    InvalidOption,
    Job,
    Oban,
    Prune,
    Queue,
    Unique,
    Workflow,
    enqueue,
    enqueue_from,
    job,
)
from oban_sqla.statements.insert import KEYS_LOCK
from oban_sqla.testing import drain, mode
from tests.limits.helpers import QUICK, add, all_done
from tests.runtime.helpers import execute
from tests.support import eventually

ran: list[tuple[Any, int]] = []
now: dict[Any, int] = {}
most: dict[Any, int] = {}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    for seen in (ran, now, most):
        seen.clear()


@asynccontextmanager
async def node(engine: AsyncEngine, **options: Any) -> AsyncGenerator[Oban, None]:
    async with Oban(engine, queues={"default": Queue(limit=10)}, **QUICK | options) as oban:
        yield oban


async def note(key: Any, n: int) -> None:
    now[key] = now.get(key, 0) + 1
    most[key] = max(most.get(key, 0), now[key])
    await asyncio.sleep(0.001)
    ran.append((key, n))
    now[key] -= 1


async def states(engine: AsyncEngine) -> list[str]:
    return [state for (state,) in await execute(engine, "SELECT state::text FROM oban_jobs ORDER BY id")]


async def test_jobs_of_one_key_run_one_at_a_time_and_in_order(any_engine: AsyncEngine) -> None:
    @job(chain=Chain(by="args.account"))
    async def book(account: int, n: int) -> None:
        await note(account, n)

    async with node(any_engine) as oban:
        await add(any_engine, [book.new(n % 3, n) for n in range(30)], oban)
        await all_done(any_engine)
    for account in range(3):
        assert [n for key, n in ran if key == account] == list(range(account, 30, 3))
    assert set(most.values()) == {1}


async def test_a_job_says_that_it_waits_for_its_turn(engine: AsyncEngine) -> None:
    gate = asyncio.Event()

    @job(chain=Chain(by=["worker", "args.account"]))
    async def book(account: int) -> None:
        await gate.wait()

    async with node(engine) as oban:
        [first, second, third] = await add(engine, [book.new(7) for _ in range(3)], oban)
        await eventually(lambda: _state(engine, first, "executing"))
        reason = (await oban.why(second)).reason
        assert reason.code == "chain"
        assert "it waits for its turn in the chain by worker,args.account" in reason.text
        assert f"job {first} is executing" in reason.text
        assert "behind 1 more" in (await oban.why(third)).reason.text
        gate.set()
        await all_done(engine)


async def test_a_job_says_which_one_is_first_in_a_chain_that_no_node_runs(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="args.account"))
    async def book(account: int) -> None: ...

    async with AsyncSession(engine) as session, session.begin():
        first, second, third = await enqueue(session, [book.new(7) for _ in range(3)])
    oban = Oban(engine)
    assert "[7], which is free" in (await oban.why(first)).reason.text
    assert (await oban.why(second)).reason.text.endswith(f"[7]: job {first.id} is suspended")
    assert (await oban.why(third)).reason.text.endswith(f"[7]: job {first.id} is suspended, behind 1 more")


async def test_a_spec_says_that_it_is_suspended_and_a_unique_one_finds_it(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="worker"), unique=Unique())
    async def book(n: int) -> None: ...

    async with AsyncSession(engine) as session, session.begin():
        [one, again] = await enqueue(session, [book.new(1), book.new(1)])
        assert (one.state, again.state, again.conflict) == ("suspended", "suspended", True)
        assert again.id == one.id


async def test_unique_jobs_of_a_chain_run_in_the_order_in_which_they_were_added(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="args.account"), unique=Unique())
    async def book(account: int, n: int) -> None:
        ran.append((account, n))

    @job(chain=Chain(by="args.account"))
    async def close(account: int, n: int) -> None:
        ran.append((account, n))

    @job
    async def plain() -> None: ...

    async with AsyncSession(engine) as session, session.begin():
        await enqueue(session, book.new(1, 3))
        specs = [*(book.new(account, n) for n in range(12) for account in (1, 2)), plain.new(), close.new(1, 12)]
        session.add_all([*specs, book.new(2, 5)])
        await session.flush()
        assert [spec.conflict for spec in specs] == [spec is specs[6] for spec in specs]
        assert sorted(ids := [spec.id or 0 for spec in specs if not spec.conflict]) == ids
        await drain(session)
    assert [n for account, n in ran if account == 1] == [3, 0, 1, 2, *range(4, 13)]
    assert [n for account, n in ran if account == 2] == [*range(12)]


async def test_unique_jobs_of_a_chain_that_two_add_in_different_orders_do_not_deadlock(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="worker"), unique=Unique())
    async def book(n: int) -> None: ...

    async def insert(first: AsyncSession, numbers: list[int]) -> int:
        specs = await enqueue(first, [book.new(n) for n in numbers])
        await first.commit()
        return sum(not spec.conflict for spec in specs)

    numbers = [*range(300)]
    for _ in range(5):
        async with AsyncSession(engine) as one, AsyncSession(engine) as other:
            written = await asyncio.gather(insert(one, numbers), insert(other, numbers[::-1]))
        assert sorted(written) == [0, 300]
        await execute(engine, "DELETE FROM oban_jobs")


async def test_a_flush_of_unique_jobs_of_chains_holds_the_locks_of_all_their_keys(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="worker"), unique=Unique())
    async def book(n: int) -> None: ...

    async with AsyncSession(engine) as session:
        session.add_all(book.new(n) for n in range(64))
        await session.flush()
        mine = f"locktype = 'advisory' AND classid = {KEYS_LOCK} AND pid = pg_backend_pid()"
        assert (await session.scalar(text(f"SELECT count(*) FROM pg_locks WHERE {mine}")) or 0) > 20


def test_keys_of_many_fields_begin_with_a_short_prefix() -> None:
    many = [f"args.{letter * 40}" for letter in "abc"]
    one, other, same = Chain(by=many).prefix, Chain(by=many[::-1]).prefix, Chain(by=many).prefix
    assert len(one) < 40
    assert one == same != other
    assert Chain(by=many, on_failure="hold").prefix == f"h{one[1:]}"


async def test_a_retried_job_waits_for_its_turn_again_however_it_is_retried(engine: AsyncEngine) -> None:
    gate = asyncio.Event()

    @job(chain=Chain(by="worker"))
    async def book(n: int) -> None:
        await note("all", n)
        if n == 1:
            await gate.wait()

    async with node(engine) as oban:
        [zero] = await add(engine, [book.new(0)], oban)
        await all_done(engine)
        await add(engine, [book.new(1), book.new(2)], oban)
        await eventually(lambda: len(ran) == 2)
        await execute(engine, f"UPDATE oban_jobs SET state = 'available', attempt = 0 WHERE id = {zero}")
        assert await states(engine) == ["suspended", "executing", "suspended"]
        gate.set()
        await all_done(engine)
    assert ran == [("all", 0), ("all", 1), ("all", 0), ("all", 2)]
    assert most == {"all": 1}


async def test_no_statement_makes_a_job_available_before_its_turn(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="worker"))
    async def book(n: int) -> None: ...

    await add(engine, [book.new(0), book.new(1)])
    await execute(engine, "UPDATE oban_jobs SET state = 'available'")
    assert await states(engine) == ["suspended", "suspended"]


async def test_a_failed_job_that_is_to_be_tried_again_keeps_its_turn(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="worker"), backoff=0.05)
    async def book(n: int) -> None:
        await note("all", n)
        if len(ran) == 1:
            raise RuntimeError("down")

    async with node(engine) as oban:
        await add(engine, [book.new(0), book.new(1)], oban)
        await all_done(engine)
    assert [n for _, n in ran] == [0, 0, 1]


async def test_after_a_discarded_job_the_next_one_runs(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="worker"))
    async def book(n: int) -> Discard | None:
        return Discard("no") if n == 0 else None

    async with node(engine) as oban:
        await add(engine, [book.new(n) for n in range(3)], oban)
        await all_done(engine)
    assert await states(engine) == ["discarded", "completed", "completed"]


@pytest.mark.parametrize("way", ["retry", "cancel", "delete"])
async def test_a_chain_that_holds_stands_until_the_failed_job_is_dealt_with(engine: AsyncEngine, way: str) -> None:
    @job(chain=Chain(by="args.account", on_failure="hold"))
    async def book(account: int, n: int) -> Discard | None:
        await note(account, n)
        return Discard("no") if n == 0 and len(ran) == 1 else None

    async with node(engine) as oban:
        [failed, waiting] = await add(engine, [book.new(1, 0), book.new(1, 1)], oban)
        await eventually(lambda: _state(engine, failed, "discarded"))
        await add(engine, [book.new(2, 0)], oban)  # another key goes on
        await eventually(lambda: len(ran) == 2)
        reason = (await oban.why(waiting)).reason
        assert reason.code == "chain_held"
        assert f"job {failed} holds since it was discarded" in reason.text
        assert await getattr(oban, way)(failed) == 1
        await all_done(engine)
    after = {"retry": ["completed"] * 3, "cancel": ["cancelled"] + ["completed"] * 2, "delete": ["completed"] * 2}
    assert await states(engine) == after[way]


async def test_the_pruner_leaves_the_job_that_holds_a_chain(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="worker", on_failure="hold"))
    async def book(n: int) -> Discard | None:
        return Discard("no") if n == 0 else None

    @job
    async def other() -> Discard:
        return Discard("no")

    held, finished = Batch([book.options(meta={"batch": True}).new(0)]), Batch([other.new()])
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([held, finished])
    async with node(engine, prune=Prune(max_age=0, interval=0.05)) as oban:
        await eventually(lambda: _is_batch_gone(engine, finished))
        assert not await _is_batch_gone(engine, held)
        assert await oban.delete(held) == 1
        [_, _, gone] = await add(engine, [book.new(0), book.new(1), other.new()], oban)
        await eventually(lambda: _is_gone(engine, gone))
        await eventually(lambda: _state(engine, gone - 2, "discarded"))
        assert "it holds its chain, and is kept until it is retried" in (await oban.why(gone - 2)).reason.text
    assert await states(engine) == ["discarded", "suspended"]


async def _is_batch_gone(engine: AsyncEngine, batch: Batch) -> bool:
    return not await execute(engine, "SELECT 1 FROM oban_batches WHERE id = :id", id=batch.id)


async def test_a_chain_that_is_cancelled_after_a_failure_says_so(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="args.account", on_failure="cancel"))
    async def book(account: int, n: int) -> Discard | None:
        return Discard("no") if (account, n) == (1, 0) else None

    async with node(engine) as oban:
        await add(engine, [book.new(account, n) for n in range(3) for account in (1, 2)], oban)
        await all_done(engine)
    assert await states(engine) == ["discarded", "completed", "cancelled", "completed", "cancelled", "completed"]
    [(error,)] = await execute(
        engine, "SELECT DISTINCT errors -> -1 ->> 'error' FROM oban_jobs WHERE state = 'cancelled'"
    )
    assert error == "cancelled because a job before it in its chain was discarded"


async def test_a_cancelled_job_does_not_stop_its_chain(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="worker", on_failure="hold"))
    async def book(n: int) -> Cancel | None:
        return Cancel("not needed") if n == 0 else None

    async with node(engine) as oban:
        await add(engine, [book.new(n) for n in range(2)], oban)
        await all_done(engine)
    assert await states(engine) == ["cancelled", "completed"]


async def test_the_head_of_a_chain_that_is_locked_is_not_passed_over(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="worker"))
    async def book(n: int) -> None:
        await note("all", n)

    [first, _] = await add(engine, [book.new(0), book.new(1)])
    async with AsyncSession(engine) as locker:
        await locker.execute(select(Job.id).where(Job.id == first).with_for_update())
        async with node(engine) as oban:
            await add(engine, [book.new(2)], oban)
            await eventually(lambda: _is_polled(oban))
            assert await states(engine) == ["suspended"] * 3
            await locker.rollback()
            await all_done(engine)
    assert [n for _, n in ran] == [0, 1, 2]


async def test_rows_of_a_query_are_in_chains_too(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="args.account"))
    async def book(account: int, n: int) -> None:
        await note(account, n)

    numbers = select(func.generate_series(0, 9).label("n")).subquery()
    async with node(engine):
        async with AsyncSession(engine) as session, session.begin():
            query = select(numbers.c.n, (numbers.c.n % 2).label("account")).order_by(numbers.c.n)
            assert await enqueue_from(session, book, query) == 10
        await all_done(engine)
    assert [n for key, n in ran if key == 0] == [0, 2, 4, 6, 8]
    assert set(most.values()) == {1}


async def test_a_job_that_is_not_due_holds_its_chain_until_it_is(engine: AsyncEngine) -> None:
    @job(chain=Chain(by="worker"))
    async def book(n: int) -> None:
        await note("all", n)

    async with node(engine) as oban:
        await add(engine, [book.options(schedule_in=0.3).new(0), book.new(1)], oban)
        await all_done(engine)
    assert [n for _, n in ran] == [0, 1]


async def test_drain_and_inline_mode_run_a_chain_to_its_end(any_engine: AsyncEngine) -> None:
    @job(chain=Chain(by="args.account"))
    async def book(account: int, n: int) -> None:
        ran.append((account, n))

    async with AsyncSession(any_engine) as session:
        session.add_all(book.new(1, n) for n in range(3))
        assert await drain(session) == {"completed": 3}
        async with mode("inline"):
            session.add_all(book.new(1, n) for n in range(3, 5))
            await session.flush()
        await session.rollback()
    assert [n for _, n in ran] == [0, 1, 2, 3, 4]


def test_drain_runs_a_chain_of_a_session(sync_engine: Any) -> None:
    @job(chain=Chain(by="worker"))
    def book(n: int) -> None:
        ran.append(("all", n))

    with Session(sync_engine) as session:
        session.add_all(book.new(n) for n in range(3))
        assert drain(session) == {"completed": 3}
    assert [n for _, n in ran] == [0, 1, 2]


def test_what_is_not_a_chain_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidOption, match='Chain: by must be "worker", "args'):
        Chain(by="account")
    with pytest.raises(InvalidOption, match='on_failure must be "continue", "hold" or "cancel", got \'stop\''):
        Chain(by="worker", on_failure="stop")  # type: ignore[arg-type]


def test_a_chain_by_what_is_not_a_parameter_is_refused() -> None:
    async def book(account: dict[str, int]) -> None: ...

    with pytest.raises(InvalidOption, match=r"Chain\(by='args.acount'\): .* 'acount'; did you mean 'account'\?"):
        job(name="chains.typo", chain=Chain(by=["worker", "args.acount"]))(book)
    job(name="chains.nested", chain=Chain(by=["args.account.id", "meta.region"]))(book)


async def test_a_change_that_would_take_a_job_out_of_its_chain_is_refused(any_engine: AsyncEngine) -> None:
    @job(chain=Chain(by=["args.account.id", "meta.region"]))
    async def charge(account: dict[str, int], n: int = 0) -> None: ...

    @job
    async def free(account: dict[str, int]) -> None: ...

    [spec, alone] = await add(any_engine, [charge.new({"id": 1}), free.new({"id": 1})])
    oban = Oban(any_engine)
    others: list[Any] = [{"args": {"account": {"id": 2}}}, {"args": {"account": {}}}, {"meta": {"region": "eu"}}]
    for other in others:
        with pytest.raises(InvalidOption, match=f"update: job {spec} waits for its turn in the chain by .*, which"):
            await oban.update([alone, spec], **other)
    assert await oban.update(spec, args={"account": {"id": 1, "more": 2}, "n": 5}, meta={"other": 1}) == 1
    assert await oban.update(alone, args={"account": {"id": 2}}, meta={"region": "eu"}) == 1
    assert await oban.cancel(spec) == 1
    assert await oban.update(spec, args={"account": {"id": 2}}) == 0


async def test_workers_with_another_policy_have_chains_beside_those_of_the_same_key(engine: AsyncEngine) -> None:
    ran: list[str] = []

    @job(chain=Chain(by="args.shared", on_failure="hold"), max_attempts=1)
    async def holds(shared: int) -> None:
        ran.append("holds")
        raise ValueError("held from here on")

    @job(chain=Chain(by="args.shared", on_failure="cancel"))
    async def cancels(shared: int) -> None:
        ran.append("cancels")

    await add(engine, [holds.new(1), cancels.new(1), holds.new(1), cancels.new(1)])
    async with Oban(engine, queues={"default": 5}):
        await eventually(lambda: len(ran) == 3)
    assert sorted(ran) == ["cancels", "cancels", "holds"]
    assert await execute(engine, "SELECT count(*) FROM oban_jobs WHERE state = 'suspended'") == [(1,)]


async def _is_gone(engine: AsyncEngine, job_id: int) -> bool:
    return not await execute(engine, f"SELECT 1 FROM oban_jobs WHERE id = {job_id}")


async def _state(engine: AsyncEngine, job_id: int, state: str) -> bool:
    return await execute(engine, f"SELECT state::text FROM oban_jobs WHERE id = {job_id}") == [(state,)]


def _is_polled(oban: Oban) -> bool:
    assert oban._node is not None
    return oban._node.releaser._rest > 0.005


async def test_a_chained_job_neither_replaces_another_nor_is_a_node(engine: AsyncEngine) -> None:
    unique = Unique(fields=["worker"], replace=("priority",))
    with pytest.raises(InvalidOption, match=r"one: Unique\(replace=…\) .* can't be used for a job in a chain"):

        @job(chain=Chain(by="worker"), unique=unique)
        async def one(n: int) -> None: ...

    with pytest.raises(InvalidOption, match=r"several: Unique\(replace=…\) .* can't be used for a job in a chain"):

        @job(chunk=Chunk(), unique=unique)
        async def several(jobs: list[Job]) -> None: ...

    @job(unique=Unique(replace=("priority",)))
    async def plain(n: int) -> None: ...

    @job(chain=Chain(by="worker"), unique=Unique())
    async def once(n: int) -> None: ...

    @job(chain=Chain(by="worker"))
    async def chained(n: int) -> None: ...

    with pytest.raises(InvalidOption, match=r"can't be used for a job in a chain"):
        chained.options(unique=Unique(debounce=5)).new(1)
    for batch in (Batch([plain.new(1)]), Batch([chained.new(1)], on_exhausted=plain.new(1))):
        async with AsyncSession(engine) as session:
            session.add(batch)
            with pytest.raises(InvalidOption, match=r"a job in a chain, a chunk or a batch, or for a callback of one"):
                await session.flush()
    async with AsyncSession(engine) as session, session.begin():
        specs = await enqueue(session, [plain.new(1), once.new(1), once.new(2)])
    assert [spec.state for spec in specs] == ["available", "suspended", "suspended"]
    with pytest.raises(InvalidOption, match="runs in a chain, and a job of a workflow"):
        Workflow("flow").add(chained.new(1))
