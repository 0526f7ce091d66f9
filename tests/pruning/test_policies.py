"""What may be said about pruning."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import InvalidOption, JobState, Oban, Prune, job
from oban_sqla.options.prune import DAY


@job(name="policies.beat")
async def beat() -> None: ...


def test_by_default_finished_jobs_stay_for_a_day() -> None:
    [policy] = Prune().all_policies
    assert (policy.age, policy.max_count, policy.queues, policy.workers) == (DAY, None, (), ())
    assert set(policy.states) == {"completed", "cancelled", "discarded"}


def test_the_forms_in_which_a_policy_can_be_written() -> None:
    policy = Prune.Policy(
        state=JobState.DISCARDED, queue=["a", "b"], worker=(beat, "other"), max_age=timedelta(hours=1)
    )  # fmt: skip
    assert (policy.states, policy.queues, policy.workers) == (("discarded",), ("a", "b"), ("policies.beat", "other"))
    assert policy.age == 3600
    assert Prune.Policy(max_age=math.inf).age is None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Prune.Policy(queue="a"), "max_age=math.inf"),
        (lambda: Prune.Policy(state="executing", max_age=1), "got 'executing'"),
        (lambda: Prune.Policy(queue="", max_age=1), r"Policy\(queue\)"),
        (lambda: Prune.Policy(worker=5, max_age=1), r"Policy\(worker\)"),
        (lambda: Prune.Policy(queue=[], max_age=1), r"Policy\(queue\).*got none \(for all: leave it out\)"),
        (lambda: Prune.Policy(worker=(), state=[], max_age=1), r"Policy\(state\).*got none \(for all: leave it out\)"),
        (lambda: Prune.Policy(max_age=-1), r"Policy\(max_age\)"),
        (lambda: Prune.Policy(max_count=-1), "0 or more"),
        (lambda: Prune.Policy(max_count=1.5), "a number of jobs"),  # type: ignore[arg-type]
        (lambda: Prune(max_age=None), "turns pruning off"),  # type: ignore[arg-type]
        (lambda: Prune(max_age="1 day"), r"Prune\(max_age\)"),  # type: ignore[arg-type]
        (lambda: Prune(policies=[{"queue": "a"}]), "must be Prune.Policy"),  # type: ignore[list-item]
        (lambda: Prune(interval=0), "above 0"),
        (lambda: Prune(limit=10_001), "from 1 to 10,000"),
        (lambda: Prune(limit=0), "from 1 to 10,000"),
        (lambda: _oban(prune=True), "prune must be Prune"),
        (lambda: _oban(prune=3600), "prune must be Prune"),
        (lambda: _oban(prun=Prune()), "did you mean 'prune'"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        make()


def _oban(**options: Any) -> Oban:
    return Oban(create_async_engine("postgresql+asyncpg://nowhere/x"), **options)
