"""A duplicate of a unique job is an answer, not an exception."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, func, select, text, update
from sqlalchemy.orm import Session

from oban_sqla import Job, JobSpec, JobState, Unique
from tests.enqueueing.conftest import Run

TOMORROW = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def add(session: Session, *specs: JobSpec) -> list[bool]:
    """Add and commit; which of them met another job."""
    session.add_all(specs)
    session.commit()
    return [spec.conflict for spec in specs]


def unique(args: dict[str, Any] | None = None, unique: Unique | None = None, **options: Any) -> JobSpec:
    return JobSpec("sync", args or {"id": 1}, unique=unique or Unique(), **options)


def count(session: Session) -> int:
    return session.scalars(select(func.count()).select_from(Job)).one()


def test_duplicate_gets_the_id_and_the_state_of_the_job_that_is_there(run: Run) -> None:
    def scenario(session: Session) -> None:
        first, again = unique(schedule_in=60), unique()
        assert add(session, first) == [False]
        assert add(session, again) == [True]
        assert (again.id, again.state) == (first.id, JobState.SCHEDULED)
        session.execute(update(Job).values(state="executing"))
        session.commit()
        assert add(session, third := unique()) == [True]
        assert (third.id, third.state) == (first.id, JobState.EXECUTING)
        assert count(session) == 1

    run(scenario)


def test_duplicates_within_one_flush_become_one_job(run: Run) -> None:
    def scenario(session: Session) -> None:
        specs = [unique({"id": number % 3}) for number in range(9)]
        plain = JobSpec("plain")
        assert add(session, *specs[:4], plain, *specs[4:]) == [False] * 3 + [True, False] + [True] * 5
        assert len({spec.id for spec in specs}) == 3
        assert all(spec.id == specs[number % 3].id for number, spec in enumerate(specs))
        assert count(session) == 4

    run(scenario)


def test_keys_are_the_same_in_a_session_that_escapes_bytes(sync_engine: Engine) -> None:
    options = {"options": "-c standard_conforming_strings=off -c bytea_output=escape"}
    escaping = create_engine(sync_engine.url, poolclass=NullPool, connect_args=options)
    with Session(sync_engine) as session, Session(escaping) as other:
        assert add(session, first := unique()) == [False]
        assert add(other, again := unique(), second := unique({"id": 2})) == [True, False]
        assert add(other, third := unique({"id": 2}, Unique(replace=("priority",)))) == [True]
        assert (again.id, third.id) == (first.id, second.id)
        assert add(session, unique({"id": 2})) == [True]
        assert count(session) == 2


def test_rolled_back_job_has_no_duplicates(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add(unique())
        session.flush()
        session.rollback()
        assert add(session, unique()) == [False]

    run(scenario)


DIFFERENT: dict[str, tuple[Unique, dict[str, Any]]] = {
    "worker": (Unique(), {"worker": "other"}),
    "queue": (Unique(), {"queue": "other"}),
    "args": (Unique(), {"args": {"id": 2}}),
    "meta": (Unique(fields=["worker", "meta"]), {"meta": {"tenant": 2}}),
    "a key of args": (Unique(keys=["id"]), {"args": {"id": 2, "note": "x"}}),
    "a missing key": (Unique(keys=["id"]), {"args": {"note": "x"}}),
    "a key of meta": (Unique(fields=["meta"], keys=["tenant"]), {"meta": {"tenant": 2, "note": "x"}}),
}
SAME: dict[str, tuple[Unique, dict[str, Any]]] = {
    "all": (Unique(), {}),
    "order of keys": (Unique(), {"args": {"note": "x", "id": 1}}),
    "meta is no field": (Unique(), {"meta": {"tenant": 2}}),
    "priority": (Unique(), {"priority": 3, "tags": ["x"], "max_attempts": 3}),
    "queue is no field": (Unique(fields=["worker", "args"]), {"queue": "other"}),
    "another key of args": (Unique(keys=["id"]), {"args": {"id": 1, "note": "y"}}),
    "another key of meta": (Unique(fields=["meta"], keys=["tenant"]), {"meta": {"tenant": 1, "note": "y"}}),
    "null as a missing key": (Unique(keys=["gone"]), {"args": {"gone": None}}),
}


def variants(choice: Unique, change: dict[str, Any]) -> tuple[JobSpec, JobSpec]:
    given: dict[str, Any] = {"worker": "sync", "args": {"id": 1, "note": "x"}, "meta": {"tenant": 1}, "unique": choice}
    return JobSpec(**given), JobSpec(**{**given, **change})


@pytest.mark.parametrize("what", DIFFERENT)
def test_jobs_that_differ_in_a_chosen_field_are_both_there(run_once: Run, what: str) -> None:
    assert run_once(lambda session: add(session, *variants(*DIFFERENT[what]))) == [False, False]


@pytest.mark.parametrize("what", SAME)
def test_jobs_that_differ_in_nothing_chosen_are_one(run_once: Run, what: str) -> None:
    assert run_once(lambda session: add(session, *variants(*SAME[what]))) == [False, True]


def test_period_is_a_bucket_on_the_clock(run_once: Run) -> None:
    def at(clock: str) -> JobSpec:
        hour, minute = map(int, clock.split(":"))
        return unique(unique=Unique(period=3600), scheduled_at=TOMORROW.replace(hour=hour, minute=minute))

    def scenario(session: Session) -> None:
        specs = [at(clock) for clock in ("10:05", "10:59", "11:01", "11:59", "12:00")]
        assert add(session, *specs) == [False, True, False, True, False]

    run_once(scenario)


def test_jobs_of_different_periods_do_not_meet(run_once: Run) -> None:
    specs = [unique(unique=Unique(period=period)) for period in (60, timedelta(hours=1), None, 60)]
    assert run_once(lambda session: add(session, *specs))[:3] == [False, False, False]


@pytest.mark.parametrize(
    ("states", "kept", "released"),
    [
        ("incomplete", ["executing", "retryable", "suspended", "scheduled"], ["completed", "cancelled", "discarded"]),
        ("successful", ["executing", "retryable", "completed"], ["cancelled", "discarded"]),
        ("all", ["executing", "retryable", "completed", "cancelled", "discarded"], []),
        (["available", "executing"], ["executing"], ["retryable", "completed", "scheduled"]),
    ],
)
def test_key_is_released_when_the_job_leaves_its_states(
    run_once: Run, states: Any, kept: list[str], released: list[str]
) -> None:
    def scenario(session: Session) -> None:
        for number, state in enumerate(kept + released):
            first, again = (unique({"id": number}, Unique(states=states)) for _ in range(2))
            add(session, first)
            stranger = text("UPDATE oban_jobs SET state = CAST(:state AS oban_job_state) WHERE id = :id")
            session.execute(stranger, {"state": state, "id": first.id})
            session.commit()
            assert add(session, again) == [state in kept], state

    run_once(scenario)


def test_job_scheduled_is_unique_among_the_scheduled_only(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        debounce = Unique(states="scheduled")
        first = unique(unique=debounce, schedule_in=60)
        assert add(session, first, unique(unique=debounce, schedule_in=90)) == [False, True]
        assert add(session, unique(unique=debounce)) == [False]
        session.execute(update(Job).where(Job.id == first.id).values(state="available"))
        assert add(session, unique(unique=debounce, schedule_in=60)) == [False]

    run_once(scenario)


def test_job_that_was_due_before_counts_as_available(run_once: Run) -> None:
    specs = [unique(unique=Unique(states="scheduled"), scheduled_at=TOMORROW - timedelta(days=9)) for _ in range(2)]
    assert run_once(lambda session: add(session, *specs)) == [False, False]


@pytest.mark.parametrize("way", ["cancelled", "completed", "discarded", "executing"])
def test_retry_of_a_job_whose_key_another_has_never_raises(run_once: Run, way: str) -> None:
    def scenario(session: Session) -> None:
        states = Unique(states=["available", "scheduled", "retryable"])
        first, second = unique(unique=states), unique(unique=states)
        add(session, first)
        session.execute(update(Job).values(state=way))
        assert add(session, second) == [False]
        # What a retry, a rescue and the stager do, in turn.
        for state in ("available", "retryable", "available"):
            session.execute(update(Job).where(Job.id == first.id).values(state=state))
            session.commit()
        assert add(session, third := unique(unique=states)) == [True]
        assert third.id == second.id

    run_once(scenario)


def test_conflict_takes_no_lock_on_the_job_that_is_there(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        add(session, first := unique())

        def meet(other: Session) -> None:
            other.execute(text("SET lock_timeout = '5s'"))
            assert add(other, again := unique()) == [True]
            assert again.id == first.id

        session.execute(select(Job).where(Job.id == first.id).with_for_update())
        run_once(meet)
        session.rollback()

        # And the other way: the inserter's transaction does not stand in the way of who locks the row.
        session.add(unique())
        session.flush()
        run_once(lambda other: other.execute(select(Job).with_for_update(nowait=True)).all())

    run_once(scenario)
