"""What a node makes of a run elsewhere that is lost or asked to stop, and of what a child reports, without a child."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from sqlalchemy.orm import Session

from oban_sqla import Discard, Encryption, injected, job
from oban_sqla.errors import ChildDied
from oban_sqla.executors import remote, wire
from oban_sqla.executors.errand import answer
from oban_sqla.executors.remote import InChildren, Outside, relay
from oban_sqla.options.encryption import using
from oban_sqla.runtime.acks import Ack
from oban_sqla.runtime.executors.call import Call, Judged, Raised
from oban_sqla.runtime.row import Row
from oban_sqla.runtime.verdict import Stop
from tests.runtime.helpers import fetched


@job(name="tests.remote.plain", executor="process", queue="tests.remote")
def plain() -> None: ...


@job(name="tests.remote.writes", executor="process", queue="tests.remote")
def writes(session: Session) -> None: ...


class Client: ...


@job(name="tests.remote.asks", executor="process", queue="tests.remote")
def asks(client: Client = injected()) -> None: ...


class Child:
    """A child that answers when the test says so."""

    def __init__(self) -> None:
        self.pid = 4711
        self.slot_said: Callable[[str], None] | None = None
        self.runs: Any = None
        self.context: Any = None
        self.answers: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.kills: list[str] = []
        self.told: list[dict[str, Any]] = []

    def run(self, payload: bytes) -> asyncio.Future[bytes]:
        assert json.loads(payload)["row"]["id"] == 7
        return self.answers

    def kill(self, reason: str) -> None:
        self.kills.append(reason)

    def answer_told(self, **fields: Any) -> None:
        self.told.append(fields)


class Slots:
    """Where the job counts, which notes what was done."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int]] = []

    def leave(self, job_id: int) -> None:
        self.said.append(("leave", job_id))

    def return_now(self, job_id: int) -> None:
        self.said.append(("return", job_id))


class Attempt:
    """The run in the node."""

    def __init__(self) -> None:
        self.stop: Stop | None = None
        self.slots = Slots()


class Place:
    """Children, of which there is one, and the run in it."""

    def __init__(self, settled: bool = False) -> None:
        self.size = 1
        self.child = Child()
        self.attempt = Attempt()
        self.given_back = 0
        self.taken = 0
        self.begun = 0

        async def is_settled(_row: Row) -> bool:
            return settled

        given: Any = {"max_crashes": 3, "settled": is_settled, "resources": {}, "groups": {}}
        self.children = InChildren(cast(Any, self), **given)

    async def take(self) -> Child:
        assert self.begun == 0, "it begins in a child"
        self.taken += 1
        return self.child

    def give_back(self, child: Child) -> None:
        assert (child.slot_said, child.runs, child.context) == (None, None, None)
        self.given_back += 1

    def begin(self) -> None:
        self.begun += 1

    def start(self, fn: Any = plain, **values: Any) -> asyncio.Task[Any]:
        call = Call(fn.worker, fetched(fn.worker.name, **values))
        return asyncio.create_task(self.children.run(call, cast(Any, self.attempt), self.begin))

    async def lost(self, fn: Any = plain, stop: Stop | None = None, **values: Any) -> Any:
        """What comes of a run whose child dies."""
        running = self.start(fn, **values)
        await asyncio.sleep(0)
        self.attempt.stop = stop
        self.child.answers.set_exception(ChildDied("the child process exited with status 3"))
        return await running


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    yield made
    if not made.child.answers.done():  # else a run that a failed test has left would wait for ever
        made.child.answers.set_exception(ChildDied("the test is over"))


def of_ack(found: Any) -> tuple[str, Any, str]:
    """The state, what is added to the meta, and the error."""
    assert isinstance(found, Judged)
    assert isinstance(found.ack, Ack)
    error = "" if found.ack.error is None else json.loads(found.ack.error)[0]["error"]
    return found.ack.state, found.ack.meta, error


async def test_a_run_whose_child_died_is_a_failed_attempt_and_counts_as_a_crash() -> None:
    place = Place()
    state, meta, error = of_ack(found := await place.lost())
    assert (state, meta, "exited with status 3" in error) == ("retryable", '{"crashes": 1}', True)
    assert (found.committed, place.taken, place.begun, place.given_back) == (False, 1, 1, 1)


@pytest.mark.parametrize(
    ("meta", "crashes", "state"),
    [('{"crashes":1}', 2, "retryable"), ('{"crashes":2}', 3, "discarded"), ('{"crashes":"many"}', 1, "retryable")],
)
async def test_a_job_is_poison_when_so_many_of_its_runs_were_lost(meta: str, crashes: int, state: str) -> None:
    found = of_ack(await Place().lost(meta=meta))
    assert found[:2] == (state, json.dumps({"crashes": crashes}))
    assert found[2].startswith("poison: 3 processes ended while they ran this job") is (state == "discarded")


async def test_the_last_attempt_of_a_job_says_how_its_child_ended_and_not_that_it_is_poison() -> None:
    state, _, error = of_ack(await Place().lost(meta='{"crashes":2}', attempt=20))
    assert (state, "poison" in error) == ("discarded", False)


