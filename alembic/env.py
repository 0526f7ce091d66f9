"""Alembic's environment for an application with an asynchronous engine, and with the jobs beside its own tables."""

from __future__ import annotations

import asyncio
import os
from logging.config import fileConfig

from alembic import context
from sqlalchemy import URL, Connection, MetaData, NullPool
from sqlalchemy.ext.asyncio import create_async_engine

import oban_sqla

# Yours: the MetaData of your models.
application = MetaData()

config = context.config
if config.config_file_name is not None:
    fileConfig(config.config_file_name, disable_existing_loggers=False)


def url() -> URL:
    return oban_sqla.async_url(os.environ.get("DATABASE_URL", "postgresql://localhost/postgres"))


def run(connection: Connection | None = None) -> None:
    context.configure(
        connection=connection,
        url=None if connection else url(),
        target_metadata=[application, oban_sqla.metadata],
        literal_binds=connection is None,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_online() -> None:
    engine = create_async_engine(url(), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


if context.is_offline_mode():
    run()
else:
    asyncio.run(run_online())
