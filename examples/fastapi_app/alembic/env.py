"""Alembic's environment, as ``alembic init -t async`` writes it, with two lines for the queue."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from examples.fastapi_app.models import Base
from oban_sqla import async_url, migrations

URL = async_url(os.environ["DATABASE_URL"])


def migrate(connection: Connection | None = None) -> None:
    context.configure(
        connection=connection,
        url=None if connection else URL,
        target_metadata=Base.metadata,
        literal_binds=connection is None,
        include_object=migrations.include_object,  # autogenerate leaves the queue's tables to the queue
    )
    with context.begin_transaction():
        context.run_migrations()


async def online() -> None:
    engine = create_async_engine(URL)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


if context.is_offline_mode():
    migrate()
else:
    asyncio.run(online())
