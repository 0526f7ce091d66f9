from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import (
    InvalidOption,
    Job,
    JobSpec,
    JobTimeout,
    ObanError,
    Unique,
    UnknownWorker,
    configure_encryption,
    job,
)
from oban_sqla.testing import all_enqueued, drain
from tests.testing import app
from tests.testing.any_session import AnySession
from tests.testing.app import Broken, User


def the_job(any_session: AnySession) -> Job:
    [found] = any_session.scalars(select(Job).execution_options(populate_existing=True))
    return found


def welcome_in(any_session: AnySession) -> JobSpec | object:
    return app.welcome if any_session.is_async else app.welcome_plain


class TestRunning:
    def test_jobs_run_and_are_counted_by_state(self, any_session: AnySession) -> None:
        any_session.add(app.send.new("ann"), app.send.new("bob"), app.breaks.new())

        assert any_session(drain) == {"completed": 2, "retryable": 1}
        assert sorted(map(str, app.calls)) == ["('Hello', 'ann')", "('Hello', 'bob')", "broke"]

    def test_a_state_that_is_missing_counts_zero(self, any_session: AnySession) -> None:
        assert any_session(drain) == {}
        assert any_session(drain)["completed"] == 0

    def test_a_drain_that_runs_nothing_says_what_waits(
        self, plain_session: AnySession, caplog: pytest.LogCaptureFixture
    ) -> None:
        plain_session.add(
            app.send.options(queue="a", schedule_in=60).new("ann"), app.send.options(queue="b").new("bob")
        )

        assert plain_session(drain, queue="B") == {}
        first, second = plain_session.scalars(select(Job.id).order_by(Job.id))
        assert caplog.messages == [
            f"drain ran no jobs; there are: 1 scheduled in queue 'a' (job {first}), 1 available in queue 'b' "
            f"(job {second}); queue='B' leaves other queues out; with_scheduled=True, or until=…, runs what is not due "
            "yet"
        ]
        caplog.clear()
        assert plain_session(drain, with_scheduled=True) == {"completed": 2}
        assert plain_session(drain) == {}
        assert caplog.messages == []

    def test_specs_that_were_only_added_are_flushed_first(self, any_session: AnySession) -> None:
        any_session.session.add(app.send.new("ann"))

        assert any_session(drain) == {"completed": 1}

    def test_jobs_of_an_uncommitted_session_without_an_outer_transaction_run_too(self, any_session: AnySession) -> None:
        with_engine: Any = any_session.session.__class__(any_session.engine)
        with_engine.add(app.send.new("ann"))

        assert any_session.wait(drain(with_engine)) == {"completed": 1}
        any_session.wait(with_engine.rollback())
        any_session.wait(with_engine.close())

    def test_priority_comes_before_age(self, any_session: AnySession) -> None:
        any_session.add(app.send.options(priority=5).new("later"), app.send.options(priority=1).new("sooner"))

        any_session(drain)
        assert [to for _, to in app.calls] == ["sooner", "later"]

    def test_only_the_queues_that_were_named_are_drained(self, any_session: AnySession) -> None:
        any_session.add(app.send.new("ann"), app.resize.new(1), app.Report.new({}))

        assert any_session(drain, queue="mail") == {"completed": 1}
        assert any_session(drain, ["default", "reports"]) == {"completed": 2}

    def test_class_workers_get_the_job_as_it_was_fetched(self, any_session: AnySession) -> None:
        any_session.add(app.Report.new({"id": 1}))

        any_session(drain)
        [(args, attempt, id)] = app.calls
        assert (args, attempt, id) == ({"id": 1}, 1, the_job(any_session).id)

    def test_plain_functions_stay_in_the_calling_thread(self, any_session: AnySession) -> None:
        any_session.add(app.resize.new(2))

        any_session(drain)
        [(thread, job_id)] = app.calls
        assert thread is threading.current_thread()
        assert job_id == the_job(any_session).id

    def test_a_completed_job_is_as_the_runtime_leaves_it(self, any_session: AnySession) -> None:
        any_session.add(app.send.new("ann"))

        any_session(drain)
        found = the_job(any_session)
        assert (found.state, found.attempt, found.errors) == ("completed", 1, [])
        assert found.completed_at is not None
        assert found.attempted_by[0] == "testing"

    def test_a_unique_job_that_was_there_runs_once(self, any_session: AnySession) -> None:
        unique = app.send.options(unique=Unique())
        first, second = unique.new("ann"), unique.new("ann")
        any_session.add(first)
        any_session.add(second)

        assert second.conflict
        assert any_session(drain) == {"completed": 1}

    def test_limit_ends_jobs_that_enqueue_each_other(self, any_session: AnySession) -> None:
        any_session.add((app.count_down if any_session.is_async else app.count_down_plain).new(left=1_000))

        assert any_session(drain, limit=3) == {"completed": 3}
        assert app.calls == [1000, 999, 998]

    def test_anything_but_a_session_is_refused(self) -> None:
        with pytest.raises(InvalidOption, match=r"drain: expected an AsyncSession or a Session, got 'mail'"):
            drain("mail")  # type: ignore[call-overload]

    def test_nothing_of_a_jobs_args_is_logged(self, any_session: AnySession, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "oban_sqla")
        any_session.add(app.breaks.new(secret="hunter2"), JobSpec("testing.nobody", {"secret": "hunter2"}))

        any_session(drain)
        assert caplog.messages
        assert "hunter2" not in caplog.text

    def test_a_failing_assertion_shows_what_the_jobs_raised(self, any_session: AnySession) -> None:
        any_session.add(app.breaks.new())

        counts = any_session(drain)
        assert repr(counts) == "Drained({'retryable': 1}, errors=[Broken('always')])"
        assert [str(error) for error in counts.errors] == ["always"]

    def test_what_the_jobs_raised_is_in_the_log_of_the_test(
        self, any_session: AnySession, caplog: pytest.LogCaptureFixture
    ) -> None:
        any_session.add(app.breaks.new())

        any_session(drain)
        assert 'raise Broken("always")' in caplog.text


