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
from tests.testing.app import Broken, User
from tests.testing.room import Room


def states(room: Room) -> list[JobState]:
    return room.scalars(select(Job.state).order_by(Job.id))


def welcome(room: Room) -> Any:
    return app.welcome if room.is_async else app.welcome_plain


def count_down(room: Room) -> Any:
    return app.count_down if room.is_async else app.count_down_plain


class TestInline:
    def test_a_job_runs_after_the_flush_that_wrote_it(self, room: Room) -> None:
        with mode("inline"):
            room.session.add(app.send.new("ann"))
            assert app.calls == []
            room.wait(room.session.flush())
            assert app.calls == [("Hello", "ann")]

        assert states(room) == ["completed"]

    def test_it_sees_the_other_objects_of_that_flush(self, room: Room) -> None:
        from oban_sqla import later

        user = User(name="ann")
        with mode("inline", with_safety=False):
            room.add(user, welcome(room).new(user_id=later(lambda: user.id)))

        room.wait(room.session.refresh(user))
        assert user.welcomed == 1

    def test_it_runs_in_a_commit(self, room: Room) -> None:
        with mode("inline"):
            room.session.add(app.send.new("ann"))
            room.commit()
            room.session.add_all([User(name="ann"), app.send.new("bob")])
            room.commit()

        assert [to for _, to in app.calls] == ["ann", "bob"]
        assert room.names == ["ann"]

    def test_it_runs_in_an_enqueue(self, room: Room) -> None:
        with mode("inline"):
            [spec] = room(enqueue, app.send.new("ann"))

        assert spec.state == "available"
        assert states(room) == ["completed"]

    def test_it_runs_in_a_savepoint_of_the_test(self, plain_room: Room) -> None:
        with mode("inline"), plain_room.session.begin_nested() as savepoint:
            plain_room.add(app.add_plain_and.new("lost", "nothing"))
            assert plain_room.names == ["lost"]
            savepoint.rollback()

        assert plain_room.names == []
        assert states(plain_room) == []

    def test_jobs_of_jobs_run_after_them(self, room: Room) -> None:
        with mode("inline"):
            room.add(count_down(room).new(left=30))

        assert app.calls == list(range(30, -1, -1))
        assert set(states(room)) == {"completed"}

    def test_jobs_of_a_failed_job_do_not_run(self, async_room: Room) -> None:
        with mode("inline"):
            async_room.add(app.count_down_and_break.new(left=3))

        assert app.calls == []
        assert states(async_room) == ["retryable"]

    def test_what_a_failed_job_wrote_is_gone_and_the_rest_stays(self, room: Room) -> None:
        kind = app.add_and if room.is_async else app.add_plain_and
        with mode("inline"):
            room.add(User(name="mine"), kind.new("kept", "nothing"), kind.new("lost", "raise"))

        assert room.names == ["mine", "kept"]
        assert states(room) == ["completed", "retryable"]

    def test_without_safety_the_flush_raises(self, room: Room) -> None:
        with mode("inline", with_safety=False), pytest.raises(Broken):
            room.add(app.breaks.new())

    def test_jobs_that_are_not_due_stay(self, room: Room) -> None:
        with mode("inline"):
            room.add(app.send.options(schedule_in=60).new("ann"), app.ends.new("snooze"))

        assert app.calls == []
        assert room(drain, with_scheduled=True) == {"completed": 1, "scheduled": 1}

    def test_jobs_that_were_enqueued_before_stay(self, room: Room) -> None:
        room.add(app.send.new("before"))
        with mode("inline"):
            room.add(app.send.new("inside"))

        assert [to for _, to in app.calls] == ["inside"]
        room(assert_enqueued, args={"to": "before"}, count=1)

    def test_two_sessions_on_one_connection_take_turns(self, plain_room: Room) -> None:
        from sqlalchemy.orm import Session

        from oban_sqla import job

        @job(name="testing.opens_its_own")
        def opens() -> None:
            with Session(plain_room.connection, join_transaction_mode="create_savepoint") as own, own.begin():
                own.add(app.send.new("from inside"))

        with mode("inline", with_safety=False):
            plain_room.add(opens.new())

        assert states(plain_room) == ["completed", "completed"]


class TestModes:
    def test_outside_of_a_block_nothing_runs(self, room: Room) -> None:
        with mode("inline"):
            pass
        room.add(app.send.new("ann"))

        assert app.calls == []

    def test_the_mode_before_comes_back(self, room: Room) -> None:
        with mode("inline"):
            with mode("manual"):
                room.add(app.send.new("stays"))
            room.add(app.send.new("runs"))

        assert [to for _, to in app.calls] == ["runs"]

    def test_it_comes_back_after_an_error(self, room: Room) -> None:
        with pytest.raises(Broken), mode("inline"):
            raise Broken
        room.add(app.send.new("ann"))

        assert app.calls == []

    def test_a_mode_can_be_entered_again(self, room: Room) -> None:
        inline = mode("inline")
        with inline, inline:
            room.add(app.send.new("ann"))
        with inline:
            room.add(app.send.new("bob"))

        assert [to for _, to in app.calls] == ["ann", "bob"]

    def test_another_name_is_refused(self) -> None:
        with pytest.raises(InvalidOption, match="mode: expected 'inline' or 'manual', got 'online'"):
            mode("online")  # type: ignore[arg-type]

    def test_async_with_is_the_same(self, async_room: Room) -> None:
        async def test() -> None:
            async with mode("inline"):
                async_room.session.add(app.send.new("ann"))
                await async_room.session.flush()
            async_room.session.add(app.send.new("bob"))
            await async_room.session.flush()

        async_room.wait(test())
        assert [to for _, to in app.calls] == ["ann"]

    def test_a_test_beside_is_not_disturbed(self, async_room: Room, database_url: str) -> None:
        entered = asyncio.Event()
        enqueued = asyncio.Event()

        async def inline() -> None:
            async with mode("inline"):
                entered.set()
                await enqueued.wait()

        async def beside() -> None:
            await entered.wait()
            async_room.session.add(app.send.new("ann"))
            await async_room.session.flush()
            enqueued.set()

        async def both() -> None:
            await asyncio.gather(inline(), beside())

        async_room.wait(both())
        assert app.calls == []
        assert len(async_room(all_enqueued)) == 1

    def test_tasks_of_the_block_are_in_it(self, async_room: Room) -> None:
        async def task() -> None:
            async_room.session.add(app.send.new("ann"))
            await async_room.session.flush()

        async def test() -> None:
            async with mode("inline"):
                await asyncio.create_task(task())

        async_room.wait(test())
        assert app.calls == [("Hello", "ann")]

    def test_two_connections_run_at_the_same_time(self, async_room: Room) -> None:
        """Each has its own queue of jobs to run; one does not swallow the other's."""

        async def one(name: str) -> int:
            async with AsyncSession(async_room.engine) as session:
                session.add(app.send.new(name))
                await session.flush()
                return len(await all_enqueued(session))

        async def test() -> list[int]:
            async with mode("inline"):
                return await asyncio.gather(*(one(f"user {number}") for number in range(5)))

        assert async_room.wait(test()) == [0] * 5
        assert len(app.calls) == 5

    def test_it_may_end_in_another_context(self) -> None:
        inline = mode("inline")
        contextvars.copy_context().run(inline.__enter__)
        contextvars.copy_context().run(inline.__exit__)
