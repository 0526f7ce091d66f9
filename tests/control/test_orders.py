"""Orders for running jobs: which run they are for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.runtime.helpers import fetched
from tests.runtime.test_while_it_looks import Lane, Producers, control_of


@pytest.mark.parametrize("is_retried", [False, True])
async def test_a_cancellation_does_not_reach_a_later_run_of_the_job(is_retried: bool) -> None:
    """The run ends as cancelled, and the job is retried and fetched again, while the answer of a look is under way."""
    row, again, cancelled = fetched("w"), fetched("w", attempt=2), list[int]()

    def meanwhile() -> Sequence[Any]:
        producers["default"].held = {row.id: again if is_retried else row}
        return [(None, None, None, None, None, None, row.id, None)]

    def cancel(job_id: int) -> bool:
        cancelled.append(job_id)
        return True

    producers = Producers("default")
    producers["default"].held = {row.id: row}
    producers["default"].cancel = cancel
    lane = Lane(orders=[meanwhile])
    await control_of(lane, producers, "default").read()
    assert lane.sent[0][1]["running"] == [str(row.id)]
    assert cancelled == ([] if is_retried else [row.id])