class TestRecursion:
    def test_what_jobs_enqueue_runs_too(self, any_session: AnySession) -> None:
        any_session.add((app.count_down if any_session.is_async else app.count_down_plain).new(left=3))

        assert any_session(drain) == {"completed": 4}
        assert app.calls == [3, 2, 1, 0]

    def test_without_recursion_it_stays_enqueued(self, any_session: AnySession) -> None:
        kind = app.count_down if any_session.is_async else app.count_down_plain
        any_session.add(kind.new(left=3), kind.new(left=0))

        assert any_session(drain, with_recursion=False) == {"completed": 2}
        [found] = any_session(all_enqueued)
        assert found.args == {"left": 2}

    def test_what_a_failed_job_has_enqueued_is_gone(self, async_session: AnySession) -> None:
        async_session.add(app.count_down_and_break.new(left=3))

        assert async_session(drain) == {"retryable": 1}
        assert async_session(all_enqueued) == []


class TestScheduled:
    def test_a_job_that_is_not_due_stays(self, any_session: AnySession) -> None:
        any_session.add(app.send.options(schedule_in=60).new("ann"))

        assert any_session(drain) == {}

    def test_a_job_that_became_due_since_the_transaction_began_runs(self, any_session: AnySession) -> None:
        any_session.add(app.send.options(scheduled_at=datetime.now(UTC)).new("ann"))

        assert any_session(drain) == {"completed": 1}

    def test_with_scheduled_runs_it_ahead_of_its_time(self, any_session: AnySession) -> None:
        any_session.add(app.send.options(schedule_in=timedelta(days=365)).new("ann"))

        assert any_session(drain, with_scheduled=True) == {"completed": 1}

    def test_a_time_runs_what_is_due_by_then(self, any_session: AnySession) -> None:
        any_session.add(app.send.options(schedule_in=60).new("soon"), app.send.options(schedule_in=3600).new("late"))

        assert any_session(drain, with_scheduled=datetime.now(UTC) + timedelta(minutes=5)) == {"completed": 1}
        assert app.calls == [("Hello", "soon")]

    def test_a_naive_time_is_refused(self, any_session: AnySession) -> None:
        with pytest.raises(InvalidOption, match="has no time zone; give an aware datetime"):
            any_session(drain, with_scheduled=datetime(2024, 1, 1))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"queue": 5}, r"drain\(queue\): expected a name, got 5"),
            ({"queue": ["mail", ""]}, r"drain\(queue\): expected a name, got ''"),
            ({"limit": "all"}, "limit must be a number of jobs, 0 or more, or None for no limit; got 'all'"),
            ({"limit": -1}, "limit must be a number of jobs, 0 or more, or None for no limit; got -1"),
            ({"with_scheduled": "yes"}, "with_scheduled must be True, False or an aware datetime, got 'yes'"),
        ],
    )
    def test_an_option_that_can_not_be_says_so(
        self, any_session: AnySession, options: dict[str, object], message: str
    ) -> None:
        with pytest.raises(InvalidOption, match=message):
            any_session(drain, **options)

    def test_a_job_that_failed_or_snoozed_waits_for_the_next_call(self, any_session: AnySession) -> None:
        any_session.add(app.breaks.new(), app.ends.new("snooze"))

        assert any_session(drain, with_scheduled=True) == {"retryable": 1, "scheduled": 1}
        assert any_session(drain) == {}
        assert any_session(drain, with_scheduled=True) == {"retryable": 1, "scheduled": 1}
        assert any_session(drain, with_scheduled=True) == {"discarded": 1, "scheduled": 1}


