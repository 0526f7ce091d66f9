"""A large queue is fetched in halves: one runs while the other is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, telemetry
from tests.faults.jobs import note
from tests.runtime.helpers import finished, insert


@pytest.mark.parametrize(("limit", "most"), [(100, 50), (60, 60)])
async def test_a_fetch_asks_for_half_of_a_large_queue(engine: AsyncEngine, limit: int, most: int) -> None:
    demands: list[int] = []

    def told(_event: str, payload: Mapping[str, Any]) -> None:
        demands.append(payload["demand"])

    ids = await insert(engine, *(note.new() for _ in range(2 * limit)))
    telemetry.attach("halves", ["oban.producer.get.start"], told)
    try:
        async with Oban(engine, queues={"default": limit}):
            await finished(engine, ids)
    finally:
        telemetry.detach("halves")
    assert max(demands) == most
