"""What the other end of an executor does with a call that is asked to stop around its start, and with what it tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from oban_sqla import Fenced, job
from oban_sqla.executors.errand import judged, payload
from oban_sqla.executors.perform import Performer
from oban_sqla.executors.telling import MOST, Telling, heard
from oban_sqla.runtime.executors.call import Call, Judged
from oban_sqla.runtime.journal.journal import FULL, Journal
from oban_sqla.runtime.verdict import Stop
from tests.runtime.helpers import fetched
from tests.support import eventually

ran: list[str] = []


@job(name="tests.performer.plain", executor="process", queue="tests.performer")
def plain() -> None:
    ran.append("plain")


@job(name="tests.performer.awaits", executor="process", queue="tests.performer")
async def awaits() -> None:
    ran.append("awaits")


def drive(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def outcome(performer: Performer, fn: Any) -> tuple[str | None, list[str]]:
    """The state that a call gives its job, and what has run."""
    ran.clear()
    row = fetched(fn.worker.name)
    found = judged(performer.perform(payload(Call(fn.worker, row), {}, {})), row)
    assert isinstance(found, Judged), found
    return None if found.ack is None else found.ack.state, ran


@pytest.mark.parametrize("fn", [plain, awaits])
def test_a_call_that_is_to_stop_before_it_begins_does_not_run(fn: Any) -> None:
    performer = Performer(driver=drive)
    performer.expect()
    performer.stop(Stop.CANCEL)
    assert outcome(performer, fn) == ("cancelled", [])
    assert outcome(performer, fn) == ("completed", [fn.worker.name.rpartition(".")[2]]), "the stop was for that call"


@pytest.mark.parametrize("fn", [plain, awaits])
def test_a_stop_that_comes_after_the_end_of_its_call_does_not_stop_the_next_one(fn: Any) -> None:
    performer = Performer(driver=drive)
    performer.stop(Stop.TIMEOUT)
    performer.expect()
    assert outcome(performer, fn) == ("completed", [fn.worker.name.rpartition(".")[2]])


@pytest.mark.parametrize(("stop", "state"), [(Stop.CANCEL, "cancelled"), (Stop.SHUTDOWN, "available")])
def test_a_coroutine_that_is_to_stop_before_its_loop_runs_does_not_begin(stop: Stop, state: str) -> None:
    def late(work: Coroutine[Any, Any, Any]) -> Any:
        performer.stop(stop)
        return asyncio.run(work)

    performer = Performer(driver=late)
    assert outcome(performer, awaits) == (state, [])


async def test_all_that_a_job_has_told_is_sent_at_its_end_in_parts() -> None:
    sent: list[dict[str, Any]] = []

    def send(told: dict[str, Any]) -> None:
        sent.append(json.loads(json.dumps(told)))
        telling.answered({})

    telling = Telling(send, 10)
    journal = telling.open(fetched("tests.performer.plain"))
    for number in range(2 * MOST + 5):
        journal.events.append((0.0, str(number)))
    await telling.close(journal)
    assert [text for told in sent for _, text in told["events"]] == [str(number) for number in range(2 * MOST + 5)]
    assert [told.get("last") for told in sent][-1] is True
    assert max(len(told["events"]) for told in sent) == MOST


async def test_more_than_one_part_is_sent_while_the_job_runs() -> None:
    sent: list[Any] = []

    def send(told: dict[str, Any]) -> None:
        sent.extend(told["events"])
        telling.answered({})

    telling = Telling(send, 10)
    journal = telling.open(fetched("tests.performer.plain"))
    with journal._adding:
        journal.events.extend((0.0, "1") for _ in range(MOST + 4))
    journal.emit("last")
    await eventually(lambda: len(sent) == MOST + 5)
    journal.is_closed = True


async def test_a_job_whose_node_has_lost_it_hears_so_when_it_tells_something() -> None:
    telling = Telling(lambda _told: None, 10)
    journal = telling.open(fetched("tests.performer.plain"))
    telling.answered({"fenced": False})
    journal.emit("1")
    telling.answered({"fenced": True})
    with pytest.raises(Fenced):
        journal.emit("2")
    journal.is_closed = True


class Run:
    """The run in the node."""

    def __init__(self) -> None:
        self.journal = Journal(fetched("tests.performer.plain"), lambda _: None, most=10)
        self.ends = 0

    async def end_journal(self) -> None:
        self.ends += 1


def said(*events: str, **more: Any) -> dict[str, Any]:
    return {"events": [(0.0, text) for text in events], "lines": [], "note": None, **more}


async def test_a_node_takes_events_as_soon_as_there_is_room_and_loses_none() -> None:
    run = Run()
    for _ in range(FULL):
        run.journal.emit("1")
    hearing = asyncio.create_task(heard(run, said("a", "b", last=True)))
    await asyncio.sleep(0.02)
    assert (hearing.done(), len(run.journal.events)) == (False, FULL)
    run.journal.wrote_events(FULL)
    assert await hearing
    assert ([text for _, text in run.journal.events], run.ends) == (["a", "b"], 1)


async def test_what_is_heard_after_the_end_of_a_run_does_not_say_that_another_has_the_job() -> None:
    run = Run()
    run.journal.is_closed = True
    assert await heard(run, said("a")) is True
    run = Run()
    run.journal.fence()
    assert await heard(run, said("a")) is False
