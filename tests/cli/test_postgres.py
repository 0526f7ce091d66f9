"""``oban-sqla postgres``: a server that runs until it is stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import async_url
from tests.processes import finished, running


async def test_it_prints_a_url_that_works_and_ends_with_a_signal(tmp_path: Path) -> None:
    with running(["-m", "oban_sqla", "postgres"], tmp_path / "log", tmp_path, {}) as process:
        await process.says("oban-sqla migrate", 60)
        [url] = [line for line in process.text.splitlines() if line.startswith("postgresql://")]
        assert f"  export DATABASE_URL='{url}'\n  oban-sqla migrate" in process.text
        engine = create_async_engine(async_url(url))
        try:
            async with engine.connect() as connection:
                assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
        finally:
            await engine.dispose()
        migrated = finished(["-m", "oban_sqla", "migrate"], tmp_path, {"DATABASE_URL": url})
        assert migrated.returncode == 0, migrated.stderr
        process.signal(signal.SIGTERM)
        assert await process.ended(60) == 0
    assert "Traceback" not in process.text
    assert not os.path.exists(str(make_url(url).query["host"])), "nothing of it is left"  # noqa: ASYNC240
