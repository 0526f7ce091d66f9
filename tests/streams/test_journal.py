"""What a run has told, until it is written: how much may wait, and what the end of the run changes. No database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oban_sqla import ObanError
from oban_sqla.runtime.journal import journal as journals
from oban_sqla.runtime.journal import scribe as scribes
from oban_sqla.runtime.journal.journal import Apart, Journal
from oban_sqla.runtime.journal.scribe import Scribe
from tests.runtime.helpers import fetched


def opened(**options: Any) -> Journal:
    return Journal(fetched("w"), lambda _: None, **options)


def logged(journal: Journal, count: int) -> None:
    for number in range(count):
        journal.log(0.0, "INFO", "tests", f"line {number}")


@pytest.mark.parametrize(("most", "bytes_"), [(2, 1_000), (1_000, 10)])
def test_a_run_waits_while_many_events_wait_or_long_ones_until_it_has_ended(
    monkeypatch: pytest.MonkeyPatch, most: int, bytes_: int
) -> None:
    monkeypatch.setattr(journals, "FULL", most)
    monkeypatch.setattr(journals, "FULL_BYTES", bytes_)
    journal = opened()
    journal.emit('"1234"')
    assert not journal.is_full
    journal.emit('"5678"')
    assert journal.is_full
    journal.wrote_events(1)
    assert not journal.is_full
    journal.emit('"9012"')
    journal.is_closed = True
    assert not journal.is_full  # a thread that outlives its run would wait for ever


def test_only_what_a_node_writes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "MOST", 2)
    apart, journal = opened(bounded=False), opened()
    for number in range(3):
        apart.emit(str(number))
        if number < 2:
            journal.emit(str(number))
    with pytest.raises(ObanError, match="2 events wait to be written; await emit"):
        journal.emit("2")
    assert len(apart.events) == 3


def test_what_writes_is_told_once_of_each_kind_until_it_has_taken_it() -> None:
    touched: list[Journal] = []
    journal = Journal(fetched("w"), touched.append, most=5)
    for number in range(2):
        journal.emit(f"{number}")
        journal.say(number, None, None)
        logged(journal, 1)
    assert touched == [journal] * 3
    journal.take_note()
    journal.say(2, None, None)
    assert touched == [journal] * 4


@pytest.mark.parametrize("end", ["is_closed", "fenced"])
def test_a_line_after_the_end_of_a_run_is_dropped(end: str) -> None:
    journal = opened(most=5)
    setattr(journal, end, True)
    logged(journal, 1)
    assert journal.is_empty


async def test_nothing_can_be_told_after_the_end_of_a_run() -> None:
    apart = Apart()
    journal = apart.open(fetched("w"))
    journal.emit("1")
    await apart.close(journal)
    with pytest.raises(ObanError, match=r"emit\(\) was called after the end of its run"):
        journal.emit("2")
    with pytest.raises(ObanError, match=r"progress\(\) was called after the end of its run"):
        journal.say(1, None, None)


def test_lines_that_are_being_written_wait_until_they_are() -> None:
    journal = opened(most=3)
    logged(journal, 3)
    assert len(journal.take_lines(3)) == 3
    assert not journal.is_empty
    journal.wrote_lines(2)
    assert (journal.last_written, journal.is_empty) == (2, False)
    journal.wrote_lines(1)
    assert (journal.last_written, journal.is_empty) == (3, True)


def test_a_progress_that_is_being_written_waits_until_it_is() -> None:
    journal = opened()
    journal.say(1, 2, None)
    assert journal.take_note() == journal.take_note() == (1, 2, None)
    assert not journal.is_empty
    journal.wrote_note()
    assert journal.is_empty


class Away:
    """A lane whose database does not answer."""

    async def run_unshielded(self, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()


@pytest.mark.parametrize("why", ["is told to stop", "has no scribe any more"])
async def test_the_end_of_a_run_does_not_wait_for_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    monkeypatch.setattr(scribes, "LAST_WORDS_WHEN_STOPPED", 0.01)
    lane: Any = Away()
    scribe = Scribe(lane=lane, channel=None, origin="here", most_lines=0, written=lambda _jobs, _ended: None)
    journal = scribe.open(fetched("w"))
    journal.emit("1")
    if why == "is told to stop":
        scribe.start()
    closing = asyncio.create_task(scribe.close(journal))
    await asyncio.sleep(0)
    if scribe.is_alive:
        closing.cancel()
    ended, _ = await asyncio.wait([closing], timeout=5)
    assert ended
    assert "what it told last could not be written: 1 events, 0 lines of its log" in caplog.text
    if (task := scribe._task) is not None:
        scribe.may_end = True
        task.cancel()
        await asyncio.wait([task])


def test_a_log_floods_when_more_lines_come_than_are_kept() -> None:
    journal = opened(most=3)
    logged(journal, 3)
    assert not journal.floods
    journal.log(0.0, "INFO", "tests", "after one that was dropped in a child", skipped=1)
    assert journal.floods
    assert [line[0] for line in journal.take_lines(9)] == [2, 3, 5]
    journal.wrote_lines(3)
    assert not journal.floods


def test_of_a_run_that_has_lost_its_job_nothing_waits() -> None:
    journal = opened(most=3)
    journal.emit("1")
    logged(journal, 2)
    journal.take_lines(1)
    journal.say(1, 2, None)
    journal.take_note()
    journal.say(2, 2, None)
    journal.fence()
    assert journal.is_empty
    assert journal.size == 0
