from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import (
    Cancel,
    InvalidArgs,
    InvalidOption,
    Job,
    JobSpec,
    JobTimeout,
    ObanError,
    Record,
    Snooze,
    UnknownWorker,
    job,
    later,
)
from oban_sqla.testing import assert_enqueued, perform, refute_enqueued
from tests.testing import app
from tests.testing.any_session import AnySession
from tests.testing.app import Broken, User


class TestWithoutDatabase:
    async def test_a_coroutine_is_awaited_and_gives_its_value(self) -> None:
        assert await perform(app.send.new("ann")) == "Hello ann"

    def test_a_plain_function_gives_its_value_at_once(self) -> None:
        assert perform(app.resize.new(2)) == 4
        assert app.calls == [(threading.current_thread(), 0)]

    async def test_a_plain_function_does_so_inside_of_a_loop_too(self) -> None:
        assert perform(app.resize.new(2)) == 4

    async def test_classes_follow_their_process_method(self) -> None:
        assert await perform(app.Report.new({"id": 1})) == {"id": 1}
        assert perform(app.PlainReport.new({"id": 2})) == {"id": 2}

    def test_a_worker_and_its_args_will_do(self) -> None:
        assert perform(app.resize, {"width": 3}) == 6
        assert perform("tests.testing.app.resize", {"width": 3}) == 6

    def test_the_injected_job_is_made_of_the_spec(self) -> None:
        @job(name="testing.shows_job")
        def shows(job: Job, x: int) -> Any:
            return job

        made = perform(shows.options(queue="q", priority=2, tags=["t"], meta={"m": 1}).new(x=1), attempt=3)
        assert (made.attempt, made.max_attempts, made.state) == (3, 20, "executing")
        assert (made.queue, made.priority, made.tags, made.meta, made.args) == ("q", 2, ["t"], {"m": 1}, {"x": 1})
        assert made.attempted_at.tzinfo is not None

    def test_arguments_go_through_json(self) -> None:
        assert perform(app.PlainReport.new({"pair": (1, 2)})) == {"pair": [1, 2]}

    def test_later_is_filled_in(self) -> None:
        assert perform(app.resize.new(later(lambda: 21))) == 42

    async def test_outcomes_are_returned_whether_returned_or_raised(self) -> None:
        for worker in (app.ends, app.ends_by_raising):
            snoozed = await perform(worker.new("snooze"))
            assert isinstance(snoozed, Snooze)
            assert snoozed.seconds == 60
            cancelled = await perform(worker.new("cancel"))
            assert isinstance(cancelled, Cancel)
            assert cancelled.reason == "no such account"
            recorded = await perform(worker.new("record"))
            assert isinstance(recorded, Record)
            assert recorded.value == {"rows": 3}

    async def test_what_it_raises_is_raised_with_what_would_become_of_the_job(self) -> None:
        with pytest.raises(Broken) as raised:
            await perform(app.breaks.new())
        assert raised.value.__notes__ == ["in attempt 1 of 3: the job would be retryable, to run again in 30 s"]
        with pytest.raises(Broken) as raised:
            await perform(app.breaks.new(), attempt=3)
        assert raised.value.__notes__ == ["in attempt 3 of 3: the job would be discarded"]

    async def test_a_timeout_is_raised(self) -> None:
        with pytest.raises(JobTimeout):
            await perform(app.hangs.new())
        with pytest.raises(JobTimeout):
            perform(app.hangs_plain.new())

    async def test_a_value_that_json_can_not_carry_is_refused_as_in_the_runtime(self) -> None:
        for worker in (app.ends, app.ends_by_raising):
            with pytest.raises(InvalidArgs, match="the recorded value"):
                await perform(worker.new("record what JSON can't carry"))

    def test_args_that_do_not_fit_are_refused(self) -> None:
        with pytest.raises(InvalidArgs, match="there is no parameter 'height'"):
            perform(app.resize, {"width": 1, "height": 1})

    @pytest.mark.parametrize("attempt", [0, 21, "first"])
    def test_an_attempt_that_it_does_not_have_is_refused(self, attempt: Any) -> None:
        with pytest.raises(InvalidOption, match=f"attempt must be 1 to 20 \\(max_attempts\\), got {attempt!r}"):
            perform(app.resize.new(1), attempt=attempt)

    def test_args_beside_a_spec_are_refused(self) -> None:
        with pytest.raises(InvalidOption, match="the spec has its args already"):
            perform(app.resize.new(1), {"width": 1})

    def test_an_unknown_worker_is_refused(self) -> None:
        with pytest.raises(UnknownWorker, match=r"no worker named 'testing\.nobody' is registered"):
            perform(JobSpec("testing.nobody"))

    async def test_a_job_that_asks_for_a_session_needs_one(self) -> None:
        with pytest.raises(InvalidOption, match="asks for AsyncSession, none was given; pass one: perform"):
            await perform(app.welcome.new(user_id=1))
        with pytest.raises(InvalidOption, match="asks for Session, none was given"):
            perform(app.welcome_plain.new(user_id=1))


