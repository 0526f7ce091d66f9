"""The database, from ``DATABASE_URL``."""

import os

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from oban_sqla import async_url

engine = create_async_engine(async_url(os.environ["DATABASE_URL"]))
Session = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
