"""Every test in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from oban_sqla.testing import resources

from ..mail import Mailer
from ..models import Base

pytest_plugins = ["oban_sqla.testing.plugin"]


@pytest.fixture
async def session(oban_database_url: str) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(oban_database_url)
    async with engine.connect() as connection, connection.begin() as transaction:
        await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(
            connection, join_transaction_mode="create_savepoint", expire_on_commit=False
        ) as session:
            yield session
        await transaction.rollback()
    await engine.dispose()


@dataclass
class Outside:
    """The world as the jobs see it.

    :ivar mails: what was sent, as recipient and subject.
    :ivar requests: what the warehouse was told.
    :ivar answer: what the warehouse answers.
    """

    mails: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    requests: list[httpx.Request] = field(default_factory=list[httpx.Request])
    answer: httpx.Response = field(default_factory=lambda: httpx.Response(204))

    async def send(self, to: str, subject: str, text: str) -> None:
        self.mails.append((to, subject))

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer


@pytest.fixture(autouse=True)
def outside() -> Iterator[Outside]:
    outside = Outside()
    client = httpx.AsyncClient(transport=httpx.MockTransport(outside.handle), base_url="https://warehouse")
    with resources({httpx.AsyncClient: client, Mailer: outside}):
        yield outside
