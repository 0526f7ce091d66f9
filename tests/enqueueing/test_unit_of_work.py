"""A spec shares the fate of the session's other objects."""

from __future__ import annotations

import warnings
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import event, inspect, select
from sqlalchemy.exc import IntegrityError, PendingRollbackError
from sqlalchemy.orm import Session

from oban_sqla import InvalidArgs, Job, JobSpec, JobState, later
from tests.enqueueing.application import Letter, User
from tests.enqueueing.conftest import Run, recorded


def workers(session: Session) -> list[str]:
    """The workers of the jobs in the database, as another transaction sees them."""
    return list(session.scalars(select(Job.worker).order_by(Job.id)))


def test_commit_leaves_exactly_one_job(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add(JobSpec("welcome", {"user_id": 7}, queue="mail"))
        session.commit()

    run(scenario)

    [job] = run(lambda session: session.scalars(select(Job)).all())
    assert (job.worker, job.args, job.queue, job.state) == ("welcome", {"user_id": 7}, "mail", JobState.AVAILABLE)


def test_rollback_leaves_no_job(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add(JobSpec("unflushed"))
        session.rollback()
        session.add(JobSpec("flushed"))
        session.flush()
        session.rollback()
        session.commit()

    run(scenario)

    assert run(workers) == []


def test_exception_in_the_block_leaves_no_job(run: Run) -> None:
    def scenario(session: Session) -> None:
        with session.begin():
            session.add(JobSpec("welcome"))
            session.flush()
            session.add(JobSpec("report"))
            raise LookupError

    with pytest.raises(LookupError):
        run(scenario)

    assert run(workers) == []


def test_closing_the_session_leaves_no_job(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add(JobSpec("welcome"))
        session.flush()

    run(scenario)

    assert run(workers) == []


def test_rolled_back_savepoint_takes_its_jobs_and_never_brings_them_back(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add(JobSpec("before"))
        savepoint = session.begin_nested()
        session.add(JobSpec("flushed inside"))
        session.flush()
        session.add_all([User(name="inside"), JobSpec("pending inside")])
        savepoint.rollback()
        session.add_all([User(name="after"), JobSpec("after")])
        session.commit()
        session.add(JobSpec("next transaction"))
        session.commit()

    run(scenario)

    assert run(workers) == ["before", "after", "next transaction"]


def test_failed_flush_inside_a_savepoint_takes_its_jobs_only(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add_all([User(name="ada"), JobSpec("before")])
        with pytest.raises(IntegrityError), session.begin_nested():
            session.add_all([JobSpec("inside"), User(name="ada")])
        session.add(JobSpec("after"))
        session.commit()

    run(scenario)

    assert run(workers) == ["before", "after"]


def test_released_savepoint_keeps_its_jobs(run: Run) -> None:
    def scenario(session: Session) -> None:
        with session.begin_nested():
            session.add(JobSpec("inside"))
        session.commit()

    run(scenario)

    assert run(workers) == ["inside"]


def test_failure_of_a_spec_fails_the_flush_like_that_of_any_object(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add_all([User(name="ada"), JobSpec("welcome", {"rate": later(lambda: float("nan"))})])
        with pytest.raises(InvalidArgs, match=r"args\.rate"):
            session.flush()
        with pytest.raises(PendingRollbackError):
            session.commit()
        session.rollback()
        session.add_all([User(name="grace"), JobSpec("after")])
        session.commit()

    run(scenario)

    assert run(workers) == ["after"]
    assert run(lambda session: session.scalars(select(User.name)).all()) == ["grace"]


def test_jobs_are_written_after_the_other_objects(run: Run) -> None:
    def scenario(session: Session) -> None:
        with recorded(session) as statements:
            session.add_all([JobSpec("first"), User(name="ada"), JobSpec("second"), User(name="grace")])
            session.commit()
        tables = [table for sql in statements for table in ("users", "oban_jobs") if f"INTO {table}" in sql]
        assert tables == ["users", "oban_jobs"]

    run(scenario)

    assert run(workers) == ["first", "second"]


def test_specs_beside_changed_and_deleted_objects_are_written(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add_all([User(name="ada"), User(name="grace")])
        session.commit()
        ada, grace = session.scalars(select(User).order_by(User.name))
        ada.name = "lovelace"
        session.add(JobSpec("changed"))
        session.commit()
        session.delete(grace)
        session.add(JobSpec("deleted"))
        session.commit()
        ada.name = ada.name  # modified, without a change that were written
        session.add(JobSpec("unchanged"))
        session.commit()

    run(scenario)

    assert run(workers) == ["changed", "deleted", "unchanged"]


def test_orphan_that_the_flush_drops_silently_loses_no_job(run: Run) -> None:
    def scenario(session: Session) -> None:
        letter, elsewhere = Letter(), User(name="ada")
        session.add_all([letter, JobSpec("welcome")])
        elsewhere.letters.append(letter)
        elsewhere.letters.remove(letter)
        assert letter in session
        session.commit()
        assert letter not in session

    run(scenario)

    assert run(workers) == ["welcome"]


def test_query_flushes_the_specs(run: Run) -> None:
    def scenario(session: Session) -> None:
        session.add(JobSpec("welcome"))
        assert workers(session) == ["welcome"]
        session.commit()

    run(scenario)

    assert run(workers) == ["welcome"]


def test_expunged_spec_is_not_written(run: Run) -> None:
    def scenario(session: Session) -> None:
        spec = JobSpec("welcome")
        session.add(spec)
        session.expunge(spec)
        session.commit()
        assert spec.id is None

    run(scenario)

    assert run(workers) == []


def test_flush_of_chosen_objects_leaves_the_other_specs_pending(run: Run) -> None:
    def scenario(session: Session) -> None:
        user, chosen, other = User(name="ada"), JobSpec("chosen"), JobSpec("other")
        session.add_all([user, other, chosen])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLAlchemy 2.1 deprecates the parameter
            session.flush([user])
            assert (chosen.id, other.id) == (None, None)
            session.flush([chosen])
        assert chosen.id is not None
        assert other.id is None
        session.commit()

    run(scenario)

    assert run(workers) == ["chosen", "other"]


def test_spec_added_after_the_commit_is_not_lost(run: Run) -> None:
    def scenario(session: Session) -> None:
        @event.listens_for(session, "after_commit", once=True)
        def enqueue_more(session: Session) -> None:
            session.add(JobSpec("added in after_commit"))

        session.add(JobSpec("first"))
        session.commit()
        session.commit()

    run(scenario)

    assert run(workers) == ["first", "added in after_commit"]


def test_spec_added_by_a_listener_of_the_flush_is_written(run: Run) -> None:
    def scenario(session: Session) -> None:
        @event.listens_for(session, "before_flush")
        def enqueue_indexing(session: Session, *_: object) -> None:
            for user in (obj for obj in session.new if isinstance(obj, User)):
                session.add(JobSpec("index", {"id": later(partial(getattr, user, "id"))}))

        @event.listens_for(session, "after_flush", once=True)
        def enqueue_thanks(session: Session, *_: object) -> None:
            session.add(JobSpec("thanks"))

        session.add(User(name="ada"))
        session.commit()
        session.add_all([JobSpec("first"), User(name="grace")])
        session.commit()

    run(scenario)

    assert run(workers) == ["index", "thanks", "first", "index"]


def test_specs_stay_pending_when_a_listener_refuses_the_flush(run: Run) -> None:
    def scenario(session: Session) -> None:
        @event.listens_for(session, "before_flush", once=True)
        def refuse(*_: object) -> None:
            raise LookupError

        spec = JobSpec("welcome")
        session.add_all([User(name="ada"), spec])
        with pytest.raises(LookupError):
            session.flush()
        assert spec in session
        session.commit()

    run(scenario)

    assert run(workers) == ["welcome"]


def test_spec_is_transient_after_the_flush_and_knows_its_job(run: Run) -> None:
    def scenario(session: Session) -> None:
        now, soon = JobSpec("now"), JobSpec("soon", schedule_in=timedelta(hours=1))
        session.add_all([soon, now])
        session.commit()
        with recorded(session) as statements:
            assert [(spec.state, spec.conflict) for spec in (now, soon)] == [("available", False), ("scheduled", False)]
            ids = [now.id, soon.id]
        assert statements == []
        assert inspect(now).transient
        assert session.scalars(select(Job.id).order_by(Job.worker)).all() == ids

    run(scenario)


def test_spec_added_again_enqueues_again(run: Run) -> None:
    def scenario(session: Session) -> None:
        users = [User(name="ada"), User(name="grace")]
        session.add_all(users)
        turns = iter(users)
        spec = JobSpec("welcome", {"id": later(lambda: next(turns).id)})
        session.add(spec)
        session.commit()
        first = spec.id
        session.add(spec)
        session.add(spec)
        session.commit()
        assert first is not None
        assert spec.id == first + 1
        assert session.scalars(select(Job.args["id"].as_integer()).order_by(Job.id)).all() == [
            user.id for user in users
        ]

    run(scenario)

    assert run(workers) == ["welcome", "welcome"]
