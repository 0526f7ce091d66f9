"""The log of a job, kept with the job."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import InvalidOption, JobLogs, LogLine, Oban, current_job, job
from oban_sqla.runtime.journal.job_log import message_of
from tests.runtime.helpers import execute, finished, insert, until
from tests.support import eventually

logger = logging.getLogger("tests.streams.jobs")


@pytest.fixture(autouse=True)
def _level() -> Any:
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(before)


@job(name="logs.lines")
async def lines(count: int) -> None:
    for number in range(1, count + 1):
        logger.info("line %d", number)


@job(name="logs.thread")
def in_a_thread() -> None:
    logger.warning("from a thread")


entered = threading.Event()
release = threading.Event()


@job(name="logs.outlasts")
def outlasts() -> None:
    logger.info("while the node stops")
    entered.set()
    assert release.wait(20)
    logger.info("when it has stopped")


@job(name="job_logs.fails", max_attempts=2, backoff=0)
async def fails() -> None:
    logger.debug("too low")
    try:
        raise ValueError(f"attempt {current_job().attempt}")
    except ValueError:
        logger.exception("it failed")
        raise


async def test_a_job_has_its_log(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, {"default": 2}, job_logs=JobLogs()) as oban:
        logger.info("made outside of a job")
        ids = await insert(any_engine, lines.new(3), in_a_thread.new())
        await finished(any_engine, ids)
        [first, second, third] = await oban.logs(ids[0])
        assert first == LogLine(1, first.at, "INFO", "tests.streams.jobs", "line 1", 1)
        assert first.at.utcoffset() is not None
        assert [line.number for line in (first, second, third)] == [1, 2, 3]
        assert [line.message for line in await oban.logs(ids[0], after=2)] == ["line 3"]
        assert [line.message for line in await oban.logs(ids[1])] == ["from a thread"]


async def test_without_the_option_nothing_is_kept(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        ids = await insert(engine, lines.new(3))
        await finished(engine, ids)
        assert await oban.logs(ids[0]) == []


async def test_the_handler_is_there_only_while_the_node_runs(engine: AsyncEngine) -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    oban = Oban(engine, {"default": 2}, job_logs=JobLogs(level="WARNING"))
    assert (list(root.handlers), root.level) == before
    async with oban:
        assert len(root.handlers) == len(before[0]) + 1
        assert root.level == before[1]
    assert (list(root.handlers), root.level) == before


async def test_a_thread_that_outlasts_the_stop_keeps_its_log_to_its_end(engine: AsyncEngine) -> None:
    before = list(logging.getLogger().handlers)
    oban = Oban(engine, {"default": 2}, job_logs=JobLogs(), shutdown_grace=0.05)
    await oban.start()
    [job_id] = await insert(engine, outlasts.new())
    assert await asyncio.to_thread(entered.wait, 10)
    assert await oban.stop() == [job_id]
    release.set()
    await until(engine, job_id, "completed")
    await eventually(lambda: logging.getLogger().handlers == before)
    assert [line.message for line in await oban.logs(job_id)] == ["while the node stops", "when it has stopped"]


async def test_a_root_logger_that_lets_less_through_is_named_at_the_start(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with Oban(engine, job_logs=JobLogs("INFO")):
        pass
    [said] = [record.getMessage() for record in caplog.records if "job_logs" in record.getMessage()]
    assert "lets only WARNING and above through" in said


async def test_each_attempt_adds_its_lines_with_tracebacks(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}, job_logs=JobLogs(level=logging.INFO)) as oban:
        [job_id] = await insert(engine, fails.new())
        await until(engine, job_id, "discarded")
        log = await oban.logs(job_id)
    assert [(line.number, line.attempt, line.level) for line in log] == [(1, 1, "ERROR"), (2, 2, "ERROR")]
    assert log[1].message.startswith("it failed\nTraceback")
    assert log[1].message.endswith("ValueError: attempt 2")


async def test_the_newest_lines_of_a_talkative_job_are_kept(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}, job_logs=JobLogs(most=200)) as oban:
        [job_id] = await insert(engine, lines.new(20_000))
        await finished(engine, [job_id])
        log = await oban.logs(job_id)
        assert [line.message for line in log] == [f"line {number}" for number in range(19_801, 20_001)]
        assert [tuple(row) for row in await execute(engine, "SELECT count(*) FROM oban_events")] == [(200,)]


async def test_only_the_node_that_runs_the_job_keeps_its_log(engine: AsyncEngine) -> None:
    async with (
        Oban(engine, {"default": 2}, node="a", job_logs=JobLogs()) as oban,
        Oban(engine, {"other": 2}, node="b", job_logs=JobLogs()),
    ):
        ids = await insert(engine, lines.new(2), lines.options(queue="other").new(2))
        await finished(engine, ids)
        assert [len(await oban.logs(job_id)) for job_id in ids] == [2, 2]


async def test_what_a_line_was_made_of_may_change_afterwards(engine: AsyncEngine) -> None:
    @job(name="logs.changes")
    async def changes() -> None:
        basket = ["apple"]
        logger.info("basket: %s", basket)
        basket.clear()
        logger.info("a NUL: %s", "\x00")

    async with Oban(engine, {"default": 2}, job_logs=JobLogs()) as oban:
        [job_id] = await insert(engine, changes.new())
        await finished(engine, [job_id])
        said = [line.message for line in await oban.logs(job_id)]
    assert said == ["basket: ['apple']", "a NUL: \\x00"]


def test_a_record_whose_arguments_do_not_fit_is_kept_as_it_is() -> None:
    record = logging.LogRecord("app", logging.INFO, "app.py", 1, "100%", (["surplus"],), None)
    assert message_of(record).startswith("'100%' (its arguments do not fit: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"level": "LOUD"}, "level must be a level of logging"),
        ({"level": None}, "level must be a level of logging"),
        ({"most": 0}, "most must be 1 to 100,000 lines"),
        ({"most": True}, "most must be 1 to 100,000 lines"),
    ],
)
def test_options_are_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        JobLogs(**options)


async def test_another_value_than_job_logs_is_refused(engine: AsyncEngine) -> None:
    wrong: Any = True
    with pytest.raises(InvalidOption, match=r"job_logs must be JobLogs\(…\)"):
        Oban(engine, job_logs=wrong)
