"""Commands behind a PgBouncer in transaction mode, whose server connections other commands have used before."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster.pgbouncer import needed, pgbouncer
from tests.processes import finished

pytestmark = needed


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_commands_meet_nothing_that_others_left(empty_database: str, driver: str) -> None:
    async with pgbouncer(empty_database, pool_size=1) as address:
        url = address.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
        for command in (["migrate"], ["jobs", "list"], ["queues"], ["doctor"]):
            line = ["-m", "oban_sqla", *command, "--database-url", url]
            done = await asyncio.to_thread(finished, line)
            assert done.returncode == 0, done.stderr
