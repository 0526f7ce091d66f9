"""What changes while a loop looks: it may not be in what is seen, so the next look must come, and nothing is lost."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType, SimpleNamespace
from typing import Any, cast

import pytest

from oban_sqla import DatabaseUnavailable, ObanError, job, telemetry
from oban_sqla.executors.errand import judged, payload
from oban_sqla.executors.perform import Performer
from oban_sqla.options.queue import Queue
from oban_sqla.runtime.announcer import Announcer
from oban_sqla.runtime.control import Control
from oban_sqla.runtime.cursor import LONGEST, SHARE, Cursor
from oban_sqla.runtime.durable import steps as steps_module
from oban_sqla.runtime.durable.steps import Steps
from oban_sqla.runtime.duties.leader import Leadership
from oban_sqla.runtime.executors.call import Call, Judged
from oban_sqla.runtime.journal.journal import Journal
from oban_sqla.runtime.lanes.failure import StatementFailed
from oban_sqla.runtime.releaser import FIRST_REST, LONGEST_PAUSE, Releaser
from oban_sqla.runtime.share import Share
from oban_sqla.runtime.verdict import Stop
from oban_sqla.runtime.waiter import Wait, Waiter
from oban_sqla.statements.steps import mark
from oban_sqla.statements.wire import AWAITED, FOREIGN
from oban_sqla.workers.registry import workers
from tests.runtime.helpers import fetched


class Lane:
    """Answers statements by the name of each, in the order given; what an answer does happens before it arrives."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.sent: list[tuple[str, dict[str, Any]]] = []

    async def run(self, statement: Any, /, **given: Any) -> Sequence[Any]:
        self.sent.append((statement.name, given))
        answer: Any = self.answers[statement.name].pop(0)
        if callable(answer):
            answer = answer()
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return cast(Sequence[Any], answer)

    run_unshielded = run

    def names(self) -> list[str]:
        return [name for name, _ in self.sent]


def failed() -> StatementFailed:
    return StatementFailed("a statement", ConnectionError("the line is gone"), None, True)


async def test_a_workflow_that_ends_while_a_node_looks_is_told_to_those_that_wait_elsewhere() -> None:
    def ends() -> Sequence[Any]:
        waiter.acted()  # the releaser has acted on its end, which this look does not see
        return []

    lane: Any = Lane(finished_flows=[ends, [(5,)]], notify_at_once=[[]])
    waiter = Waiter(lane=lane, schema=None, origin="here", listens=lambda: True)
    waiter.heard(AWAITED, {"ids": [-5]})
    waiter.acted()
    await waiter.step()
    await waiter.step()
    assert lane.names() == ["finished_flows", "finished_flows", "notify_at_once"]
    assert json.loads(lane.sent[-1][1]["payloads"][0])["ids"] == [-5]


async def test_a_look_that_fails_is_made_again_for_the_workflows_that_others_wait_for() -> None:
    lane: Any = Lane(finished_flows=[failed(), [(5,)]], notify_at_once=[[]])
    waiter = Waiter(lane=lane, schema=None, origin="here", listens=lambda: True)
    waiter.heard(AWAITED, {"ids": [-5]})
    waiter.acted()
    with pytest.raises(StatementFailed):
        await waiter.step()
    await waiter.step()
    assert lane.names()[-1] == "notify_at_once"


async def test_what_a_node_waits_for_and_what_it_is_to_tell_outlast_a_database_that_does_not_answer() -> None:
    runs, ended = ((7, state, 0, None, None, False, "w", False) for state in ("executing", "completed"))
    lane: Any = Lane(notify_at_once=[[], failed(), [], failed(), []], outcomes=[[runs], [], failed(), [ended]])
    waiter = Waiter(lane=lane, schema=None, origin="here", listens=lambda: True)
    first, second = (Wait(number, True, lambda wait: None) for number in (7, 8))
    waiter.add([first])
    await waiter.step()
    waiter.add([second])
    with pytest.raises(StatementFailed):
        await waiter.step()  # the others are not told of it yet
    await waiter.step()
    waiter.settled(7)
    with pytest.raises(StatementFailed):
        await waiter.step()  # its end is not seen yet
    assert not first.is_over
    await waiter.step()
    assert first.is_over
    waiter.heard(AWAITED, {"ids": [9]})
    waiter.settled(9)
    with pytest.raises(StatementFailed):
        await waiter.step()  # the others are not told of that end yet
    await waiter.step()
    told = [json.loads(given["payloads"][0])["ids"] for name, given in lane.sent if name == "notify_at_once"]
    assert told == [[7], [8], [8], [9], [9]]