class TestOutcomes:
    def test_an_error_is_stored_as_the_runtime_stores_it(self, any_session: AnySession) -> None:
        any_session.add(app.breaks.new())

        any_session(drain)
        found = the_job(any_session)
        assert (found.state, found.attempt) == ("retryable", 1)
        [error] = found.errors
        assert error["attempt"] == 1
        assert error["error"].startswith("Traceback")
        assert error["error"].endswith("Broken: always")
        assert "oban_sqla/" not in error["error"]
        assert found.attempted_at is not None
        assert found.scheduled_at - found.attempted_at == timedelta(seconds=30)

    def test_the_last_attempt_discards(self, any_session: AnySession) -> None:
        any_session.add(app.breaks.options(max_attempts=1).new())

        assert any_session(drain) == {"discarded": 1}

    def test_snooze_burns_no_attempt(self, any_session: AnySession) -> None:
        any_session.add(app.ends.new("snooze"))

        assert any_session(drain) == {"scheduled": 1}
        found = the_job(any_session)
        assert (found.attempt, found.meta) == (0, {"snoozed": 1})

    @pytest.mark.parametrize(("then", "state"), [("cancel", "cancelled"), ("discard", "discarded")])
    def test_cancel_and_discard_record_their_reason(self, any_session: AnySession, then: str, state: str) -> None:
        any_session.add(app.ends.new(then))

        assert any_session(drain) == {state: 1}
        [error] = the_job(any_session).errors
        assert error["error"] in ("no such account", "hopeless")

    def test_record_keeps_the_value(self, any_session: AnySession) -> None:
        any_session.add(app.ends.new("record"))

        assert any_session(drain) == {"completed": 1}
        assert the_job(any_session).meta == {"recorded": True, "return": {"rows": 3}}

    def test_a_coroutine_past_its_timeout_has_failed(self, any_session: AnySession) -> None:
        any_session.add(app.hangs.new())

        assert any_session(drain) == {"retryable": 1}
        assert "JobTimeout" in the_job(any_session).errors[0]["error"]

    def test_a_plain_function_is_told_of_its_timeout_and_its_result_refused(self, any_session: AnySession) -> None:
        any_session.add(app.hangs_plain.new())

        assert any_session(drain) == {"retryable": 1}
        assert "JobTimeout" in the_job(any_session).errors[0]["error"]

    def test_a_job_of_an_unknown_worker_is_given_back(
        self, any_session: AnySession, caplog: pytest.LogCaptureFixture
    ) -> None:
        any_session.add(JobSpec("testing.nobody"))

        assert any_session(drain) == {"scheduled": 1}
        assert (the_job(any_session).attempt, the_job(any_session).meta) == (0, {"unknown_worker": 1})
        assert "no worker named 'testing.nobody' is registered in this process; import its module" in caplog.text
        [record] = [record for record in caplog.records if "was given back" in record.getMessage()]
        assert vars(record)["worker"] == "testing.nobody"

    def test_what_this_process_can_not_run_is_given_back_once_however_far_the_time_moves(
        self, async_session: AnySession, caplog: pytest.LogCaptureFixture
    ) -> None:
        @job(name="testing.secret", encrypted=True)
        async def secret(word: str) -> None: ...

        configure_encryption([Fernet.generate_key()])
        async_session.add(secret.new("x"))
        async_session.add(JobSpec("testing.nobody"))
        configure_encryption(None)

        assert async_session(drain, until=timedelta(days=2)) == {"scheduled": 2}
        known = {one.worker: one.meta for one in async_session.scalars(select(Job))}
        assert known == {"testing.nobody": {"unknown_worker": 1}, "testing.secret": {"missing_key": 1}}
        assert caplog.text.count("no worker named 'testing.nobody'") == 1

    def test_a_job_that_took_its_own_row_away_is_fenced_out(
        self, async_session: AnySession, caplog: pytest.LogCaptureFixture
    ) -> None:
        async_session.add(app.add_and.new("ann", "delete the job"))

        assert async_session(drain) == {"executing": 1}
        assert "given to another run, or deleted; its effects were rolled back" in caplog.text
        assert async_session.names == []


