"""``job_relationship``: the jobs of a row, loaded and filtered in all of SQLAlchemy's ways."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import (
    DateTime,
    Engine,
    Float,
    Numeric,
    TypeDecorator,
    create_engine,
    func,
    insert,
    make_url,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    aliased,
    class_mapper,
    contains_eager,
    joinedload,
    mapped_column,
    registry,
    selectinload,
    subqueryload,
    with_parent,
)

from oban_sqla import InvalidOption, Job, JobSpec, Oban, job, job_relationship, migrations
from oban_sqla.models import relationship
from oban_sqla.options.job_path import JobPath


class Base(DeclarativeBase):
    pass


class Colour(enum.Enum):
    RED = "r"


class Order(Base):
    __tablename__ = "related_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    jobs: Mapped[list[Job]] = job_relationship("args.order", order_by=Job.id)
    invoices: Mapped[list[Job]] = job_relationship("args.order", workers=["invoice"])
    deep: Mapped[list[Job]] = job_relationship("meta.it's.né")


class Line(Base):
    __tablename__ = "related_lines"
    order_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    jobs: Mapped[list[Job]] = job_relationship("args.line")


class Keyed(MappedAsDataclass, Base):
    __tablename__ = "related_keyed"
    key: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    jobs: Mapped[list[Job]] = job_relationship("args.keyed")


class Day(Base):
    __tablename__ = "related_days"
    day: Mapped[datetime.date] = mapped_column(primary_key=True)
    jobs: Mapped[list[Job]] = job_relationship("args.day")


class Paint(Base):
    __tablename__ = "related_paints"
    colour: Mapped[Colour] = mapped_column(primary_key=True)
    last: Mapped[Job | None] = job_relationship("args.colour", uselist=False)


class Shade(Base):
    __tablename__ = "related_shades"
    colour: Mapped[Colour] = mapped_column(primary_key=True)
    day: Mapped[datetime.date] = mapped_column(primary_key=True)
    matt: Mapped[bool] = mapped_column(primary_key=True)
    jobs: Mapped[list[Job]] = job_relationship("args.shade")


PATHS = relationship._paths.copy()
relationship._paths.clear()  # or every node that a test starts in this process would miss their indexes

ODD = ["[]", "7", '"x"', "null", '{"order": null}', '{"order": {"id": 1}}', '{"order": [1]}', '{"other": 1}', "{}"]


@pytest.fixture
def session(sync_engine: Engine) -> Iterator[Session]:
    """A session with some orders, and rows whose args are odd."""
    Base.metadata.create_all(sync_engine)
    with Session(sync_engine) as session:
        session.add_all([Order(id=1), Order(id=2), Order(id=3)])
        session.add_all(
            [JobSpec("invoice", {"order": 1}), JobSpec("remind", {"order": 1}), JobSpec("remind", {"order": 2})]
        )
        session.add(JobSpec("remind", {"order": "3"}, meta={"it's": {"né": 2}}))
        session.flush()
        for args in ODD:
            session.execute(
                text("INSERT INTO oban_jobs (worker, args) VALUES ('odd', CAST(:args AS jsonb))"), {"args": args}
            )
        session.commit()
        yield session
        session.rollback()
    Base.metadata.drop_all(sync_engine)


def workers_of(order: Any) -> list[str]:
    return [job.worker for job in order.jobs]


def test_it_loads_lazily_and_eagerly(session: Session) -> None:
    expected = {1: ["invoice", "remind"], 2: ["remind"], 3: ["remind"]}
    for option in (None, selectinload(Order.jobs), joinedload(Order.jobs), subqueryload(Order.jobs)):
        session.expunge_all()
        query = select(Order) if option is None else select(Order).options(option)
        assert {order.id: workers_of(order) for order in session.scalars(query).unique()} == expected
    joined = select(Order).join(Order.jobs).options(contains_eager(Order.jobs)).order_by(Job.id)
    session.expunge_all()
    assert {order.id: workers_of(order) for order in session.scalars(joined).unique()} == expected


def test_it_filters_and_counts(session: Session) -> None:
    def ids(query: Any) -> list[int]:
        return sorted(session.scalars(query.with_only_columns(Order.id)))

    assert ids(select(Order).where(Order.jobs.any(Job.worker == "invoice"))) == [1]
    assert ids(select(Order).where(~Order.invoices.any())) == [2, 3]
    other = aliased(Job)
    assert ids(select(Order).join(Order.jobs.of_type(other)).where(other.worker == "invoice")) == [1]
    counts = select(Order.id, func.count(Job.id)).outerjoin(Order.jobs).group_by(Order.id)
    assert {row[0]: row[1] for row in session.execute(counts)} == {1: 2, 2: 1, 3: 1}
    order = session.get_one(Order, 1)
    assert [job.worker for job in order.invoices] == ["invoice"]
    assert len(session.scalars(select(Job).where(with_parent(order, Order.jobs))).all()) == 2
    assert [job.args["order"] for job in session.get_one(Order, 2).deep] == ["3"]


def test_keys_of_all_kinds(session: Session) -> None:
    key, day = uuid.uuid4(), datetime.date(2026, 11, 26)
    session.add_all([Line(order_id=7, name='a "b"'), Keyed(key), Day(day=day), Paint(colour=Colour.RED)])
    session.add(Shade(colour=Colour.RED, day=day, matt=False))
    session.add_all(
        [
            JobSpec("w", {"line": [7, 'a "b"']}),
            JobSpec("w", {"keyed": str(key)}),
            JobSpec("w", {"day": "2026-11-26"}),
            JobSpec("w", {"colour": "RED"}),
            JobSpec("w", {"shade": ["RED", "2026-11-26", False]}),
        ]
    )
    session.commit()
    classes: list[Any] = [Line, Keyed, Day, Shade]
    for one in (session.scalars(select(each)).one() for each in classes):
        assert len(one.jobs) == 1, one
    assert session.scalars(select(Paint)).one().last is not None
    assert len(session.scalars(select(Line).options(selectinload(Line.jobs))).one().jobs) == 1


async def test_an_asynchronous_session_loads_it(session: Session, engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as another:
        order = (await another.scalars(select(Order).where(Order.id == 1).options(selectinload(Order.jobs)))).one()
        assert workers_of(order) == ["invoice", "remind"]
        second = await another.get_one(Order, 2)
        await another.refresh(second, ["jobs"])
        assert workers_of(second) == ["remind"]


@job(name="tests.relationship.takes_an_order")
async def takes_an_order(order: int) -> None: ...


def test_what_can_not_work_is_refused() -> None:
    for path in ("order", "args", "args.", "args..x", "errors.x", 7):
        with pytest.raises(InvalidOption, match="expected a path such as"):
            job_relationship(path)  # type: ignore[arg-type]
    for none in ([print], "", []):
        with pytest.raises(InvalidOption, match="workers are functions with @job"):
            job_relationship("args.order", workers=none)
    with pytest.raises(InvalidOption, match=r"'args.ordre'.*has no parameter 'ordre'; did you mean 'order'"):
        job_relationship("args.ordre", workers=["tests.other", takes_an_order])
    with pytest.raises(InvalidOption, match="backref can't be given; the relationship is view-only"):
        job_relationship("args.order", backref="order")
    for kind, match in (
        (DateTime(), "'at' is DateTime"),
        (Numeric(20, 4), "'at' is Numeric"),
        (Padded(), "'at' is Pad"),
    ):
        with pytest.raises(InvalidOption, match=f"{match}.*which JSON spells in several ways"):
            own = registry()
            reading: type[Any] = (
                own.mapped(  # held by its name: a class that nothing refers to is collected, its mapper too
                    type(
                        "Reading",
                        (),
                        {
                            "__tablename__": "related_readings",
                            "__annotations__": {"at": Mapped[Any], "jobs": Mapped[list[Job]]},
                            "at": mapped_column(kind, primary_key=True),
                            "jobs": job_relationship("args.at"),
                        },
                    )
                )
            )
            try:
                class_mapper(reading)
            finally:
                own.dispose()


class Padded(TypeDecorator[float]):
    impl = Float
    cache_ok = True


def operations(engine: Engine) -> Any:
    connection = engine.connect()
    return connection, Operations(MigrationContext.configure(connection))


@pytest.mark.parametrize("concurrently", [False, True])
def test_an_index_serves_it(empty_database: str, concurrently: bool) -> None:
    engine = create_engine(make_url(empty_database).set(drivername="postgresql+psycopg"))
    try:
        with engine.begin() as connection:
            for statement in migrations.up_statements():
                connection.exec_driver_sql(statement)
            connection.execute(
                text(
                    "INSERT INTO oban_jobs (worker, args) SELECT 'w', CASE WHEN i % 2 = 0 "
                    "THEN jsonb_build_object('order', i / 10) ELSE '{}' END FROM generate_series(1, 40000) i"
                )
            )
        Base.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(insert(Order), [{"id": at} for at in range(1, 4001)])
            connection.exec_driver_sql("ANALYZE related_orders")
        for _ in range(2):  # it may be run again
            connection, op = operations(engine)
            with connection:
                migrations.index_jobs(op, "args.order", concurrently=concurrently)
                connection.commit()
        with Session(engine) as session:
            for query in (
                select(Order).join(Order.jobs).where(Order.id.in_(range(10, 20))),
                select(Job).where(Job.args["order"].astext == "7"),
                select(Order).where(Order.id < 50, Order.jobs.any()),
            ):
                plan = "\n".join(session.scalars(text(f"EXPLAIN {_literal(query, engine)}")))
                assert "oban_jobs_args_order_index" in plan, plan
        connection, op = operations(engine)
        with connection:
            migrations.drop_index_jobs(op, "args.order", concurrently=concurrently)
            connection.commit()
            assert connection.scalar(text("SELECT to_regclass('oban_jobs_args_order_index')")) is None
            assert connection.scalar(text("SELECT count(*) FROM pg_statistic_ext")) == 0
    finally:
        engine.dispose()


def _literal(query: Any, engine: Engine) -> str:
    compiled = query.compile(engine, compile_kwargs={"literal_binds": True})
    return str(compiled).replace(":", "\\:")


async def test_a_node_says_once_that_an_index_is_missing(
    sync_engine: Engine, engine: AsyncEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relationship, "_paths", PATHS)
    connection, op = operations(sync_engine)
    with connection:
        for path in ("args.order", "args.line"):
            migrations.index_jobs(op, path)
        connection.commit()
    try:
        async with Oban(engine):
            pass
    finally:
        connection, op = operations(sync_engine)
        with connection:
            for path in ("args.order", "args.line"):
                migrations.drop_index_jobs(op, path)
            connection.commit()
    said = [message for message in caplog.messages if message.startswith("job_relationship(")]
    assert not any("'args.order'" in message or "'args.line'" in message for message in said)
    assert any("migrations.index_jobs(op, 'args.keyed', concurrently=True)" in message for message in said)
    assert len(said) == len(set(said))


def test_names_of_indexes_are_short_plain_and_different() -> None:
    texts = ["args.order", "args.order_id", "args.order.id", "args.Order", "args.né", "meta.order", "args." + "x" * 80]
    names = [JobPath.parse(one, "test").name for one in texts]
    assert names[0] == "oban_jobs_args_order"
    assert len(set(names)) == len(texts)
    assert all(len(f"{name}_index") <= 63 and name.isascii() for name in names)
