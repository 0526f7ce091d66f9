"""``examples/shop``: its own tests, run as a user runs them, and its jobs in a node."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from oban_sqla import Oban, migrations
from oban_sqla.workers.registry import workers
from tests.processes import ROOT, running
from tests.support import eventually


def test_the_shops_own_tests_pass(empty_database: str) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OBAN_TEST_", "PYTEST_"))}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "examples/shop"],
        cwd=ROOT,
        env=clean | {"OBAN_TEST_DATABASE_URL": empty_database},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "9 passed" in run.stdout


class Outbox:
    def __init__(self) -> None:
        self.mails: list[str] = []

    async def send(self, to: str, subject: str, text: str) -> None:
        self.mails.append(f"{to}: {subject}")


@pytest.fixture
def registered() -> Iterator[None]:
    """The workers of the shop are known only while this test runs: one has a cron entry, which every node writes."""
    yield
    workers.remove([name for name in workers if name.startswith("examples.shop.")])


async def test_an_order_runs_through_a_node(engine: AsyncEngine, registered: None) -> None:
    from examples.shop.mail import Mailer
    from examples.shop.models import Base, Invoice
    from examples.shop.orders import place_order

    told: list[str] = []
    outbox = Outbox()

    def handle(request: httpx.Request) -> httpx.Response:
        told.append(request.url.path)
        return httpx.Response(204)

    async def make_client() -> Any:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle), base_url="https://warehouse") as client:
            yield client

    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        async with Oban(
            engine,
            queues={"invoices": 1, "mail": 1, "warehouse": 1, "default": 1},
            sessionmaker=sessions,
            resources={httpx.AsyncClient: make_client, Mailer: lambda: outbox},
        ):
            async with sessions.begin() as session:
                order = await place_order(session, "ann@example.com", {"tea": Decimal("12.50")})
            await eventually(lambda: bool(outbox.mails) and bool(told))
        async with AsyncSession(engine) as session:
            [invoice] = await session.scalars(select(Invoice))
        assert outbox.mails == [f"ann@example.com: Invoice {invoice.number}"]
        assert told == [f"/orders/{order.id}"]
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)


async def test_the_pages_show_what_became_of_an_order(empty_database: str, tmp_path: Path) -> None:
    migrating = create_async_engine(empty_database)
    await migrations.migrate(migrating)
    await migrating.dispose()
    command = ["-m", "uvicorn", "examples.shop.pages:app", "--port", "0"]
    # Port 9 discards, so neither the warehouse nor the mail server answers.
    environment = {"DATABASE_URL": empty_database, "WAREHOUSE_URL": "http://127.0.0.1:9", "SMTP_SERVER": "127.0.0.1:9"}
    with running(command, tmp_path / "log", environment=environment) as process:
        (address,) = re.findall(r"running on (http://\S+)", await process.says("Uvicorn running on"))
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=20) as web:
            assert (await web.post("/orders", json={"email": "ann@example.com", "articles": {}})).status_code == 422
            basket = {"email": "ann@example.com", "articles": {"tea": "12.50"}}
            order = (await web.post("/orders", json=basket)).raise_for_status().json()
            path = f"/orders/{order['id']}"

            async def has(**jobs: str) -> bool:
                found: dict[str, Any] = (await web.get(path)).raise_for_status().json()
                return bool(found["jobs"] == jobs)

            await eventually(lambda: has(make_invoice="completed", tell_warehouse="retryable"), 20)
            assert (await web.post(f"{path}/payment")).status_code == 204
            assert (await web.get(path)).json()["paid_at"] is not None
            assert (await web.get("/trouble")).json() == []
            assert "tell_warehouse" in (await web.get("/jobs/jobs?state=retryable")).text
            assert (await web.post("/jobs/jobs/change", data={"change": "retry"})).status_code == 403
