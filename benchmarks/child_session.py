"""Where child processes of a benchmark find their sessions: the database is named by an environment variable."""

from __future__ import annotations

import os

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

Session = async_sessionmaker(create_async_engine(os.environ["OBAN_BENCH_CHILD_URL"]), expire_on_commit=False)