@pytest.mark.parametrize("flow", [False, True])
async def test_a_wait_sees_nothing_from_before_it_began(flow: bool) -> None:
    """The job ends, is retried, and waited for again, while the answer of a look at its end is under way."""
    ended = [(7, "completed", 0, None, None, False, "w", False)]
    again = [(7, "available", 0, None, None, False, "w", False)]
    first, second = (Wait(-7 if flow else 7, True, lambda wait: None) for _ in range(2))

    def meanwhile() -> Sequence[Any]:
        waiter.add([second])
        return [(7,)] if flow else ended

    lane: Any = Lane(outcomes=[meanwhile, again], finished_flows=[meanwhile, []])
    waiter = Waiter(lane=lane, schema=None, origin="here", listens=lambda: False)
    waiter.add([first])
    await waiter.step()
    assert (first.is_over, second.is_over) == (True, False)
    await waiter.step()
    assert not second.is_over


class Producers(dict[str, Any]):
    """Those of a node, as `Control` uses them."""

    def __init__(self, *queues: str) -> None:
        self.suspended: list[tuple[str, float]] = []
        super().__init__({queue: self._made(queue) for queue in queues})

    def _made(self, queue: str) -> Any:
        return SimpleNamespace(queue=queue, held={}, suspend=partial(self.suspend, queue))

    def suspend(self, queue: str, seconds: float) -> None:
        self.suspended.append((queue, seconds))

    def adjust(self, producer: Any, options: Queue) -> bool:
        return False

    async def declare(self, queues: Any) -> None:
        pass

    async def start_queues(self, queues: Any) -> None:
        self.update({queue: self._made(queue) for queue in queues})


def control_of(lane: Any, producers: Any, *queues: str) -> Control:
    config: Any = SimpleNamespace(
        queues={queue: Queue() for queue in queues}, name="Oban", node="here", share=Share(), poll_interval=1.0
    )
    return Control(lane=lane, config=config, producers=producers, beat=lambda: None, listens=lambda: True)


async def test_an_order_is_looked_for_again_at_once_when_the_look_for_it_has_failed() -> None:
    lane = Lane(orders=[[], failed(), []])
    control = control_of(lane, Producers())
    await control.step()
    control.wake()
    with pytest.raises(StatementFailed):
        await control.step()
    await control.step()
    assert lane.names() == ["orders"] * 3


async def test_an_order_of_another_program_is_kept_until_it_is_written() -> None:
    members = [(None, None, None, None, "{}")]
    lane = Lane(members=[failed(), members, members], ask=[failed(), [], []], orders=[[], [], [], []])
    control = control_of(lane, Producers("a"), "a")
    for name in ("a", "b"):
        control.hear({FOREIGN: True, "action": "pause", "queue": name, "ident": "any"})
    for _ in range(2):
        with pytest.raises(StatementFailed):
            await control.step()
    await control.step()
    kept = [given["queue"] for name, given in lane.sent if name == "ask"]
    assert kept == ["a", "a", "b"]
    assert not control._foreign


async def test_a_queue_stays_suspended_that_is_suspended_while_its_node_looks() -> None:
    def meanwhile() -> Sequence[Any]:
        control.suspended("a", 60.0)
        return []

    producers = Producers("a", "b")
    control = control_of(Lane(orders=[meanwhile, []]), producers, "a", "b")
    await control.look()
    assert producers.suspended == [("a", 60.0), ("b", 0.0)]
    await control.look()  # a later one counts: the suspension may have been ended
    assert producers.suspended[2:] == [("a", 0.0), ("b", 0.0)]


async def test_a_stop_waits_for_the_queues_that_an_operation_starts_and_no_later_one_starts_any() -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def later() -> Sequence[Any]:
        reached.set()
        await go_on.wait()
        return []

    lane, producers = Lane(orders=[later]), Producers()
    control = control_of(lane, producers, "a")
    look = asyncio.create_task(control.look())
    await reached.wait()
    stop = asyncio.create_task(control.stop())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not stop.done()
    go_on.set()
    await asyncio.gather(look, stop)
    assert list(producers) == ["a"]
    await control.look()
    assert lane.names() == ["orders"]


