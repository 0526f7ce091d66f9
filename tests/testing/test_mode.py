from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from oban_sqla import InvalidOption, Job, JobState, enqueue
from oban_sqla.testing import all_enqueued, assert_enqueued, drain, mode
from tests.testing import app
from tests.testing.any_session import AnySession
from tests.testing.app import Broken, User


def states(any_session: AnySession) -> list[JobState]:
    return any_session.scalars(select(Job.state).order_by(Job.id))


def welcome(any_session: AnySession) -> Any:
    return app.welcome if any_session.is_async else app.welcome_plain


def count_down(any_session: AnySession) -> Any:
    return app.count_down if any_session.is_async else app.count_down_plain


class TestInline:
    def test_a_job_runs_after_the_flush_that_wrote_it(self, any_session: AnySession) -> None:
        with mode("inline"):
            any_session.session.add(app.send.new("ann"))
            assert app.calls == []
            any_session.wait(any_session.session.flush())
            assert app.calls == [("Hello", "ann")]

        assert states(any_session) == ["completed"]

    def test_it_sees_the_other_objects_of_that_flush(self, any_session: AnySession) -> None:
        from oban_sqla import later

        user = User(name="ann")
        with mode("inline", with_safety=False):
            any_session.add(user, welcome(any_session).new(user_id=later(lambda: user.id)))

        any_session.wait(any_session.session.refresh(user))
        assert user.welcomed == 1

    def test_it_runs_in_a_commit(self, any_session: AnySession) -> None:
        with mode("inline"):
            any_session.session.add(app.send.new("ann"))
            any_session.commit()
            any_session.session.add_all([User(name="ann"), app.send.new("bob")])
            any_session.commit()

        assert [to for _, to in app.calls] == ["ann", "bob"]
        assert any_session.names == ["ann"]

    def test_it_runs_in_an_enqueue(self, any_session: AnySession) -> None:
        with mode("inline"):
            [spec] = any_session(enqueue, app.send.new("ann"))

        assert spec.state == "available"
        assert states(any_session) == ["completed"]

    def test_it_runs_in_a_savepoint_of_the_test(self, plain_session: AnySession) -> None:
        with mode("inline"), plain_session.session.begin_nested() as savepoint:
            plain_session.add(app.add_plain_and.new("lost", "nothing"))
            assert plain_session.names == ["lost"]
            savepoint.rollback()

        assert plain_session.names == []
        assert states(plain_session) == []

    def test_jobs_of_jobs_run_after_them(self, any_session: AnySession) -> None:
        with mode("inline"):
            any_session.add(count_down(any_session).new(left=30))

        assert app.calls == list(range(30, -1, -1))
        assert set(states(any_session)) == {"completed"}

    def test_jobs_of_a_failed_job_do_not_run(self, async_session: AnySession) -> None:
        with mode("inline"):
            async_session.add(app.count_down_and_break.new(left=3))

        assert app.calls == []
        assert states(async_session) == ["retryable"]

    def test_what_a_failed_job_wrote_is_gone_and_the_rest_stays(self, any_session: AnySession) -> None:
        kind = app.add_and if any_session.is_async else app.add_plain_and
        with mode("inline"):
            any_session.add(User(name="mine"), kind.new("kept", "nothing"), kind.new("lost", "raise"))

        assert any_session.names == ["mine", "kept"]
        assert states(any_session) == ["completed", "retryable"]

    def test_without_safety_the_flush_raises(self, any_session: AnySession) -> None:
        with mode("inline", with_safety=False), pytest.raises(Broken):
            any_session.add(app.breaks.new())

    def test_jobs_that_are_not_due_stay(self, any_session: AnySession) -> None:
        with mode("inline"):
            any_session.add(app.send.options(schedule_in=60).new("ann"), app.ends.new("snooze"))

        assert app.calls == []
        assert any_session(drain, with_scheduled=True) == {"completed": 1, "scheduled": 1}

    def test_jobs_that_were_enqueued_before_stay(self, any_session: AnySession) -> None:
        any_session.add(app.send.new("before"))
        with mode("inline"):
            any_session.add(app.send.new("inside"))

        assert [to for _, to in app.calls] == ["inside"]
        any_session(assert_enqueued, args={"to": "before"}, count=1)

    def test_two_sessions_on_one_connection_take_turns(self, plain_session: AnySession) -> None:
        from sqlalchemy.orm import Session

        from oban_sqla import job

        @job(name="testing.opens_its_own")
        def opens() -> None:
            with Session(plain_session.connection, join_transaction_mode="create_savepoint") as own, own.begin():
                own.add(app.send.new("from inside"))

        with mode("inline", with_safety=False):
            plain_session.add(opens.new())

        assert states(plain_session) == ["completed", "completed"]


