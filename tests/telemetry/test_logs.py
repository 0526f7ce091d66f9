"""The log: what people read in the first hour, and what no record contains."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Hook, InvalidOption, Job, Oban, job, telemetry
from tests.runtime.helpers import execute, insert, until
from tests.support import eventually

app = logging.getLogger("tests.app")
LONG = 20_000_000


@job(name="logs.works", queue="q")
async def works(word: str = "") -> None:
    app.info("in the coroutine")


@job(name="logs.works_in_a_thread", queue="q")
def works_in_a_thread() -> None:
    app.info("in the thread")


@job(name="logs.fails", queue="q", max_attempts=2)
async def fails(word: str = "") -> None:
    raise ValueError("the reason")


@job(name="logs.refused", queue="q")
async def refused(session: AsyncSession, secret: str, wrapped: bool) -> None:
    try:
        await session.execute(text("SELECT no_such_column, CAST(:secret AS text)"), {"secret": secret})
    except DBAPIError as error:
        if wrapped:
            raise ValueError("wrapped") from error
        raise


@job(name="logs.says_too_much", queue="q")
async def says_too_much() -> None:
    raise ValueError("\udc80" + "x" * LONG)


@job(name="logs.can_not_be_said", queue="q")
async def can_not_be_said() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    raise Unspeakable


async def logged(caplog: pytest.LogCaptureFixture, part: str, name: str = "oban_sqla.job") -> logging.LogRecord:
    """The first record of the logger with `part` in its message, once there is one."""

    def found() -> logging.LogRecord | None:
        return next((r for r in caplog.records if r.name == name and part in r.getMessage()), None)

    return await eventually(found)


def about(record: logging.LogRecord) -> tuple[object, ...]:
    return tuple(record.__dict__.get(name) for name in ("job_id", "worker", "queue", "attempt"))


async def test_a_failed_attempt_is_logged_with_its_exception(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async with Oban(engine, {"q": 1}):
        [job_id] = await insert(engine, fails.new())
        await until(engine, job_id, "retryable")
        record = await logged(caplog, f"job {job_id} (logs.fails) failed in attempt 1 of 2 and is retryable, again in ")
    assert record.levelname == "WARNING"
    assert record.getMessage().endswith(" s: ValueError")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
    assert about(record) == (job_id, "logs.fails", "q", 1)
    written = logging.Formatter().format(record)
    assert written.endswith("ValueError: the reason")
    assert 'raise ValueError("the reason")' in written
    assert "oban_sqla/runtime" not in written, "the traceback begins in the job"


async def test_a_discarded_job_is_an_error(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    async with Oban(engine, {"q": 1}):
        [job_id] = await insert(engine, fails.options(max_attempts=1).new())
        await until(engine, job_id, "discarded")
        record = await logged(caplog, "failed in attempt 1 of 1 and is discarded")
    assert record.levelname == "ERROR"
    assert record.exc_info is not None


async def test_exceptions_stay_out_of_the_log_when_asked(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    async with Oban(engine, {"q": 1}, log_exceptions=False):
        [job_id] = await insert(engine, fails.new())
        await until(engine, job_id, "retryable")
        record = await logged(caplog, "failed in attempt 1 of 2")
    assert record.getMessage().endswith(": ValueError")
    assert record.exc_info is None
    assert "the reason" not in caplog.text


def test_levels_that_logging_does_not_have_are_refused() -> None:
    with pytest.raises(
        InvalidOption, match=r"basic_logging: level must be a level of logging such as \"INFO\", got 'loud'"
    ):
        telemetry.basic_logging("loud")
    with pytest.raises(InvalidOption, match=r"attach_default_logger: level must be a number such as logging.INFO, got"):
        telemetry.attach_default_logger("INFO")  # type: ignore[arg-type]


def test_log_exceptions_is_true_or_false(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidOption, match="log_exceptions must be True or False, got 'no'"):
        Oban(engine, log_exceptions="no")  # type: ignore[arg-type]


async def test_a_completed_job_is_logged_with_its_milliseconds(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Oban(engine, {"q": 1}):
        [job_id] = await insert(engine, works.new("hunter2"))
        record = await logged(caplog, f"job {job_id} (logs.works) completed in ")
    assert record.levelname == "INFO"
    assert record.getMessage().endswith(" ms")
    assert about(record) == (job_id, "logs.works", "q", 1)
    assert "hunter2" not in caplog.text


async def test_arguments_that_do_not_fit_are_logged_without_their_values(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Oban(engine, {"q": 1}):
        await execute(
            engine,
            "INSERT INTO oban_jobs (worker, queue, args, max_attempts) VALUES ('logs.works', 'q', :args, 1)",
            args=json.dumps({"word": ["hunter2"]}),
        )
        await logged(caplog, "is discarded: InvalidArgs")
    assert "word: Input should be a valid string" in caplog.text
    assert "hunter2" not in "".join(logging.Formatter().format(r) for r in caplog.records if "oban" in r.name)


async def test_what_the_database_refuses_is_logged_without_what_was_sent(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async with Oban(engine, {"q": 2}):
        for wrapped, said in ((False, "ProgrammingError"), (True, "ValueError")):
            [job_id] = await insert(engine, refused.new("hunter2", wrapped))
            await until(engine, job_id, "retryable")
            record = await logged(caplog, f"job {job_id} (logs.refused) failed in attempt 1 of 20")
            written = logging.Formatter().format(record)
            assert said in written.splitlines()[-1]
            assert "test_logs.py" in written, "where it was raised"
            assert "hunter2" not in written
            assert record.exc_info is None, "other handlers would send its text"


class Told(Hook):
    def before(self, job: Job) -> None:
        app.info("before %s", job.worker)

    async def after(self, job: Job, state: str, error: BaseException | None) -> None:
        app.info("after %s", job.worker)


async def test_the_filter_names_the_job_of_every_record_inside_it(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(filter := telemetry.JobFilter())
    try:
        async with Oban(engine, {"q": 1}, hooks=[Told()]):
            ids = await insert(engine, works.new(), works_in_a_thread.new())
            for job_id in ids:
                await until(engine, job_id, "completed")
        app.info("outside")
        app.info("with a queue", extra={"queue": "at the counter"})
    finally:
        caplog.handler.removeFilter(filter)
    records = {record.getMessage(): about(record) for record in caplog.records if record.name == "tests.app"}
    assert records == {
        "in the coroutine": (ids[0], "logs.works", "q", 1),
        "in the thread": (ids[1], "logs.works_in_a_thread", "q", 1),
        "before logs.works": (ids[0], "logs.works", "q", 1),
        "after logs.works": (ids[0], "logs.works", "q", 1),
        "before logs.works_in_a_thread": (ids[1], "logs.works_in_a_thread", "q", 1),
        "after logs.works_in_a_thread": (ids[1], "logs.works_in_a_thread", "q", 1),
        "outside": (None, None, None, None),
        "with a queue": (None, None, "at the counter", None),
    }


@pytest.fixture
def people() -> Iterator[io.StringIO]:
    """What `basic_logging` writes."""
    root = logging.getLogger()
    level, asyncio_level = root.level, logging.getLogger("asyncio").level
    handler = telemetry.basic_logging("info", stream=(stream := io.StringIO()))
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)
    logging.getLogger("asyncio").setLevel(asyncio_level)


def ours() -> logging.Handler:
    """The one handler that `basic_logging` has added."""
    [handler] = [h for h in logging.getLogger().handlers if type(h).__module__.startswith("oban_sqla")]
    return handler


async def test_basic_logging_says_what_a_person_wants_in_the_first_hour(
    engine: AsyncEngine, people: io.StringIO
) -> None:
    async with Oban(engine, {"q": 1}, node="here"):
        [done, failed] = await insert(engine, works.new(), fails.new())
        await until(engine, done, "completed")
        await until(engine, failed, "retryable")
    written = people.getvalue()
    assert "INFO    oban_sqla.node: Oban started on here with queues q" in written
    assert f"INFO    tests.app: in the coroutine [job {done} logs.works, attempt 1]\n" in written
    assert f"INFO    oban_sqla.job: job {done} (logs.works) completed in " in written
    assert f"WARNING oban_sqla.job: job {failed} (logs.fails) failed in attempt 1 of 2" in written
    assert "ValueError: the reason\n" in written
    assert "INFO    oban_sqla.node: Oban stopped on here" in written


def test_basic_logging_twice_writes_each_line_once(people: io.StringIO) -> None:
    telemetry.basic_logging(stream=people)
    app.info("once")
    logging.getLogger().removeHandler(ours())
    assert people.getvalue().count("once") == 1


def test_what_a_terminal_would_obey_is_escaped(people: io.StringIO) -> None:
    record = logging.makeLogRecord(
        {"msg": "a \x1b[31mred\x1b[0m \u202e\udc80 name\r", "levelname": "INFO", "name": "app"}
    )
    ours().handle(record)
    assert people.getvalue().endswith("INFO    app: a \\x1b[31mred\\x1b[0m \\u202e\\udc80 name\\x0d\n")


@pytest.mark.parametrize("exceptions", [True, False])
async def test_a_message_that_no_file_can_hold_is_still_one_line_of_the_log(
    engine: AsyncEngine, tmp_path: Path, exceptions: bool
) -> None:
    file = tmp_path / "log"
    handler = logging.FileHandler(file, encoding="utf-8", errors="strict")
    logger = logging.getLogger("oban_sqla")
    logger.addHandler(handler)
    telemetry.attach_default_logger(logging.WARNING)
    try:
        async with Oban(engine, {"q": 1}, log_exceptions=exceptions):
            ids = await insert(engine, says_too_much.new(), can_not_be_said.new())
            for job_id in ids:
                await until(engine, job_id, "retryable")
            lines = await eventually(lambda: _exceptions(file, 2))
    finally:
        telemetry.detach_default_logger()
        logger.removeHandler(handler)
        handler.close()
    assert lines[0]["job_id"] == ids[0]
    assert lines[0]["error_message"].startswith("\udc80xxx")
    assert "characters left out" in lines[0]["error_message"]
    assert lines[1]["error_message"] == "(its message could not be formatted: RuntimeError)"
    assert f"job {ids[0]} (logs.says_too_much) failed" in file.read_text()
    assert file.stat().st_size < 100_000


def _exceptions(file: Path, count: int) -> list[dict[str, Any]] | None:
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.startswith("{")]
    found = [line for line in lines if line["event"] == "oban.job.exception"]
    return found if len(found) == count else None