async def test_a_leader_whose_lease_ends_by_its_own_clock_while_it_renews_it_is_elected_anew() -> None:
    """What a leader does has stopped meanwhile, until the next election."""
    elections: list[float] = []

    async def slow() -> Sequence[Any]:
        while leadership.leads:  # noqa: ASYNC110 (the clock is what it waits for)
            await asyncio.sleep(0.002)
        return [(True, True, None)]

    lane: Any = Lane(elect=[[(True, True, None)], slow, [(True, True, None)]])
    leadership = Leadership(
        lane=lane, schema=None, name="Oban", node="here", origin="x", ttl=0.03,
        elected=lambda: elections.append(time.monotonic()),
    )  # fmt: skip
    await leadership.step()
    assert len(elections) == 1
    began = time.monotonic()
    await leadership.step()
    assert len(elections) == 2
    assert leadership._since >= began


async def test_what_could_not_be_announced_is_announced_by_the_next_try() -> None:
    lane: Any = Lane(notify_at_once=[failed(), []])
    announcer = Announcer(lane=lane, schema=None, origin="here")
    announcer.inserted(["a"])
    with pytest.raises(StatementFailed):
        await announcer.step()
    announcer.inserted(["b"])
    await announcer.step()
    assert [json.loads(payload)["queue"] for payload in lane.sent[-1][1]["payloads"]] == ["a", "b"]


@pytest.fixture
def batches_told() -> Iterator[list[Any]]:
    told: list[Any] = []
    telemetry.attach("while it looks", ["oban.batch.stop"], lambda _, fields: told.append(fields["batch_id"]))
    yield told
    telemetry.detach("while it looks")


async def test_batches_that_have_ended_are_told_of_when_the_database_answers_again(batches_told: list[Any]) -> None:
    news_left = [(None, 3, None), ("", 0, '{"xid": 8, "since": "2025-01-01"}')]
    none_left = [("", 0, '{"xid": null, "since": "2025-01-01"}')]
    lane: Any = Lane(release_and_sign=[news_left, none_left], ended_batches=[failed(), [(5, None, "{}", 1.0)]])
    releaser = Releaser(lane, available=lambda _: None, soon=lambda: None, acted=lambda: None)
    releaser.wake()
    with pytest.raises(StatementFailed):
        await releaser.step()
    await releaser.step()
    assert lane.names() == ["release_and_sign", "ended_batches"] * 2
    assert batches_told == [5]


async def test_news_are_acted_on_again_where_some_are_left_and_where_the_database_did_not_answer() -> None:
    told: list[object] = []
    some_left = [("mail", 2, None), ("later", 0, None), (None, 1, None)]
    lane: Any = Lane(release=[failed(), [(None, 3, None)], some_left, []])
    releaser = Releaser(
        lane, available=told.append, soon=lambda: told.append("soon"), acted=lambda: told.append("acted")
    )
    releaser.wake()
    with pytest.raises(StatementFailed):
        await releaser.step()
    assert [await releaser.step() for _ in range(4)] == [FIRST_REST, 0.0, None, None]
    assert told == ["acted", "acted", {"mail"}, "soon", "acted"]


async def test_a_signal_that_comes_between_a_look_and_the_wait_wakes_the_job() -> None:
    lane: Any = Lane()
    steps = Steps([lane])
    steps.woke(7)
    async with asyncio.timeout(10):
        await steps.heard_here(7, 3_600.0)
    assert not steps._unheard


async def test_a_step_is_kept_when_the_database_answers_again_unless_it_refuses_it_or_the_node_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps_module, "FIRST_RETRY", 0.0)
    refused = StatementFailed("a statement", ValueError("a NUL"), "22P05", False)
    lane: Any = Lane(mark=[failed(), [("charge",)], refused, failed()])
    lane.is_given_up = False
    steps = Steps([lane])
    assert await steps.run(mark) == [("charge",)]
    with pytest.raises(ObanError, match="refused to keep a step"):
        await steps.run(mark)
    lane.is_given_up = True
    with pytest.raises(DatabaseUnavailable):
        await steps.run(mark)


async def test_signals_for_jobs_that_do_not_wait_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    lane: Any = Lane()
    steps = Steps([lane])
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for job_id in range(500):
        steps.woke(job_id)
    clock[0] += 3.0
    steps.woke(1_000)
    assert list(steps._unheard) == [1_000]