class TestModes:
    def test_outside_of_a_block_nothing_runs(self, any_session: AnySession) -> None:
        with mode("inline"):
            pass
        any_session.add(app.send.new("ann"))

        assert app.calls == []

    def test_the_mode_before_comes_back(self, any_session: AnySession) -> None:
        with mode("inline"):
            with mode("manual"):
                any_session.add(app.send.new("stays"))
            any_session.add(app.send.new("runs"))

        assert [to for _, to in app.calls] == ["runs"]

    def test_it_comes_back_after_an_error(self, any_session: AnySession) -> None:
        with pytest.raises(Broken), mode("inline"):
            raise Broken
        any_session.add(app.send.new("ann"))

        assert app.calls == []

    def test_a_mode_can_be_entered_again(self, any_session: AnySession) -> None:
        inline = mode("inline")
        with inline, inline:
            any_session.add(app.send.new("ann"))
        with inline:
            any_session.add(app.send.new("bob"))

        assert [to for _, to in app.calls] == ["ann", "bob"]

    def test_another_name_is_refused(self) -> None:
        with pytest.raises(InvalidOption, match="mode: expected 'inline' or 'manual', got 'online'"):
            mode("online")  # type: ignore[arg-type]

    def test_async_with_is_the_same(self, async_session: AnySession) -> None:
        async def test() -> None:
            async with mode("inline"):
                async_session.session.add(app.send.new("ann"))
                await async_session.session.flush()
            async_session.session.add(app.send.new("bob"))
            await async_session.session.flush()

        async_session.wait(test())
        assert [to for _, to in app.calls] == ["ann"]

    def test_a_test_beside_is_not_disturbed(self, async_session: AnySession, database_url: str) -> None:
        entered = asyncio.Event()
        enqueued = asyncio.Event()

        async def inline() -> None:
            async with mode("inline"):
                entered.set()
                await enqueued.wait()

        async def beside() -> None:
            await entered.wait()
            async_session.session.add(app.send.new("ann"))
            await async_session.session.flush()
            enqueued.set()

        async def both() -> None:
            await asyncio.gather(inline(), beside())

        async_session.wait(both())
        assert app.calls == []
        assert len(async_session(all_enqueued)) == 1

    def test_tasks_of_the_block_are_in_it(self, async_session: AnySession) -> None:
        async def task() -> None:
            async_session.session.add(app.send.new("ann"))
            await async_session.session.flush()

        async def test() -> None:
            async with mode("inline"):
                await asyncio.create_task(task())

        async_session.wait(test())
        assert app.calls == [("Hello", "ann")]

    def test_two_connections_run_at_the_same_time(self, async_session: AnySession) -> None:
        """Each has its own queue of jobs to run; one does not swallow the other's."""

        async def one(name: str) -> int:
            async with AsyncSession(async_session.engine) as session:
                session.add(app.send.new(name))
                await session.flush()
                return len(await all_enqueued(session))

        async def test() -> list[int]:
            async with mode("inline"):
                return await asyncio.gather(*(one(f"user {number}") for number in range(5)))

        assert async_session.wait(test()) == [0] * 5
        assert len(app.calls) == 5

    def test_it_may_end_in_another_context(self) -> None:
        inline = mode("inline")
        contextvars.copy_context().run(inline.__enter__)
        contextvars.copy_context().run(inline.__exit__)
