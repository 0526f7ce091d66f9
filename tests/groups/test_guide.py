"""The guide runs as it stands there."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla.testing import drain
from tests.docs.test_snippets import module, run

__all__ = ["module"]


async def test_the_guide(engine: AsyncEngine, module: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    class Mailer:
        async def send(self, addresses: list[str]) -> list[str]:
            return [address for address in addresses if address.startswith("bob")]

    async with AsyncSession(engine) as session:
        await run("batches-chains-chunks.md", module | {"session": session, "mailer": Mailer()})
        assert await drain(session, with_scheduled=True) == {"completed": 8, "scheduled": 1}
        assert capsys.readouterr().out == "newsletter: {'completed': 4}\n"
        await session.rollback()