def performed(any_session: AnySession, name: str, then: str) -> Any:
    """`name` added by a job that asks for a session, on the any_session's."""
    if any_session.is_async:
        return any_session.wait(perform(app.add_and.new(name, then), session=any_session.session))
    return perform(app.add_plain_and.new(name, then), session=any_session.session)


class TestWithSession:
    def test_the_job_gets_the_very_session(self, any_session: AnySession) -> None:
        user = User(name="ann")
        any_session.add(user)
        if any_session.is_async:
            any_session.wait(perform(app.welcome.new(user_id=user.id), session=any_session.session))
        else:
            perform(app.welcome_plain.new(user_id=user.id), session=any_session.session)
        assert user.welcomed == 1
        assert not any_session.session.dirty

    def test_a_plain_function_works_below_an_async_session(self, async_session: AnySession) -> None:
        user = User(name="ann")
        async_session.add(user)

        def work(session: Session) -> None:
            perform(app.welcome_plain.new(user_id=user.id), session=session)

        async_session.sync(work)
        assert user.welcomed == 1

    @pytest.mark.parametrize("then", ["nothing", "snooze", "record", "raise a snooze", "raise a record"])
    def test_what_ended_well_stays(self, any_session: AnySession, then: str) -> None:
        performed(any_session, "kept", then)
        assert any_session.names == ["kept"]

    @pytest.mark.parametrize("then", ["raise", "cancel", "discard", "record what JSON can't carry"])
    def test_what_failed_is_rolled_back_and_the_rest_stays(self, any_session: AnySession, then: str) -> None:
        any_session.add(User(name="mine"))
        with contextlib.suppress(Broken, InvalidArgs):
            performed(any_session, "lost", then)
        assert any_session.names == ["mine"]

    def test_its_commit_is_refused(self, any_session: AnySession) -> None:
        any_session.add(User(name="mine"))
        with pytest.raises(ObanError, match=r"commit\(\) inside a job"):
            performed(any_session, "lost", "commit")
        assert any_session.names == ["mine"]
        any_session.commit()
        assert any_session.names == ["mine"]

    def test_a_session_of_the_other_kind_is_refused(self, plain_session: AnySession, database_url: str) -> None:
        with pytest.raises(InvalidOption, match="asks for Session, got a AsyncSession"):
            perform(app.welcome_plain.new(user_id=1), session=AsyncSession())

    def test_jobs_that_it_enqueues_can_be_asserted(self, async_session: AnySession) -> None:
        async_session.wait(perform(app.count_down.new(left=2), session=async_session.session))
        async_session(assert_enqueued, worker=app.count_down, args={"left": 1}, count=1)

    def test_jobs_that_a_failed_one_enqueues_are_gone(self, async_session: AnySession) -> None:
        with pytest.raises(Broken):
            async_session.wait(perform(app.count_down_and_break.new(left=2), session=async_session.session))
        async_session(refute_enqueued)


@job(name="tests.testing.closes")
async def closes(session: AsyncSession) -> None:
    async with session:
        session.add(app.send.new("ann"))


def test_a_job_that_closes_its_session_fails_as_in_production(async_session: AnySession) -> None:
    with pytest.raises(ObanError, match="the job closed its session"):
        async_session.wait(perform(closes.new(), session=async_session.session))
