"""What a test gives to jobs that ask for it."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import InvalidOption, Oban, enqueue, injected, job
from oban_sqla.testing import assert_enqueued, drain, mode, perform, resources


class Client:
    def __init__(self) -> None:
        self.sent: list[int] = []


@job(name="testing.resources.sends", queue="testing.resources")
async def sends(number: int, client: Client = injected()) -> int:
    client.sent.append(number)
    return number


@job(name="testing.resources.sends_plainly", queue="testing.resources")
def sends_plainly(number: int, client: Client = injected()) -> int:
    client.sent.append(number)
    return number


@job(name="testing.resources.asks_runtime", queue="testing.resources")
async def asks_runtime(oban: Oban) -> object:
    return oban


async def test_drain_and_perform_and_inline_mode_give_what_the_test_provides(engine: AsyncEngine) -> None:
    fake = Client()
    async with AsyncSession(engine) as session:
        with resources({Client: fake}):
            await enqueue(session, [sends.new(1), sends_plainly.new(2)])
            assert await drain(session) == {"completed": 2}
            assert await perform(sends.new(3)) == 3
            assert perform(sends_plainly.new(4)) == 4
            async with mode("inline"):
                session.add(sends.new(5))
                await session.flush()
    assert fake.sent == [1, 2, 3, 4, 5]


def test_drain_of_a_plain_session_gives_it_too(sync_engine: object) -> None:
    fake = Client()
    with Session(sync_engine) as session, resources({Client: fake}):  # type: ignore[arg-type]  # pyright: ignore
        session.add(sends_plainly.new(1))
        session.add(sends.new(2))
        assert drain(session) == {"completed": 2}
    assert fake.sent == [1, 2]


async def test_inner_block_overrides_the_outer_one_for_its_time(engine: AsyncEngine) -> None:
    outer, inner, oban = Client(), Client(), Oban(engine)
    async with resources({Client: outer, Oban: oban}):
        with resources({Client: inner}):
            await perform(sends.new(1))
            assert await perform(asks_runtime.new()) is oban
        await perform(sends.new(2))
    assert (outer.sent, inner.sent) == ([2], [1])


async def test_what_the_test_does_not_provide_is_its_mistake_and_not_the_jobs(engine: AsyncEngine) -> None:
    class FakeClient(Client): ...

    with pytest.raises(InvalidOption, match=r"client asks for .*Client, which this test does not provide; use"):
        await perform(sends.new(1))
    async with AsyncSession(engine) as session:
        session.add(sends.new(1))
        with (
            resources({FakeClient: FakeClient()}),
            pytest.raises(InvalidOption, match="it provides .*FakeClient"),
        ):
            await drain(session)
        [given_back] = await assert_enqueued(session, worker=sends, state="available")
        assert (given_back.attempt, given_back.errors) == (0, [])

        with resources({Client: Client()}):
            assert await drain(session) == {"completed": 1}


def test_sessions_are_not_given_this_way() -> None:
    with pytest.raises(InvalidOption, match="sessions come from"):
        resources({Session: Session()})
