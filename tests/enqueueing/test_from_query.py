"""``enqueue_from``: a job for each row of a query, written inside the database."""

from __future__ import annotations

import asyncio
import enum
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    DateTime,
    Engine,
    Enum,
    Insert,
    Integer,
    Interval,
    LargeBinary,
    Update,
    cast,
    column,
    create_engine,
    event,
    func,
    literal,
    literal_column,
    make_url,
    null,
    select,
    text,
    true,
    union_all,
    values,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from oban_sqla import InvalidOption, Job, Oban, Unique, enqueue_from, job, telemetry, worker
from oban_sqla.testing import drain, mode
from oban_sqla.workers.registry import workers
from tests.enqueueing.application import User
from tests.enqueueing.conftest import Run
from tests.support import eventually


@job(name="query.remind", queue="mail", priority=3)
async def remind(user_id: int, greeting: str = "Hello") -> None: ...


@job(name="query.once", unique=Unique())
async def once(user_id: int) -> None: ...


@job(name="query.anything")
async def anything(**args: Any) -> None: ...


@worker(name="query.Report")
class Report:
    async def process(self, job: Job) -> None: ...


def numbers(count: int, label: str = "user_id") -> Any:
    return select(func.generate_series(1, count).label(label))


def numbers_from(rows: Any) -> Any:
    return select(literal_column("n", Integer).label("user_id")).select_from(rows)


def rows_of(session: Session, name: str) -> list[Job]:
    return list(session.scalars(select(Job).where(Job.worker == name).order_by(Job.id)))


