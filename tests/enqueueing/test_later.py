"""Arguments that are known at the flush only."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from oban_sqla import InvalidArgs, Job, JobSpec, Unique, enqueue, job, later
from tests.enqueueing.application import User
from tests.enqueueing.conftest import Run, recorded


@job(name="tests.later.welcome")
async def welcome(user_id: int, names: list[str] | None = None) -> None: ...


def stored_args(session: Session) -> list[dict[str, Any]]:
    return list(session.scalars(select(Job.args).order_by(Job.id)))


@pytest.mark.parametrize("user_first", [True, False])
def test_later_is_filled_whatever_the_order_of_add(run: Run, user_first: bool) -> None:
    def scenario(session: Session) -> None:
        user = User(name="ada")
        spec = welcome.new(user_id=later(lambda: user.id))
        session.add_all([user, spec] if user_first else [spec, user])
        session.commit()
        assert spec.args == {"user_id": user.id}
        assert stored_args(session) == [{"user_id": user.id}]

    run(scenario)


def test_later_is_filled_inside_lists_and_dicts(run: Run) -> None:
    def scenario(session: Session) -> None:
        ada, grace = User(name="ada"), User(name="grace")
        nested = {"to": [{"id": later(lambda: ada.id)}, (later(lambda: grace.id), "x")], "plain": {"a": [1]}}
        session.add_all([JobSpec("mail", nested), ada, grace])
        session.commit()
        assert stored_args(session) == [{"to": [{"id": ada.id}, [grace.id, "x"]], "plain": {"a": [1]}}]

    run(scenario)


def test_enqueue_fills_later_after_the_pending_objects(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        user = User(name="ada")
        session.add(user)
        enqueue(session, welcome.new(user_id=later(lambda: user.id)))
        assert stored_args(session) == [{"user_id": user.id}]

    run_once(scenario)


def test_key_of_a_unique_job_is_made_of_what_later_gives(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        users = [User(name="ada"), User(name="grace")]
        specs = [JobSpec("welcome", {"id": later(partial(getattr, user, "id"))}, unique=Unique()) for user in users]
        again = JobSpec("welcome", {"id": later(lambda: users[0].id)}, unique=Unique())
        session.add_all([*specs, again, *users])
        session.commit()
        assert [spec.conflict for spec in (*specs, again)] == [False, False, True]
        assert again.id == specs[0].id

    run_once(scenario)


def refused(session: Session, *objects: object) -> str:
    """The message with which the flush of `objects` fails, before any job is sent."""
    with recorded(session) as statements:
        session.add_all(objects)
        with pytest.raises(InvalidArgs) as refusal:
            session.flush()
        session.rollback()
    assert not [sql for sql in statements if "oban_jobs" in sql]
    return str(refusal.value)


def test_later_that_raises_is_refused_before_any_job_is_sent(run: Run) -> None:
    def fail() -> int:
        raise LookupError("no such order")

    def scenario(session: Session) -> None:
        message = refused(session, JobSpec("other"), User(name="ada"), JobSpec("mail", {"order": [later(fail)]}))
        assert "args.order[0]" in message
        assert "LookupError: no such order" in message

    run(scenario)


def test_later_that_returns_something_invalid_is_refused_before_any_job_is_sent(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        user = User(name="ada")
        message = refused(session, user, welcome.new(user_id=later(lambda: user.name)))  # type: ignore[arg-type]
        assert "welcome: user_id: " in message
        assert "got str" in message
        assert "args.user" in refused(session, JobSpec("mail", {"user": later(lambda: user)}))

    run_once(scenario)


def test_later_may_not_use_the_id_of_another_spec_of_the_flush(run: Run) -> None:
    def scenario(session: Session) -> None:
        first = JobSpec("first")
        second = JobSpec("second", {"after": later(lambda: first.id)})
        message = refused(session, first, second)
        assert "'first' of the same flush has no id yet" in message
        assert "flush the session before" in message

        session.add(first)
        session.flush()
        session.add(second)
        session.commit()
        assert stored_args(session) == [{}, {"after": first.id}]

    run(scenario)


def test_later_wants_a_function() -> None:
    with pytest.raises(InvalidArgs, match=r"expected a function without parameters, got 7; write later\(lambda"):
        later(7)  # type: ignore[arg-type]
