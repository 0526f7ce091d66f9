"""``enqueue``: the same by a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import Batch, InvalidOption, Job, JobSpec, Workflow, enqueue
from tests.enqueueing.application import User
from tests.enqueueing.conftest import Run, recorded


def workers(session: Session) -> list[str]:
    return list(session.scalars(select(Job.worker).order_by(Job.id)))


async def test_enqueue_is_awaited_with_an_async_session(any_engine: AsyncEngine) -> None:
    async with AsyncSession(any_engine) as session:
        [alone] = await enqueue(session, JobSpec("alone"))
        first, second = await enqueue(session, [JobSpec("first"), JobSpec("second")])
        assert alone.id is not None
        assert first.id is not None
        assert second.id == first.id + 1
        await session.commit()
        assert list(await session.scalars(select(Job.worker).order_by(Job.id))) == ["alone", "first", "second"]


def test_enqueue_is_plain_with_a_session(sync_engine: Engine) -> None:
    with Session(sync_engine) as session:
        enqueue(session, JobSpec("alone"))
        session.commit()
        assert workers(session) == ["alone"]


FORMS: dict[str, Callable[[JobSpec, JobSpec, JobSpec], tuple[JobSpec | Iterable[JobSpec], ...]]] = {
    "one and more": lambda a, b, c: (a, b, c),
    "list": lambda a, b, c: ([a, b, c],),
    "list and more": lambda a, b, c: ([a, b], c),
    "tuple": lambda a, b, c: ((a, b, c),),
    "generator": lambda a, b, c: ((spec for spec in (a, b, c)),),
    "one twice": lambda a, b, c: ([a, b, a, c, b],),
}


@pytest.mark.parametrize("form", FORMS)
def test_enqueue_takes_one_or_many_in_any_form(run_once: Run, form: str) -> None:
    def scenario(session: Session) -> None:
        specs = JobSpec("a"), JobSpec("b"), JobSpec("c")
        assert enqueue(session, *FORMS[form](*specs)) == list(specs)  # type: ignore[arg-type]
        session.commit()
        assert workers(session) == ["a", "b", "c"]

    run_once(scenario)


def test_enqueue_of_nothing_sends_nothing(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        with recorded(session) as statements:
            assert enqueue(session, []) == []
            assert enqueue(session, iter(())) == []
        assert statements == []

    run_once(scenario)


def test_enqueue_flushes_the_pending_objects_first(run: Run) -> None:
    def scenario(session: Session) -> None:
        with recorded(session) as statements:
            session.add(User(name="ada"))
            enqueue(session, JobSpec("welcome"))
        assert [table for sql in statements for table in ("users", "oban_jobs") if f"INTO {table}" in sql] == [
            "users",
            "oban_jobs",
        ]

    run(scenario)


@pytest.mark.parametrize("form", ["list", "generator", "added on the way"])
def test_enqueue_writes_a_spec_that_is_in_the_session_once(run_once: Run, form: str) -> None:
    def scenario(session: Session) -> None:
        pending, other = JobSpec("pending"), JobSpec("other")
        if form == "added on the way":
            specs: Iterable[JobSpec] = (session.add(spec) or spec for spec in (pending, other))  # type: ignore[func-returns-value]
        else:
            session.add(pending)
            specs = [pending, other] if form == "list" else (spec for spec in (pending, other))
        assert enqueue(session, specs) == [pending, other]
        session.commit()
        assert workers(session) == ["pending", "other"]
        assert pending.id is not None

    run_once(scenario)


def test_enqueue_says_how_a_batch_or_a_workflow_is_enqueued(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        whole: list[Any] = [Workflow("whole"), Batch([JobSpec("a")])]
        for given in whole:
            with pytest.raises(InvalidOption, match=r"got <.*>; add it to a session: session\.add"):
                enqueue(session, given)

    run_once(scenario)


@pytest.mark.parametrize("given", ["welcome", [JobSpec("a"), "b"], iter(["b"]), 7, None, JobSpec])
def test_enqueue_refuses_anything_but_specs(run_once: Run, given: object) -> None:
    def scenario(session: Session) -> None:
        with pytest.raises(
            InvalidOption, match=r"enqueue: expected JobSpec objects, got .*; make them with worker\.new"
        ):
            enqueue(session, given)  # type: ignore[call-overload]
        session.commit()
        assert workers(session) == []

    run_once(scenario)


def test_enqueue_refuses_a_spec_of_another_session(run_once: Run) -> None:
    def scenario(session: Session) -> None:
        spec = JobSpec("welcome")
        with Session() as other:
            other.add(spec)
            with pytest.raises(InvalidOption, match="is pending in another session, which will write it too"):
                enqueue(session, spec)

    run_once(scenario)
