"""Keys, nodes with them, and a search of everything that is stored or logged."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from oban_sqla import Encryption, Oban, Processes, configure_encryption, telemetry
from oban_sqla.options import encryption
from tests.encryption import jobs

EVERY_COLUMN = """
    SELECT table_schema, table_name, column_name FROM information_schema.columns
    WHERE table_name LIKE 'oban\\_%' AND table_schema NOT IN ('pg_catalog', 'information_schema')
"""


@pytest.fixture(autouse=True)
def without_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has no keys yet, and is left without any."""
    monkeypatch.setattr(encryption, "_of_runtime", None)
    jobs.seen.clear()
    yield
    configure_encryption(None)


@pytest.fixture
def key() -> str:
    return Fernet.generate_key().decode()


@pytest.fixture
def keys(key: str) -> Encryption:
    return Encryption(keys=[key])


@pytest.fixture
async def oban(engine: AsyncEngine, keys: Encryption, request: pytest.FixtureRequest) -> AsyncIterator[Oban]:
    """A node with the key, in this process, and with a child for the tests that have one."""
    queues = {"secrets": 5, "secrets_elsewhere": 5} if "[process]" in request.node.name else {"secrets": 5}
    maker = async_sessionmaker(engine, expire_on_commit=False)
    processes = Processes(size=1)
    async with Oban(
        engine, queues=queues, encryption=keys, sessionmaker=maker, processes=processes, shutdown_grace=1
    ) as oban:
        yield oban


Leaks = Callable[[], Awaitable[list[str]]]


@pytest.fixture
def leaks(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> Iterator[Leaks]:
    """Where the canary is: the columns of all tables, the log with its tracebacks, and what telemetry tells."""
    caplog.set_level(logging.DEBUG)
    told: list[str] = []

    def note(event: str, fields: Mapping[str, Any]) -> None:
        told.append(f"{event}: {dict(fields)!r} {fields.get('error')}")

    telemetry.attach("leaks", ["oban.job.start", "oban.job.stop", "oban.job.exception"], note)

    async def search() -> list[str]:
        found: list[str] = []
        async with engine.connect() as connection:
            for schema, table, column in (await connection.execute(text(EVERY_COLUMN))).all():
                query = f'SELECT count(*) FROM "{schema}"."{table}" WHERE "{column}"::text LIKE :canary'
                if (await connection.execute(text(query), {"canary": f"%{jobs.CANARY}%"})).scalar_one():
                    found.append(f"{table}.{column}")
        formatter = logging.Formatter("%(message)s")
        found += [f"log: {said}" for record in caplog.records if jobs.CANARY in (said := formatter.format(record))]
        return found + [f"telemetry: {one}" for one in told if jobs.CANARY in one]

    yield search
    telemetry.detach("leaks")