def test_a_notice_that_comes_while_the_front_is_read_counts() -> None:
    clock = [100.0]
    cursor = Cursor(lambda: clock[0])
    cursor.read(None, (0, SimpleNamespace(), 7), 100.0)  # type: ignore[arg-type]
    clock[0] = began = 200.0
    clock[0] += 0.001
    cursor.notice()
    clock[0] += 0.001
    cursor.read(None, (0, SimpleNamespace(), 8), began)  # type: ignore[arg-type]
    clock[0] = began + SHARE * 0.002 - 0.001
    assert cursor.place is not None
    clock[0] = began + SHARE * 0.002 + 0.001
    assert cursor.place is None
    assert SHARE * 0.002 + 0.001 < LONGEST


class Interruption:
    """Runs something in another thread before one instruction of a function, as the interpreter may."""

    def __init__(self, place: int, within: Callable[..., Any], meanwhile: Callable[[], None]) -> None:
        self.place, self.code, self.meanwhile = place, within.__code__, meanwhile
        self.seen = 0
        self.thread: threading.Thread | None = None

    def __enter__(self) -> Interruption:
        self.before = sys.gettrace()
        # Python 3.12 tells of instructions only if that was asked for before it began to trace.
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)
        if self.thread is not None:
            self.thread.join()

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        caller = frame.f_back
        if frame.f_code is not self.code and (caller is None or caller.f_code is not self.code):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if self.seen == self.place:
                self.thread = threading.Thread(target=self.meanwhile)
                self.thread.start()
                self.thread.join(0.02)  # it may wait for a lock until the function goes on
            self.seen += 1
        return self.trace


def test_no_progress_is_lost_that_is_said_while_another_one_is_taken() -> None:
    place = 0
    while True:
        journal = Journal(fetched("w"), lambda _: None)
        journal.say(1, 2, None)
        with Interruption(place, Journal.take_note, partial(journal.say, 2, 2, None)) as other:
            taken = journal.take_note()
        if other.thread is None:
            break
        assert (2, 2, None) in (taken, journal.note), f"before instruction {place}"
        place += 1
    assert place > 5


def test_the_size_of_what_waits_is_right_when_a_thread_emits_while_it_is_written() -> None:
    place = 0
    while True:
        journal = Journal(fetched("w"), lambda _: None)
        for _ in range(2):
            journal.emit("12345")
        with Interruption(place, Journal.wrote_events, partial(journal.emit, "123")) as other:
            journal.wrote_events(2)
        if other.thread is None:
            break
        assert journal.size == sum(len(text) for _, text in journal.events) == 3, f"before instruction {place}"
        place += 1
    assert place > 5


@pytest.mark.parametrize("is_async", [False, True])
def test_a_call_that_is_to_stop_before_its_child_has_begun_it_does_not_run(is_async: bool) -> None:
    ran: list[int] = []

    @job(name="looks.plain")
    def plain() -> None:
        ran.append(1)

    @job(name="looks.coroutine")
    async def coroutine() -> None:
        ran.append(2)

    row = fetched("looks.coroutine" if is_async else "looks.plain")
    call = payload(Call(workers[row.worker], row), {}, {})
    with asyncio.Runner() as runner:
        performer = Performer(driver=runner.run)
        performer.expect()
        performer.stop(Stop.CANCEL)
        outcome = judged(performer.perform(call), row)
        assert isinstance(outcome, Judged)
        assert outcome.ack is not None
        assert (outcome.ack.state, ran) == ("cancelled", [])
        # What comes late for a call that has ended is not for the next one.
        performer.stop(Stop.CANCEL)
        performer.expect()
        outcome = judged(performer.perform(call), row)
        assert isinstance(outcome, Judged)
        assert outcome.ack is not None
        assert (outcome.ack.state, ran) == ("completed", [2 if is_async else 1])


async def test_a_look_from_which_nothing_came_is_followed_by_a_pause_where_there_are_news_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []

    async def pause(_: object, seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(Releaser, "_until_stopped", pause)
    lane: Any = Lane(release=[[], [], [("mail", 1, None)]])
    releaser = Releaser(lane, available=lambda _: None, soon=lambda: None, acted=lambda: releaser.wake())
    releaser.wake()
    await releaser.step()
    assert [0 < one <= LONGEST_PAUSE for one in pauses] == [True]
    releaser._acted = lambda: None
    await releaser.step()  # nothing came of it, and there are no news
    releaser.wake()
    releaser._acted = releaser.wake
    await releaser.step()  # something came of it
    assert len(pauses) == 1
