"""A spec that is taken for a row says what to do instead; one that is changed is checked like one that is made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from oban_sqla import InvalidOption, Job, JobSpec, job


@job(name="tests.not_a_row.greet", queue="greetings")
async def greet(name: str) -> None: ...


def read_by_select(session: Session, _: int) -> Any:
    return session.scalars(select(JobSpec)).first()


def read_by_key(session: Session, id: int) -> Any:
    return session.get(JobSpec, id)


@pytest.mark.parametrize("read", [read_by_select, read_by_key])
def test_a_spec_that_is_queried_names_the_class_of_its_row(
    sync_engine: Engine, read: Callable[[Session, int], Any]
) -> None:
    with Session(sync_engine) as session:
        session.add(spec := greet.new("Ada"))
        session.flush()
        assert spec.id is not None
        with pytest.raises(InvalidOption, match=r"a JobSpec is a job to be, and is never read; .*select\(Job\)"):
            read(session, spec.id)


WRITES: list[Callable[[Session], Any]] = [
    lambda session: session.bulk_save_objects([greet.new("Ada")]),
    lambda session: session.execute(insert(JobSpec), [{"worker": "tests.not_a_row.greet"}]),
]


@pytest.mark.parametrize("write", WRITES)
def test_a_bulk_operation_names_the_call_that_writes_specs(
    sync_engine: Engine, write: Callable[[Session], Any]
) -> None:
    with Session(sync_engine) as session, pytest.raises(IntegrityError) as refused:
        write(session)
    assert "use session.add_all(specs), or enqueue(session, specs)" in refused.value.__notes__[0]


def test_a_spec_can_be_changed_until_it_is_written(sync_engine: Engine) -> None:
    spec = greet.new("Ada")
    spec.priority = 3
    spec.queue = "others"
    spec.scheduled_at = datetime(2100, 1, 1, tzinfo=UTC)
    spec.scheduled_at = None
    with Session(sync_engine) as session:
        session.add(spec)
        session.flush()
        job = session.get_one(Job, spec.id)
        assert (job.priority, job.queue, job.state) == (3, "others", "available")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("priority", 99, "priority: expected 0 to 9"),
        ("queue", "", "queue: expected a name"),
        ("max_attempts", "3", "max_attempts: expected 1 to 32,767"),
        ("scheduled_at", datetime(2100, 1, 1), "scheduled_at: .* has no time zone"),
        ("schedule_in", -1, "schedule_in: expected seconds"),
        ("tags", "a", "tags: expected a sequence of strings"),
    ],
)
def test_a_value_that_an_option_can_not_have_is_refused_later_too(name: str, value: object, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        setattr(greet.new("Ada"), name, value)
