"""How many jobs a node claims ahead."""

from __future__ import annotations

import pytest

from oban_sqla.runtime.pace import Pace


def measured(most: int, job: float, trip: float) -> Pace:
    pace = Pace(most)
    pace.job(job)
    pace.trip(trip)
    return pace


@pytest.mark.parametrize(
    ("most", "job", "ahead"),
    [
        pytest.param(100, 0.002, 50, id="as many as run during a round trip"),
        pytest.param(20, 0.002, 20, id="never more than was asked for"),
        pytest.param(100, 0.010, 0, id="a job that takes as long as a round trip need not wait"),
        pytest.param(0, 0.002, 0, id="not asked for"),
    ],
)
def test_short_jobs_are_claimed_ahead(most: int, job: float, ahead: int) -> None:
    assert measured(most, job, trip=0.010).ahead(limit=10) == ahead


def test_nothing_is_claimed_ahead_before_a_job_has_run() -> None:
    pace = Pace(100)
    pace.trip(0.010)
    assert pace.ahead(limit=10) == 0
