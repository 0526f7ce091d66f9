"""Loading instances before a run: in a node, in threads and children, in drain, inline mode and perform."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Delete, Update, create_engine, event, func, inspect, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, object_session, sessionmaker, with_loader_criteria
from sqlalchemy.orm.exc import DetachedInstanceError

from oban_sqla import (
    Encryption,
    InvalidArgs,
    InvalidOption,
    Job,
    JobSpec,
    JobTimeout,
    Oban,
    ObanError,
    Processes,
    Unique,
    configure_encryption,
    enqueue_from,
    injected,
    job,
)
from oban_sqla.statements.instances import select_by_keys
from oban_sqla.testing import assert_enqueued, check_queued, drain, mode, perform, refute_enqueued
from oban_sqla.workers.registry import workers
from tests.instances import children, models
from tests.instances.conftest import JOINED, Run, connection_of
from tests.instances.models import Base, Clerk, Country, Employee, Line, Manager, Order, calls
from tests.runtime.helpers import execute, finished, until
from tests.support import eventually


@pytest.fixture(autouse=True)
def _forget_workers() -> Iterator[None]:
    before = set(workers)
    yield
    workers.remove(set(workers) - before)


def an_order(session: Session) -> Order:
    order = Order(lines=[Line(number=2), Line(number=1)])
    session.add(order)
    session.flush()
    return order


class TestDrain:
    def test_the_instance_is_loaded_with_its_options_and_detached(self, run: Run) -> None:
        def scenario(session: Session) -> None:
            order = an_order(session)
            session.add_all([models.print_order.new(order), models.send_invoice.new(order)])
            assert drain(session) == {"completed": 2}
            for loaded in calls:
                assert loaded is not order
                assert [line.number for line in loaded.lines] == [1, 2]
                assert object_session(loaded) is None

        run(scenario)

    def test_with_a_session_the_instance_belongs_to_it(self, run: Run) -> None:
        def scenario(session: Session) -> None:
            order = an_order(session)
            worker = models.close_order if connection_of(session).dialect.is_async else models.close_plainly
            session.add(worker.new(order))
            assert drain(session) == {"completed": 1}
            assert calls[0][1] is True
            assert order.card == "closed"

        run(scenario)

    def test_a_list_keeps_its_order_and_what_it_has_twice(self, run: Run) -> None:
        def scenario(session: Session) -> None:
            a, b = an_order(session), an_order(session)
            session.add(models.take_many.new([b, a, b], by_name={"a": a}))
            assert drain(session) == {"completed": 1}
            [(orders, by_name, last)] = calls
            assert [one.id for one in orders] == [b.id, a.id, b.id]
            assert orders[0] is orders[2]
            assert by_name["a"].id == a.id
            assert last is None

        run(scenario)

    def test_one_query_loads_all_of_a_parameter(self, run_once: Run) -> None:
        def scenario(session: Session) -> None:
            session.add(models.take_many.new([an_order(session) for _ in range(50)]))
            session.flush()
            connection = connection_of(session)
            loads: list[str] = []
            event.listen(connection, "before_cursor_execute", lambda *args: loads.append(args[2]))
            assert drain(session) == {"completed": 1}
            assert sum("FROM inst_orders" in statement for statement in loads) == 1
            assert len(calls[0][0]) == 50

        run_once(scenario)

    def test_more_instances_than_a_statement_has_parameters_are_loaded_in_parts(self) -> None:
        for kind, keys, statements in (
            (Order, [(n,) for n in range(40_000)], 1),  # one array
            (Country, [(str(n),) for n in range(40_000)], 4),
            (Line, [(n, n) for n in range(40_000)], 8),
        ):
            assert len(list(select_by_keys(inspect(kind), keys, ()))) == statements

    def test_thousands_of_instances_are_loaded(self, run_once: Run) -> None:
        @job(name="tests.instances.lines")
        def take_lines(lines: list[Line], countries: list[Country]) -> None:
            calls.append((lines, countries))

        def scenario(session: Session) -> None:
            order = an_order(session)
            connection = connection_of(session)
            connection.execute(text(f"INSERT INTO inst_lines SELECT {order.id}, n, '' FROM generate_series(3, 5005) n"))
            connection.execute(text("INSERT INTO inst_countries SELECT n, '' FROM generate_series(1, 101) n"))
            lines, countries = [[order.id, n] for n in range(1, 5_006)], [str(n) for n in range(101, 0, -1)]
            session.add(JobSpec(take_lines, {"lines": lines, "countries": countries}))
            assert drain(session) == {"completed": 1}
            assert [len(one) for one in calls[0]] == [5_005, 101]
            assert calls[0][1][0].code == "101"

        run_once(scenario)

    def test_composite_keys_are_loaded(self, run: Run) -> None:
        def scenario(session: Session) -> None:
            order = an_order(session)
            session.add(models.take_line.new(order.lines[0]))
            assert drain(session) == {"completed": 1}
            [(line, args)] = calls
            assert (line.order_id, line.number, args) == (order.id, 2, {"line": [order.id, 2]})

        run(scenario)

    def test_a_subclass_comes_with_its_own_columns(self, run: Run) -> None:
        def scenario(session: Session) -> None:
            given = [Manager(budget=7), Clerk(desk="a"), Employee(kind="employee")]
            session.add_all(given)
            session.add_all([models.take_employee.new(one) for one in given])
            assert drain(session) == {"completed": 3}
            manager, clerk, employee = calls
            assert (type(manager), type(clerk), type(employee)) == (Manager, Clerk, Employee)
            assert (manager.budget, clerk.desk) == (7, "a")

        run(scenario)

    def test_a_key_that_the_database_prints_otherwise_finds_its_row(self, run_once: Run) -> None:
        def scenario(session: Session) -> None:
            connection_of(session).execute(text("ALTER TABLE inst_countries ALTER code TYPE char(5)"))
            session.add(country := Country(code="fr"))
            session.add(models.take_country.new(country))
            assert drain(session) == {"completed": 1}

        run_once(scenario)

    def test_without_a_loader_option_a_lazy_attribute_raises(self, run_once: Run) -> None:
        def scenario(session: Session) -> None:
            session.add(models.take_many.new([an_order(session)]))
            drain(session)
            with pytest.raises(DetachedInstanceError):
                _ = calls[0][0][0].lines

        run_once(scenario)


class TestMissing:
    @pytest.mark.parametrize(
        ("missing", "state"), [("cancel", "cancelled"), ("discard", "discarded"), ("retry", "retryable")]
    )
    def test_a_row_that_is_gone_ends_the_job_as_its_worker_says(self, run: Run, missing: Any, state: str) -> None:
        @job(name=f"tests.instances.missing_{missing}", missing=missing)
        def take(order: Order, others: list[Order]) -> None:
            calls.append(order)

        def scenario(session: Session) -> None:
            order = an_order(session)
            session.add(take.new(order, [order]))
            session.add(JobSpec(take, {"order": order.id, "others": [order.id, 99]}))
            session.flush()
            assert drain(session) == {"completed": 1, state: 1}
            [errors] = session.scalars(select(Job.errors).where(Job.state == state))
            assert "there is no Order with the key 99 any more" in errors[0]["error"]
            assert len(calls) == 1

        run(scenario)

    def test_by_default_it_is_cancelled(self, run_once: Run) -> None:
        def scenario(session: Session) -> None:
            session.add(JobSpec(models.take_line, {"line": [7, 1]}))
            assert drain(session) == {"cancelled": 1}
            [errors] = session.scalars(select(Job.errors))
            assert "there is no Line with the key [7, 1] any more" in errors[0]["error"]

        run_once(scenario)

    def test_an_employee_that_is_a_manager_no_more_is_missing(self, run_once: Run) -> None:
        @job(name="tests.instances.manager")
        def take(manager: Manager) -> None: ...

        def scenario(session: Session) -> None:
            session.add(manager := Manager())
            session.add(take.new(manager))
            session.flush()
            connection_of(session).execute(text("DELETE FROM inst_managers"))
            assert drain(session) == {"cancelled": 1}

        run_once(scenario)


class TestInline:
    def test_a_job_gets_the_row_that_its_flush_has_written(self, run: Run) -> None:
        def scenario(session: Session) -> None:
            order = Order()
            session.add_all([order, models.print_order.new(order), models.send_invoice.new(order)])
            with mode("inline"):
                session.flush()
            assert [one.id for one in calls] == [order.id] * 2

        run(scenario)


class TestPerform:
    async def test_the_job_gets_the_very_instance(self) -> None:
        order = Order()
        await perform(models.send_invoice.new(order))
        assert calls == [order]

    def test_also_inside_of_containers_and_beside_other_arguments(self) -> None:
        a, b = Order(), Order(id=7)
        perform(models.take_many.new([a, b], by_name={"b": b}))
        [(orders, by_name, _)] = calls
        assert orders[0] is a
        assert orders[1] is by_name["b"] is b

    def test_an_injected_job_shows_keys_as_far_as_they_are_known(self, run_once: Run) -> None:
        def scenario(session: Session) -> None:
            line = an_order(session).lines[0]
            perform(models.take_line.new(line))
            perform(models.take_line.new(Line()))
            assert calls[0] == (line, {"line": [line.order_id, line.number]})
            assert calls[1][1] == {"line": None}

        run_once(scenario)

    def test_its_job_is_told_to_stop(self) -> None:
        @job(name="instances.asks", timeout=0.02)
        def asks(job: Job, order: Order) -> None:
            while not job.cancelled():
                time.sleep(0.001)

        with pytest.raises(JobTimeout):
            perform(asks.new(Order(id=7)))

    def test_the_instance_stays_in_the_tests_session(self, run_once: Run) -> None:
        def scenario(session: Session) -> None:
            order = an_order(session)
            perform(models.close_plainly.new(order), session=session)
            assert calls == [(order, True)]
            assert order.card == "closed"

        run_once(scenario)

    def test_keys_are_loaded_in_the_session(self, run_once: Run) -> None:
        def scenario(session: Session) -> None:
            order = an_order(session)
            perform(models.print_order, {"order": order.id}, session=session)
            perform(models.close_plainly, {"order": order.id}, session=session)
            assert [line.number for line in calls[0].lines] == [1, 2]
            assert object_session(calls[0]) is None
            assert calls[1] == (order, True)

        run_once(scenario)

    async def test_keys_are_loaded_in_an_async_session(self, engine: AsyncEngine) -> None:
        async with engine.connect() as connection, connection.begin() as outer:
            await connection.run_sync(Base.metadata.create_all)
            async with AsyncSession(connection, **JOINED) as session:
                order = await session.run_sync(an_order)
                await perform(models.send_invoice, {"order": order.id}, session=session)
                await perform(models.close_order, {"order": order.id}, session=session)
                with pytest.raises(InvalidOption, match="needs a Session; pass the instances themselves"):
                    perform(models.print_order, {"order": order.id}, session=session)
            await outer.rollback()
        assert [line.number for line in calls[0].lines] == [1, 2]
        assert calls[1] == (order, True)

    def test_keys_without_a_session_are_refused(self) -> None:
        with pytest.raises(InvalidOption, match=r"pass the instances themselves, or perform\(spec, session=session\)"):
            perform(models.print_order, {"order": 7})


def test_a_query_gives_keys_by_its_labels(run: Run) -> None:
    def scenario(session: Session) -> None:
        order = an_order(session)
        orders = select(Order.id.label("order"))
        session.add(models.print_order.options(unique=Unique()).new(order))
        assert enqueue_from(session, models.print_order, orders, unique=Unique()) == 0  # it is the same job
        key = func.jsonb_build_array(Line.order_id, Line.number)
        assert enqueue_from(session, models.take_line, select(key.label("line"))) == 2
        assert drain(session) == {"completed": 3}
        assert calls[0].id == order.id

    run(scenario)


def test_assertions_take_instances(run: Run) -> None:
    def scenario(session: Session) -> None:
        order = an_order(session)
        session.add(models.take_many.new([order], last=order))
        [found] = assert_enqueued(session, worker=models.take_many, args={"last": order, "orders": [order]})
        assert found.args["last"] == order.id
        refute_enqueued(session, args={"last": an_order(session)})
        with pytest.raises(InvalidArgs, match=r"args.last: this Order has no key yet; flush the session first"):
            refute_enqueued(session, args={"last": Order()})

    run(scenario)


def test_the_key_of_an_encrypted_job_is_encrypted_too(run: Run) -> None:
    @job(name="tests.instances.sealed", encrypted=True)
    def sealed(order: Order, others: list[Order]) -> None:
        calls.append((order, others))

    def scenario(session: Session) -> None:
        order = an_order(session)
        session.add(sealed.new(order, [order]))
        session.add(JobSpec(sealed, {"order": 987654321, "others": []}))
        assert drain(session) == {"completed": 1, "cancelled": 1}
        assert calls[0][0].id == order.id
        rows = str(session.execute(text("SELECT to_jsonb(j) FROM oban_jobs j")).all())
        assert "987654321" not in rows

    configure_encryption(Encryption([Fernet.generate_key()]))
    try:
        run(scenario)
    finally:
        configure_encryption(None)
    order = Order()
    perform(sealed.new(order, []))
    assert calls[-1] == (order, [])


def test_waiting_keys_pass_the_check_and_misfits_do_not(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        session.add(models.print_order.new(an_order(session)))
        session.flush()
        check_queued(session)
        session.add(JobSpec("tests.instances.models.print_order", {"order": "x"}))
        session.flush()
        with pytest.raises(AssertionError, match="expected Order or its key, got str"):
            check_queued(session)

    run_once(scenario)


@pytest.fixture
async def tables(engine: AsyncEngine) -> AsyncIterator[None]:
    """The tables of the mapped classes, committed."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