async def test_a_run_that_was_lost_after_its_commit_is_completed() -> None:
    found = await Place(settled=True).lost(writes)
    assert (of_ack(found), found.committed, found.error) == (("completed", None, ""), True, None)
    assert of_ack(await Place(settled=False).lost(writes))[0] == "retryable"
    # One that asks for no session has committed nothing: what has changed its row is not asked.
    assert of_ack(await Place(settled=True).lost(plain))[0] == "retryable"


async def test_a_run_that_was_killed_after_it_was_asked_to_stop_was_cancelled() -> None:
    found = await Place().lost(stop=Stop.CANCEL)
    assert isinstance(found, Raised)
    assert isinstance(found.error, asyncio.CancelledError)


@pytest.mark.parametrize(("stop", "reason"), [(Stop.TIMEOUT, "timeout"), (None, "shutdown")])
async def test_a_child_hears_once_why_its_call_is_to_stop(place: Place, stop: Stop | None, reason: str) -> None:
    running = place.start()
    await asyncio.sleep(0)
    place.attempt.stop = stop
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0)
    assert (place.child.kills, running.done()) == ([reason], False)
    place.child.answers.set_result(answer(None, None, committed=False))
    assert isinstance(await running, Judged)


async def test_a_job_whose_call_can_not_be_sent_fails_and_takes_no_child() -> None:
    place = Place()
    found = await place.start(asks)
    assert isinstance(found, Raised)
    assert "Client" in str(found.error)
    assert (place.taken, place.begun) == (0, 0)


async def test_what_a_child_says_of_its_job_counts_while_it_runs_it(place: Place) -> None:
    child: Any = place.child
    running = place.start()
    await asyncio.sleep(0)
    assert child.runs is place.attempt
    assert child.context is not None
    for said in ("leave", "return"):
        relay(child, wire.EVENT, {"slot": said}, woke=_asleep)
    assert place.attempt.slots.said == [("leave", 7), ("return", 7)]
    place.child.answers.set_result(answer(None, Discard("enough"), committed=False))
    await running
    relay(child, wire.EVENT, {"slot": "leave"}, woke=_asleep)
    relay(child, wire.TELL, {"events": [], "lines": [], "note": None}, woke=_asleep)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(place.attempt.slots.said) == 2
    assert place.child.told == [{"fenced": True}], "a child whose run has ended is told so"


def _asleep(_queues: object, _soon: bool) -> None:
    raise AssertionError("nothing was enqueued")


@pytest.fixture
async def child() -> Any:
    return Child()


def test_a_record_of_a_child_is_logged_as_one_of_that_process_and_time(child: Any) -> None:
    taken: list[logging.LogRecord] = []
    logger = logging.getLogger("tests.remote")
    handler = logging.Handler()
    handler.emit = taken.append  # type: ignore[assignment,method-assign]
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    fields: dict[str, Any] = {
        "name": "tests.remote", "path": "jobs.py", "line": 3, "function": "charge", "message": "50 % off", "trace": "",
        "created": 1_000_000.5, "extra": {"job_id": 7},
    }  # fmt: skip
    try:
        for level in (logging.DEBUG, logging.WARNING):
            relay(child, wire.LOG, {**fields, "level": level, "trace": "ValueError: no"}, woke=_asleep)
    finally:
        logger.removeHandler(handler)
    [record] = taken
    assert (record.process, record.created, vars(record)["job_id"]) == (4711, 1_000_000.5, 7)
    assert record.getMessage() == "50 % off\nValueError: no"


def test_keys_that_the_node_can_not_get_are_looked_for_in_the_child() -> None:
    def away() -> list[str]:
        raise ConnectionError("the vault is away")

    with using(Encryption(keys=away)):
        assert remote._keys() is None


class Killed:
    """An executor whose kill takes a while longer than the run."""

    def __init__(self) -> None:
        self.answers: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.kills = 0
        self.killed = 0

    def submit(self, payload: bytes) -> asyncio.Future[bytes]:
        return self.answers

    async def kill(self, run: object) -> bool:
        self.kills += 1
        if not self.answers.done():
            self.answers.set_exception(ChildDied("it was killed"))
        for _ in range(5):
            await asyncio.sleep(0)
        self.killed += 1
        return True


async def test_a_run_outside_ends_when_its_kill_has_ended_which_is_asked_for_once() -> None:
    async def is_settled(_row: Row) -> bool:
        return False

    executor = Killed()
    given: Any = {"max_crashes": 3, "settled": is_settled, "resources": {}, "groups": {}}
    outside = Outside(cast(Any, executor), **given)
    attempt = Attempt()
    call = Call(plain.worker, fetched("tests.remote.plain"))
    running = asyncio.create_task(outside.run(call, cast(Any, attempt), lambda: None))
    await asyncio.sleep(0)
    attempt.stop = Stop.CANCEL
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    found = await running
    assert isinstance(found, Raised)
    assert (executor.kills, executor.killed) == (1, 1)
