"""Everything in one file, on a PostgreSQL of its own: ``python examples/quickstart.py``."""

import asyncio

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from oban_sqla import Job, Oban, current_job, embedded, job, later, migrations


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    welcomed: Mapped[bool] = mapped_column(default=False)


@job(queue="mail")
async def send_welcome(session: AsyncSession, user_id: int) -> None:
    """The runtime commits this session together with the job's completion: both happen, or neither."""
    user = await session.get_one(User, user_id)
    print(f"  job {current_job().id}: welcome, {user.email}!")
    user.welcomed = True


async def main(url: str) -> None:
    engine = create_async_engine(url)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    await create_tables(engine)

    async with Oban(engine, queues={"mail": 10}, sessionmaker=sessions):
        print("A user and a job in one transaction:")
        async with sessions.begin() as session:
            user = User(email="ada@example.org")
            session.add(user)
            session.add(send_welcome.new(user_id=later(lambda: user.id)))
        await finished(sessions)

        print("A transaction that fails leaves neither:")
        try:
            async with sessions.begin() as session:
                session.add(User(email="bob@example.org"))
                session.add(send_welcome.new(user_id=2))
                raise ValueError("the card was declined")
        except ValueError as error:
            print(f"  rolled back: {error}")

    print("The history is a query:")
    async with sessions() as session:
        for past in await session.scalars(select(Job).order_by(Job.id)):
            print(f"  job {past.id}: {past.worker} {past.args} {past.state}, attempt {past.attempt}")
        emails = list(await session.scalars(select(User.email).where(User.welcomed)))
        print(f"  welcomed: {', '.join(emails)}")
    await engine.dispose()


async def create_tables(engine: AsyncEngine) -> None:
    """An application with Alembic calls ``migrations.upgrade(op)`` in a revision instead; see fastapi_app."""
    await migrations.migrate(engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


async def finished(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Wait until no job is left to run."""
    while True:
        async with sessions() as session:
            if await session.scalar(select(Job.id).where(~Job.is_finished).limit(1)) is None:
                return
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    with embedded.start() as server:
        asyncio.run(main(server.url))