class TestWithoutSafety:
    def test_the_jobs_error_is_raised_after_it_was_recorded(self, any_session: AnySession) -> None:
        any_session.add(app.breaks.new())

        with pytest.raises(Broken, match="always"):
            any_session(drain, with_safety=False)
        assert the_job(any_session).state == "retryable"

    def test_a_timeout_is_raised_as_one(self, any_session: AnySession) -> None:
        any_session.add(app.hangs.new())

        with pytest.raises(JobTimeout, match="ran longer than its timeout"):
            any_session(drain, with_safety=False)

    def test_an_outcome_is_not_an_error(self, any_session: AnySession) -> None:
        any_session.add(app.ends_by_raising.new("cancel"))

        assert any_session(drain, with_safety=False) == {"cancelled": 1}

    def test_an_unknown_worker_is_raised(self, any_session: AnySession) -> None:
        any_session.add(JobSpec("testing.nobody"))

        with pytest.raises(UnknownWorker, match="import its module"):
            any_session(drain, with_safety=False)


class TestSessionsOfJobs:
    def test_a_job_sees_and_changes_what_the_test_has_not_committed(self, any_session: AnySession) -> None:
        user = User(name="ann")
        any_session.add(user)
        any_session.add((app.welcome if any_session.is_async else app.welcome_plain).new(user_id=user.id))

        assert any_session(drain, with_safety=False) == {"completed": 1}
        assert user.welcomed == 1

    def test_plain_functions_work_below_an_async_session(self, async_session: AnySession) -> None:
        user = User(name="ann")
        async_session.add(user)
        async_session.add(app.welcome_plain.new(user_id=user.id))

        assert async_session(drain, with_safety=False) == {"completed": 1}
        assert user.welcomed == 1

    def test_it_is_of_the_class_of_the_tests_session(self, async_session: AnySession) -> None:
        seen: list[type] = []

        class Mine(AsyncSession):
            pass

        mine = Mine(async_session.connection, join_transaction_mode="create_savepoint")

        @job(name="testing.look_at_session")
        async def look(session: AsyncSession) -> None:
            seen.append(type(session))

        mine.add(look.new())
        assert async_session.wait(drain(mine)) == {"completed": 1}
        assert seen == [Mine]
        async_session.wait(mine.close())

    @pytest.mark.parametrize("then", ["raise", "cancel", "discard", "record what JSON can't carry"])
    def test_what_a_failed_job_has_written_is_rolled_back_and_the_rest_stays(
        self, any_session: AnySession, then: str
    ) -> None:
        if not any_session.is_async and then == "record what JSON can't carry":
            pytest.skip("the same code")
        kind = app.add_and if any_session.is_async else app.add_plain_and
        any_session.add(User(name="mine"))
        any_session.add(kind.new("kept", "nothing"), kind.new("lost", then), kind.new("kept too", "nothing"))

        assert any_session(drain)["completed"] == 2
        assert any_session.names == ["mine", "kept", "kept too"]

    @pytest.mark.parametrize("then", ["nothing", "snooze", "record", "raise a snooze", "raise a record"])
    def test_what_a_job_has_written_that_ended_well_stays(self, any_session: AnySession, then: str) -> None:
        kind = app.add_and if any_session.is_async else app.add_plain_and
        any_session.add(kind.new("kept", then))

        any_session(drain, with_safety=False)
        assert any_session.names == ["kept"]

    def test_its_commit_is_refused(self, any_session: AnySession) -> None:
        kind = app.add_and if any_session.is_async else app.add_plain_and
        any_session.add(kind.new("lost", "commit"))

        with pytest.raises(ObanError, match=r"commit\(\) inside a job"):
            any_session(drain, with_safety=False)
        assert the_job(any_session).state == "retryable"
        assert any_session.names == []

    def test_its_commit_is_refused_after_its_own_savepoint(self, async_session: AnySession) -> None:
        async_session.add(app.add_and.new("lost", "commit after a savepoint"))

        assert async_session(drain) == {"retryable": 1}
        assert async_session.names == []

    def test_a_plain_session_can_not_give_an_async_one(self, plain_session: AnySession) -> None:
        plain_session.add(app.welcome.new(user_id=1))

        with pytest.raises(InvalidOption, match="asks for an AsyncSession, which can't work on the connection of a"):
            plain_session(drain)

    def test_a_timeout_inside_of_a_statement_says_that_the_connection_is_lost(self, async_session: AnySession) -> None:
        @job(name="testing.sleep_in_sql", timeout=0.05)
        async def sleep(session: AsyncSession) -> None:
            await session.execute(text("SELECT pg_sleep(60)"))

        async_session.add(sleep.new())
        with pytest.raises(ObanError, match="was stopped inside of a statement") as raised:
            async_session(drain)
        assert isinstance(raised.value.__cause__, JobTimeout)

    def test_objects_whose_row_a_job_deleted_say_so(self, plain_session: AnySession) -> None:

        @job(name="testing.delete_user", queue="plain_sessions")
        def delete(session: Session, user_id: int) -> None:
            session.delete(session.get_one(User, user_id))

        user = User(name="ann")
        plain_session.add(user)
        plain_session.add(delete.new(user_id=user.id))

        assert plain_session(drain) == {"completed": 1}
        with pytest.raises(InvalidRequestError):
            _ = user.name