async def added(engine: AsyncEngine, *make: Any) -> tuple[int, list[int]]:
    """Commit an order and jobs of it; their ids."""
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        order = Order(lines=[Line(number=1)])
        specs = [one.new(order) for one in make]
        session.add_all([order, *specs])
    return order.id, [spec.id for spec in specs]


class TestNode:
    async def test_coroutines_and_threads_get_what_was_committed(self, engine: AsyncEngine, tables: None) -> None:
        order, ids = await added(engine, models.send_invoice, models.print_order, models.close_order)
        async with Oban(engine, queues={"instances": 1}):
            await finished(engine, ids)
        assert [(one.id, len(one.lines)) for one in calls[:2]] == [(order, 1)] * 2
        assert calls[2][1] is True
        async with AsyncSession(engine) as session:
            assert await session.scalar(select(Order.card)) == "closed"

    async def test_a_plain_session_loads_it_in_a_thread(self, engine: AsyncEngine, tables: None) -> None:
        _, ids = await added(engine, models.close_plainly)
        plain = create_engine(engine.url.set(drivername="postgresql+psycopg"))
        try:
            async with Oban(engine, queues={"plainly": 1}, sessionmaker=sessionmaker(plain)):
                await finished(engine, ids)
        finally:
            plain.dispose()
        assert calls[0][1] is True

    async def test_an_instance_is_read_where_it_was_committed_and_not_from_a_replica(
        self, engine: AsyncEngine, tables: None
    ) -> None:
        behind = create_async_engine(engine.url.set(database="nowhere"))  # a replica that has nothing yet

        class Routing(Session):
            def get_bind(self, mapper: Any = None, *, clause: Any = None, **_: Any) -> Any:
                writes = self._flushing or isinstance(clause, Update | Delete)
                return (engine if writes else behind).sync_engine

        maker = async_sessionmaker(sync_session_class=Routing)
        _, ids = await added(engine, models.send_invoice, models.print_order, models.close_order)
        async with Oban(engine, queues={"instances": 1}, sessionmaker=maker) as oban:
            await finished(engine, ids)
            assert len(calls[0].lines) == 1
            async with AsyncSession(engine) as session:
                one = await session.get_one(Job, ids[0])
            async with maker() as session:
                session.add(one)
                assert await oban.retry(one, session=session) == 1
                assert one.state == "available"  # read again where it was changed

    async def test_the_programs_own_sessionmaker_decides_what_a_job_can_see(
        self, engine: AsyncEngine, tables: None
    ) -> None:
        class TenantSession(Session): ...

        event.listen(TenantSession, "do_orm_execute", _only_open)
        maker = async_sessionmaker(engine, sync_session_class=TenantSession)
        _, [closed] = await added(engine, models.send_invoice)
        async with engine.begin() as connection:
            await connection.execute(update(Order).values(card="closed"))
        _, [is_open] = await added(engine, models.send_invoice)
        async with Oban(engine, queues={"instances": 1}, sessionmaker=maker):
            await until(engine, closed, "cancelled")
            await until(engine, is_open, "completed")

    async def test_specs_that_a_runtime_enqueues_take_their_keys_too(self, engine: AsyncEngine, tables: None) -> None:
        order, _ = await added(engine)
        async with Oban(engine, queues={"instances": 1}) as oban:
            async with AsyncSession(engine) as session:
                found = await session.get_one(Order, order)
            spec = models.send_invoice.new(found)
            await oban.enqueue(spec)
            await finished(engine, [spec.id or 0])
            with pytest.raises(ObanError, match="this Order has no row"):
                await oban.enqueue(models.send_invoice.new(Order()))

    async def test_a_load_that_takes_too_long_is_a_timeout(self, engine: AsyncEngine, tables: None) -> None:
        @job(name="tests.instances.slow", queue="instances", timeout=0.2, max_attempts=1)
        async def slow(order: Order) -> None: ...

        _, [job_id] = await added(engine, slow)
        async with engine.connect() as blocking, blocking.begin():
            await blocking.execute(text("LOCK TABLE inst_orders"))
            async with Oban(engine, queues={"instances": 1}):
                found = await until(engine, job_id, "discarded")
        assert "ran longer than its timeout" in found.errors[0]["error"]

    async def test_a_job_that_is_cancelled_while_a_thread_loads_is_not_called(
        self, engine: AsyncEngine, tables: None
    ) -> None:
        @job(name="tests.instances.late", queue="late", timeout=1.5, max_attempts=1)
        def late(order: Order, session: Session = injected()) -> None:
            calls.append(order)

        _, [job_id] = await added(engine, late)
        plain = create_engine(engine.url.set(drivername="postgresql+psycopg"))
        waiting = "SELECT 1 FROM pg_locks WHERE relation = 'inst_orders'::regclass AND NOT granted"
        try:
            async with engine.connect() as blocking:
                locked = await blocking.begin()
                await blocking.execute(text("LOCK TABLE inst_orders"))
                async with Oban(engine, queues={"late": 1}, sessionmaker=sessionmaker(plain)):
                    await eventually(lambda: execute(engine, waiting))
                    stop = asyncio.get_running_loop().time() + 1.5
                    await eventually(lambda: asyncio.get_running_loop().time() > stop)
                    await locked.rollback()
                    found = await until(engine, job_id, "discarded")
        finally:
            plain.dispose()
        assert "ran longer than its timeout" in found.errors[0]["error"]
        assert calls == []

    async def test_children_load_what_they_are_given(
        self, engine: AsyncEngine, tables: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OBAN_TEST_CHILD_URL", engine.url.render_as_string(hide_password=False))
        order, ids = await added(engine, children.in_child, children.in_child_later, children.in_child_with_session)
        processes = Processes(size=1, sessionmaker="tests.instances.children:Sessions")
        maker = async_sessionmaker(engine)
        async with Oban(engine, queues={"children": 1, "alone": 1}, sessionmaker=maker, processes=processes):
            done = await finished(engine, ids)
            assert [one.meta["return"] for one in done] == [[order, 1], [order, 1], [order, True]]
            async with AsyncSession(engine) as session, session.begin():
                session.add(spec := JobSpec(children.in_child, {"order": 99}))
            found = await until(engine, spec.id or 0, "cancelled")
        assert "there is no Order with the key 99 any more" in found.errors[0]["error"]

    async def test_a_child_that_finds_no_sessionmaker_is_refused_at_start(self, engine: AsyncEngine) -> None:
        with pytest.raises(InvalidOption, match="takes instances of mapped classes, and a child process can't find"):
            await Oban(engine, queues={"alone": 1}).start()


def _only_open(state: Any) -> None:
    if state.is_select:
        state.statement = state.statement.options(with_loader_criteria(Order, Order.card != "closed"))
