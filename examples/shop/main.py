"""The runtime. `pages` starts it in the web application; ``oban-sqla start examples.shop.main:oban`` runs it alone."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import httpx
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from oban_sqla import Oban, async_url

from . import jobs  # noqa: F401  # pyright: ignore[reportUnusedImport] (registers the workers)
from .mail import Mailer, make_mailer

WAREHOUSE_URL = os.environ.get("WAREHOUSE_URL", "http://localhost:9000")

engine = create_async_engine(async_url(os.environ["DATABASE_URL"]))
Session = async_sessionmaker(engine, expire_on_commit=False)


async def make_client() -> AsyncIterator[httpx.AsyncClient]:
    """The client for the warehouse: one for all jobs, closed when the node stops."""
    async with httpx.AsyncClient(base_url=WAREHOUSE_URL, timeout=10) as client:
        yield client


oban = Oban(
    engine,
    queues={"invoices": 10, "mail": 5, "warehouse": 2, "default": 1},
    sessionmaker=Session,
    resources={httpx.AsyncClient: make_client, Mailer: make_mailer},
)