class TestTheTestsOwnSession:
    """Applications whose jobs find a session by themselves, which the test has replaced by its own."""

    def test_a_job_that_commits_it_completes(self, plain_session: AnySession) -> None:
        @job(name="testing.commits_global")
        def commits() -> None:
            plain_session.session.add(User(name="kept"))
            plain_session.session.commit()

        plain_session.add(commits.new())
        assert plain_session(drain, with_safety=False) == {"completed": 1}
        assert plain_session.names == ["kept"]

    def test_a_job_that_fails_in_it_leaves_it_usable(self, plain_session: AnySession) -> None:
        @job(name="testing.spoils_global")
        def spoils() -> None:
            plain_session.session.add(User(name="lost"))
            plain_session.session.flush()
            plain_session.session.add(User(name=None))
            plain_session.session.flush()

        plain_session.add(User(name="mine"), spoils.new())
        assert plain_session(drain) == {"retryable": 1}
        assert plain_session.names == ["mine"]

    def test_a_job_that_hides_a_database_error_leaves_it_usable(self, plain_session: AnySession) -> None:
        @job(name="testing.hides_error")
        def hides() -> None:
            try:
                plain_session.connection.execute(text("SELECT 1 / 0"))
            except Exception:
                return

        plain_session.add(User(name="mine"), hides.new())
        assert plain_session(drain) == {"completed": 1}
        assert plain_session.names == ["mine"]


class TestLoops:
    async def test_a_coroutine_needs_an_async_session_inside_of_a_loop(self, database_url: str) -> None:
        any_session = AnySession(database_url, "plain")
        any_session.add(app.send.new("ann"))
        try:
            with pytest.raises(ObanError, match="use an AsyncSession in this test, or make the test a plain function"):
                any_session(drain)
        finally:
            any_session.close()

    def test_cancelling_the_test_cancels_the_drain(self, async_session: AnySession) -> None:
        started = asyncio.Event()

        @job(name="testing.waits")
        async def waits() -> None:
            started.set()
            await asyncio.Event().wait()

        async_session.add(waits.new())

        async def cancel_midway() -> None:
            task: asyncio.Future[Any] = asyncio.ensure_future(drain(cast(AsyncSession, async_session.session)))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        async_session.wait(cancel_midway())
        assert the_job(async_session).state == "executing"