def test_each_row_becomes_a_job(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add_all([User(name="ann"), User(name="bob")])  # flushed first
        query = select(User.id.label("user_id"), (literal("Dear ") + User.name).label("greeting")).order_by(User.name)
        assert enqueue_from(session, remind, query) == 2
        ann, bob = rows_of(session, "query.remind")
        by_name = {user.name: user.id for user in session.scalars(select(User))}
        assert ann.args == {"user_id": by_name["ann"], "greeting": "Dear ann"}
        assert bob.args == {"user_id": by_name["bob"], "greeting": "Dear bob"}
        assert (ann.queue, ann.priority, ann.state, ann.max_attempts) == ("mail", 3, "available", 20)

    run(scenario)


def test_columns_and_options_decide_when_and_where(run: Run) -> None:
    later = datetime(2099, 1, 1, 12, tzinfo=UTC)

    def scenario(session: Session) -> None:
        rows = values(
            column("user_id", Job.id.type), column("at", DateTime(timezone=True)), column("p", Job.id.type), name="rows"
        ).data([(1, later, 99), (2, None, -4)])
        query = select(rows.c.user_id, rows.c.at.label("scheduled_at"), rows.c.p.label("priority"))
        assert enqueue_from(session, remind, query, queue="slow", tags=["a"], meta={"why": "test"}) == 2
        waits, due = rows_of(session, "query.remind")
        assert (waits.scheduled_at, waits.state, waits.priority) == (later, "scheduled", 9)
        assert (due.state, due.priority, due.queue, due.tags, due.meta) == (
            "available",
            0,
            "slow",
            ["a"],
            {"why": "test"},
        )
        assert abs(due.scheduled_at - datetime.now(UTC)) < timedelta(minutes=1)
        assert enqueue_from(session, remind.options(schedule_in=60), numbers(1)) == 1
        assert rows_of(session, "query.remind")[-1].state == "scheduled"

    run(scenario)


def test_the_select_s_own_criteria_hold(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add_all([User(name="ann"), User(name="deleted")])
        session.flush()
        alive = with_loader_criteria(User, User.name != "deleted")
        assert enqueue_from(session, remind, select(User.id.label("user_id")).options(alive)) == 1

    run(scenario)


def test_a_listener_of_the_session_that_filters_tenants_holds(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add_all([User(name="mine"), User(name="theirs")])
        session.flush()

        @event.listens_for(session, "do_orm_execute")
        def only_mine(state: ORMExecuteState) -> None:
            if state.is_orm_statement:
                state.statement = state.statement.options(with_loader_criteria(User, User.name == "mine"))

        assert enqueue_from(session, remind, select(User.id.label("user_id"))) == 1
        both = union_all(select(User.id.label("user_id")), select(User.id.label("user_id")))
        assert enqueue_from(session, remind, both) == 2

    run(scenario)


@pytest.mark.parametrize("fetching", [{}, {"yield_per": 10}, {"stream_results": True}])
def test_a_listener_sees_the_execution_options_of_the_query(run: Run, fetching: dict[str, Any]) -> None:
    def scenario(session: Session) -> None:
        session.add_all([User(name="mine"), User(name="theirs")])
        session.flush()

        @event.listens_for(session, "do_orm_execute")
        def of_tenant(state: ORMExecuteState) -> None:
            if (tenant := state.execution_options.get("tenant")) is not None:
                state.statement = state.statement.options(with_loader_criteria(User, User.name == tenant))

        query = select(User.id.label("user_id")).execution_options(tenant="mine", **fetching)
        assert len(session.scalars(query).all()) == 1
        assert enqueue_from(session, remind, query) == 1
        both = union_all(select(User.id.label("user_id")), select(User.id.label("user_id")))
        assert enqueue_from(session, remind, both.execution_options(tenant="mine")) == 2

    run(scenario)


def test_unique_jobs_have_the_keys_that_specs_have(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add(once.new(2))
        assert enqueue_from(session, once, numbers(3)) == 2
        assert enqueue_from(session, once, union_all(numbers(4), numbers(4))) == 1
        again = once.new(4)
        session.add(again)
        session.flush()
        assert again.conflict
        ways = (Unique(period=3600), Unique(fields=["queue", "args"], keys=["user_id"]), Unique(states="scheduled"))
        for queue, unique in enumerate(ways):
            spec = once.options(unique=unique, schedule_in=7200, queue=f"q{queue}").new(50)
            session.add(spec)
            session.flush()
            assert enqueue_from(session, once, numbers(50), unique=unique, schedule_in=7200, queue=f"q{queue}") == 49

    run(scenario)


def test_a_wide_row_and_odd_names_are_args(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        names = [f"column {at}" for at in range(120)] + ["it's", 'say "x"', "100%", "a:b", "né"]
        assert enqueue_from(session, anything, select(*(literal(at).label(name) for at, name in enumerate(names)))) == 1
        [made] = rows_of(session, "query.anything")
        assert made.args == {name: at for at, name in enumerate(names)}
        assert enqueue_from(session, Report, select(literal("x").label("name"))) == 1
        assert rows_of(session, "query.Report")[0].args == {"name": "x"}

    run_once(scenario)


class Colour(enum.Enum):
    RED = "r"


NAIVE = cast(literal("2026-01-01 00:00"), DateTime())


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (numbers(1, "user"), "unknown label 'user'"),
        (select(func.least(1, 2)), "has no name; give it one: .label"),
        (select(literal(1)), "has no name; give it one: .label"),
        (numbers(1).add_columns(literal(datetime(2026, 1, 1)).label("scheduled_at")), "scheduled_at has no time zone"),
        (select(literal(1).label("greeting")), "no column has the label 'user_id', and the function needs it"),
        (select(literal(1).label("user_id"), literal(2).label("user_id")), "two columns are called 'user_id'"),
        (numbers(1).add_columns(NAIVE.label("scheduled_at")), "scheduled_at has no time zone"),
        (
            numbers(1).add_columns(cast(literal("RED"), Enum(Colour)).label("greeting")),
            "'greeting' is an enum, of which the database has the name",
        ),
        (numbers(1).add_columns(cast(literal(b"x"), LargeBinary()).label("greeting")), "'greeting' is bytes"),
        (numbers(1).add_columns(literal("7").label("priority")), "the option 'priority' takes a number"),
        (numbers(1).add_columns(literal(7).label("queue")), "the option 'queue' takes text"),
        (numbers(1).add_columns(literal("now").label("scheduled_at")), "the option 'scheduled_at' takes a time"),
        (numbers(1).add_columns(literal("{}").label("meta")), "the option 'meta' takes JSON"),
        (text("SELECT 1 AS user_id"), "expected a select(…) with labels"),
        (numbers(1).add_columns(text("'Hi' AS greeting")), "a column is a text(…)"),
        (union_all(numbers(1).add_columns(text("'Hi'")), numbers(1)), "a column is a text(…)"),
    ],
)
def test_what_no_worker_could_read_is_refused_before_any_sql(query: Any, words: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        enqueue_from(Session(), remind, query)  # a session without a database
    assert words in str(refused.value)


def test_an_option_that_is_given_twice_is_refused() -> None:
    @job(name="query.priority")
    async def with_priority(priority: int) -> None: ...

    try:
        with pytest.raises(InvalidOption, match="'priority' is a parameter of the function and an option of a job"):
            enqueue_from(Session(), with_priority, numbers(1, "priority"))
    finally:
        workers.remove(["query.priority"])
    due = numbers(1).add_columns(func.now().label("scheduled_at"))
    with pytest.raises(InvalidOption, match="the option 'schedule_in' and a column 'scheduled_at'; choose one"):
        enqueue_from(Session(), remind, due, schedule_in=5)
    some = numbers(1).options(with_loader_criteria(User, true()))
    parts, limited = union_all(some, numbers(1)), union_all(some.limit(1), numbers(1))
    with pytest.raises(InvalidOption, match="Unique\\(keys\\): the function has no parameter 'usr_id'; did you mean"):
        enqueue_from(Session(), remind, numbers(1), unique=Unique(keys=["usr_id"]))
    for union in (parts, union_all(parts, numbers(1)), union_all(parts.limit(1), numbers(1)), limited):
        with pytest.raises(InvalidOption, match="options of the parts of a union are lost"):
            enqueue_from(Session(), remind, union)
    wrong: Any = print
    with pytest.raises(InvalidOption, match="expected a function with @job or a class with @worker"):
        enqueue_from(Session(), wrong, numbers(1))


def test_a_query_over_tables_of_another_engine_is_refused(sync_engine: Engine, application: None) -> None:
    elsewhere = create_engine("postgresql+psycopg://else:secret@nowhere/other")
    ids, table = select(User.id.label("user_id")), User.__table__
    several = (
        ids,
        union_all(ids, ids),
        union_all(ids.limit(1), numbers(1)),
        union_all(numbers(1), union_all(numbers(1), ids)),
        select(table.c.id.label("user_id")),
        select(func.min(User.id).label("user_id")),
    )
    with Session(binds={User: elsewhere, Job: sync_engine}) as session:
        for query in several:
            with pytest.raises(InvalidOption, match=r"has users on another engine \(postgresql.*:\*\*\*@nowhere"):
                enqueue_from(session, remind, query)
    # One whose reads go to a replica writes both on the primary.
    with RoutingSession(sync_engine, elsewhere) as session:
        assert enqueue_from(session, remind, ids.where(User.id < 0)) == 0


def test_a_sharded_session_is_refused_because_its_rows_are_on_several_engines(sync_engine: Engine) -> None:
    def everywhere(*_: Any, **__: Any) -> Any:
        return ["one", "two"]

    def one(*_: Any, **__: Any) -> Any:
        return "one"

    with ShardedSession(
        shard_chooser=one,
        identity_chooser=everywhere,
        execute_chooser=everywhere,
        shards={"one": sync_engine, "two": sync_engine},
    ) as session:
        with pytest.raises(InvalidOption, match="a sharded session has rows on several engines"):
            enqueue_from(session, remind, numbers(2))
        session.add(remind.new(user_id=1))
        session.commit()
        session.add(remind.new(user_id=2))
        session.flush()
    with Session(sync_engine) as plain:
        assert [job.args["user_id"] for job in rows_of(plain, "query.remind")] == [1]


class RoutingSession(Session):
    def __init__(self, primary: Engine, replica: Engine) -> None:
        super().__init__()
        self._primary, self._replica = primary, replica

    def get_bind(self, mapper: Any = None, *, clause: Any = None, **_: Any) -> Engine:
        return self._primary if self._flushing or isinstance(clause, Update | Insert) else self._replica


def test_an_option_that_is_null_in_a_row_is_the_worker_s(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        options = ("scheduled_at", "priority", "queue", "max_attempts", "meta")
        nulls = [cast(null(), JSON(none_as_null=True)) if name == "meta" else null() for name in options]
        query = numbers(1).add_columns(*(each.label(name) for name, each in zip(options, nulls, strict=True)))
        assert enqueue_from(session, remind.options(max_attempts=7, meta={"why": "test"}), query) == 1
        [row] = rows_of(session, "query.remind")
        found = (row.state, row.priority, row.queue, row.max_attempts, row.meta)
        assert found == ("available", 3, "mail", 7, {"why": "test"})

    run_once(scenario)


def test_the_meta_of_a_row_keeps_the_weight_and_the_deadline_of_its_job(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        query = numbers(2).add_columns(func.jsonb_build_object("tenant", "a").label("meta"))
        assert enqueue_from(session, remind.options(weight=3, meta={"why": "test"}), query, deadline=60) == 2
        rows = rows_of(session, "query.remind")
        assert [row.meta for row in rows] == [{"tenant": "a", "weight": 3, "deadline": 60.0}] * 2

    run_once(scenario)


def test_two_at_once_in_opposite_order_do_not_deadlock(database_url: str, application: None) -> None:
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    failed: list[BaseException] = []

    def enqueues(order: str, start: threading.Barrier) -> None:
        try:
            for _ in range(5):
                with Session(engine) as session, session.begin():
                    query = numbers_from(text(f"generate_series(1, 3000) n ORDER BY n {order}"))
                    start.wait(20)
                    enqueue_from(session, once, query)
                start.wait(20)
                with Session(engine) as session, session.begin():
                    session.execute(text("DELETE FROM oban_jobs"))
        except BaseException as error:
            failed.append(error)
            start.abort()

    start = threading.Barrier(2)
    threads = [threading.Thread(target=enqueues, args=(order, start)) for order in ("ASC", "DESC")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()
    assert not failed


async def test_the_commit_wakes_the_node(engine: AsyncEngine) -> None:
    seen: list[int] = []

    @job(name="query.seen")
    async def see(number: int) -> None:
        seen.append(number)

    try:
        async with Oban(engine, queues={"default": 10}, poll_interval=600):
            async with AsyncSession(engine) as session, session.begin():
                assert await enqueue_from(session, see, numbers(3, "number")) == 3
            await eventually(lambda: sorted(seen) == [1, 2, 3])
            async with AsyncSession(engine) as session, session.begin():
                due = numbers(1, "number").add_columns(
                    (func.now() + cast(literal(timedelta(seconds=0.5)), Interval())).label("scheduled_at")
                )
                assert await enqueue_from(session, see, due) == 1
            await eventually(lambda: seen.count(1) == 2)
    finally:
        workers.remove(["query.seen"])


async def test_they_run_inline_in_tests_and_are_counted(engine: AsyncEngine) -> None:
    seen: list[int] = []
    counted: list[tuple[str, int]] = []

    @job(name="query.inline")
    async def see(number: int) -> None:
        seen.append(number)

    telemetry.attach(
        "count",
        ["oban.engine.insert_query.stop"],
        lambda _, fields: counted.append((fields["worker"], fields["count"])),
    )
    try:
        async with AsyncSession(engine) as session:
            async with mode("inline"):
                assert await enqueue_from(session, see, numbers(2, "number")) == 2
            assert sorted(seen) == [1, 2]
            assert await enqueue_from(session, see, numbers(1, "number")) == 1
            await drain(session)
            assert seen.count(1) == 2
            await session.rollback()
        assert counted == [("query.inline", 2), ("query.inline", 1)]
    finally:
        telemetry.detach("count")
        workers.remove(["query.inline"])


async def test_a_call_that_is_not_awaited_is_named(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        with pytest.warns(RuntimeWarning, match="'enqueue_from' was never awaited"):
            del (call := [enqueue_from(session, remind, numbers(1))])[:]
        assert call == []
        await asyncio.sleep(0)
