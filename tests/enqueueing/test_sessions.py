"""Sessions of other kinds, and what a spec refuses because it is not a row."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, ForeignKey, create_engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from oban_sqla import Batch, InvalidOption, Job, JobSpec, UnsupportedDatabase, Workflow, later
from oban_sqla.models import ObanBase
from tests.enqueueing.application import Base, User
from tests.enqueueing.conftest import Run


async def test_async_with_commits_or_rolls_back(any_engine: AsyncEngine) -> None:
    sessions = async_sessionmaker(any_engine)
    with pytest.raises(LookupError):
        async with sessions.begin() as session:
            session.add(JobSpec("rolled back"))
            await session.flush()
            raise LookupError
    async with sessions.begin() as session:
        session.add(spec := JobSpec("committed"))
    assert spec.id is not None
    async with sessions() as session:
        assert list(await session.scalars(select(Job.worker))) == ["committed"]


async def test_session_on_a_connection_leaves_the_commit_to_it(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        outer = await connection.begin()
        async with AsyncSession(connection) as session:
            session.add(JobSpec("joined"))
            await session.commit()
        await outer.rollback()
    async with AsyncSession(engine) as session:
        assert list(await session.scalars(select(Job.worker))) == []


@pytest.mark.parametrize("target", [Job, ObanBase])
def test_session_with_binds_writes_to_the_engine_of_job(sync_engine: Engine, target: type) -> None:
    elsewhere = create_engine("sqlite://")
    Base.metadata.create_all(elsewhere)
    try:
        with Session(binds={Base: elsewhere, target: sync_engine}) as session:
            user = User(name="ada")
            session.add_all([JobSpec("beside"), user, JobSpec("later", {"id": later(lambda: user.id)})])
            session.commit()
            session.add(JobSpec("alone"))
            session.commit()
            assert session.scalars(select(Job.worker).order_by(Job.id)).all() == ["beside", "later", "alone"]
    finally:
        elsewhere.dispose()


def test_session_with_binds_writes_workflows_and_batches_to_the_engine_of_the_queue(sync_engine: Engine) -> None:
    elsewhere = create_engine("sqlite://")
    Base.metadata.create_all(elsewhere)
    flow = Workflow("bound")
    flow.add(JobSpec("second"), after=[flow.add(JobSpec("first"), name="first")], name="second")
    try:
        there = sync_engine
        with Session(binds={Base: elsewhere, Job: there, Workflow: there, Batch: there}) as session:
            session.add_all([User(name="ada"), flow, batch := Batch([JobSpec("in a batch")])])
            session.commit()
            assert [job.worker for job in flow.jobs] == ["first", "second"]
            assert [job.worker for job in batch.jobs] == ["in a batch"]
    finally:
        elsewhere.dispose()


def test_database_that_is_not_postgresql_is_refused() -> None:
    sqlite = create_engine("sqlite://")
    Base.metadata.create_all(sqlite)
    try:
        for others in ([], [User(name="ada")]):
            with Session(sqlite) as session:
                session.add_all([*others, JobSpec("welcome")])
                with pytest.raises(
                    UnsupportedDatabase, match=r"this session speaks to sqlite; bind Job to a PostgreSQL"
                ):
                    session.commit()
    finally:
        sqlite.dispose()


def test_merge_is_refused(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        with pytest.raises(
            InvalidOption, match=r"a spec is not a row, so it can't be merged; add it with session\.add"
        ):
            session.merge(JobSpec("welcome"))
        session.add(JobSpec("after"))
        session.commit()
        assert session.scalars(select(Job.worker)).all() == ["after"]

    run_once(scenario)


def test_relationship_is_refused() -> None:
    class Own(DeclarativeBase):
        pass

    class Order(Own):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        job_id: Mapped[int] = mapped_column(ForeignKey(Job.id))
        job = relationship(JobSpec)

    try:
        with pytest.raises(
            InvalidOption, match=r"Order\.job: a relationship to JobSpec, which is not a row; relate to Job"
        ):
            Order()
    finally:
        Own.registry.dispose()


def test_relationship_to_job_works(run_once: Run) -> None:
    class Own(DeclarativeBase):
        pass

    class Delivery(Own):
        __tablename__ = "deliveries"
        id: Mapped[int] = mapped_column(primary_key=True)
        job_id: Mapped[int] = mapped_column(ForeignKey(Job.id))
        job: Mapped[Job] = relationship(Job)

    def scenario(session: Session) -> None:
        session.connection().exec_driver_sql("CREATE TEMP TABLE deliveries (id serial PRIMARY KEY, job_id bigint)")
        session.add(spec := JobSpec("deliver"))
        session.flush()
        session.add(Delivery(job_id=spec.id))
        session.flush()
        assert session.scalars(select(Delivery)).one().job.worker == "deliver"

    try:
        run_once(scenario)
    finally:
        Own.registry.dispose()


def test_bulk_save_fails_instead_of_losing_the_job(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        with pytest.raises(IntegrityError):
            session.bulk_save_objects([JobSpec("welcome")])

    run_once(scenario)
