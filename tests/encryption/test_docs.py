"""The code of the guide to encryption runs as it stands there."""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Oban, configure_encryption
from oban_sqla.options.encryption import is_sealed
from oban_sqla.workers.registry import workers
from tests.control.test_guides import run
from tests.runtime.helpers import execute


async def test_the_guide_to_encryption_runs(engine: AsyncEngine) -> None:
    old, new = Fernet.generate_key(), Fernet.generate_key()
    names: dict[str, Any] = {"__name__": "encryption_guide", "engine": engine, "key": old, "old": old, "new": new}
    try:
        async with AsyncSession(engine) as session:
            names = await run("encryption.md", session=session, **names)
            await session.commit()
    finally:
        workers.remove(["encryption_guide.charge"])
    assert isinstance(names["oban"], Oban)
    [row] = await execute(engine, "SELECT args FROM oban_jobs")
    assert is_sealed(row.args)
    configure_encryption(None)
