"""Telemetry: which events there are, what is in them, and that handlers harm nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from oban_sqla import InvalidOption, Oban, Snooze, enqueue, job, telemetry
from tests.runtime.helpers import execute, insert, until
from tests.support import eventually

heard: list[tuple[str, Mapping[str, Any]]] = []
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _listening() -> Iterator[None]:
    heard.clear()
    telemetry.attach("test", telemetry.EVENTS, lambda event, fields: heard.append((event, fields)))
    yield
    telemetry.detach("test")


def of(event: str) -> list[Mapping[str, Any]]:
    return [fields for name, fields in heard if name == event]


@job(name="telemetry.works", queue="q")
async def works(word: str = "") -> None: ...


@job(name="telemetry.fails", queue="q")
async def fails(word: str = "") -> None:
    raise ValueError("what the job says itself")


@job(name="telemetry.snoozes", queue="q")
async def snoozes() -> Snooze:
    return Snooze(60)


@job(name="telemetry.snoozes_in_session", queue="q")
async def snoozes_in_session(session: AsyncSession) -> Snooze:
    return Snooze(60)


async def test_a_run_is_told_by_its_start_and_its_stop(engine: AsyncEngine) -> None:
    async with Oban(engine, {"q": 2}, node="here"):
        [job_id] = await insert(engine, works.new())
        await until(engine, job_id, "completed")
    [started] = of("oban.job.start")
    assert started == {
        "job_id": job_id, "worker": "telemetry.works", "queue": "q", "attempt": 1, "max_attempts": 20, "node": "here",
    }  # fmt: skip
    [stopped] = of("oban.job.stop")
    assert {**started, "state": "completed"}.items() <= stopped.items()
    assert 0 <= stopped["duration"] < 5
    assert 0 <= stopped["queue_time"] < 10
    assert of("oban.job.exception") == []


async def test_a_failure_has_its_own_event_and_a_snooze_has_not(engine: AsyncEngine) -> None:
    async with Oban(engine, {"q": 2}, sessionmaker=async_sessionmaker(engine)):
        specs = fails.options(max_attempts=1).new(), snoozes.new(), snoozes_in_session.new()
        failed, *snoozed = await insert(engine, *specs)
        await until(engine, failed, "discarded")
        for job_id in snoozed:
            await until(engine, job_id, "scheduled")
    [exception] = of("oban.job.exception")
    assert (exception["job_id"], exception["state"]) == (failed, "discarded")
    assert isinstance(exception["error"], ValueError)
    assert [stop["state"] for stop in of("oban.job.stop")] == ["scheduled"] * 2


async def test_what_the_runtime_does_are_spans(engine: AsyncEngine) -> None:
    async with Oban(engine, {"q": 2}, poll_interval=0.05) as oban:
        async with AsyncSession(engine) as session, session.begin():
            await enqueue(session, works.new())
        ids = [spec.id for spec in await oban.enqueue(works.options(schedule_in=0.1).new(), works.new())]
        for job_id in ids:
            assert job_id is not None
            await until(engine, job_id, "completed")
    for span in ("producer.get", "producer.ack", "stager.stage", "leader.election", "engine.insert_jobs"):
        assert of(f"oban.{span}.start"), span
        assert all(stop["duration"] >= 0 for stop in of(f"oban.{span}.stop")), span
    assert sum(stop["count"] for stop in of("oban.producer.get.stop")) == 3
    assert sum(stop["count"] for stop in of("oban.producer.ack.stop")) == 3
    assert sum(stop["staged_count"] for stop in of("oban.stager.stage.stop")) == 1
    assert any(stop["leader"] for stop in of("oban.leader.election.stop"))
    assert sum(len(stop["specs"]) for stop in of("oban.engine.insert_jobs.stop")) == 3
    [shutdown] = of("oban.queue.shutdown")
    assert (shutdown["queue"], shutdown["orphaned"]) == ("q", [])


async def test_a_run_whose_job_was_given_away_is_told(engine: AsyncEngine) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    @job(name="telemetry.given_away", queue="q")
    async def given_away(session: AsyncSession) -> None:
        reached.set()
        await go_on.wait()

    async with Oban(engine, {"q": 2}, sessionmaker=async_sessionmaker(engine)):
        [job_id] = await insert(engine, given_away.new())
        await asyncio.wait_for(reached.wait(), 10)
        await execute(engine, "UPDATE oban_jobs SET attempt = 2")
        go_on.set()
        await eventually(lambda: of("oban.fenced"))
        await eventually(lambda: of("oban.job.stop"))
    assert of("oban.fenced")[0]["job_id"] == job_id
    assert of("oban.job.stop")[0]["state"] == "fenced"


def test_a_span_that_raises_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), telemetry.span("oban.pruner.prune", policy="x") as told:
        told["pruned_count"] = 3
        _ = 1 / 0
    [(started, first), (ended, last)] = heard
    assert (started, ended) == ("oban.pruner.prune.start", "oban.pruner.prune.exception")
    assert first == {"policy": "x"}
    assert (last["policy"], last["pruned_count"]) == ("x", 3)
    assert isinstance(last["error"], ZeroDivisionError)


async def test_a_handler_that_raises_is_logged_and_stays(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def broken(event: str, fields: Mapping[str, Any]) -> None:
        calls.append(event)
        raise RuntimeError("broken handler")

    telemetry.attach("broken", ["oban.job.start"], broken)
    try:
        async with Oban(engine, {"q": 1}):
            for _ in range(2):
                [job_id] = await insert(engine, works.new())
                await until(engine, job_id, "completed")
    finally:
        telemetry.detach("broken")
    assert len(calls) == 2
    assert "'broken' raised on oban.job.start" in caplog.text


@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, GeneratorExit])
async def test_whatever_a_handler_raises_ends_no_loop_and_loses_no_outcome(
    engine: AsyncEngine, kind: type[BaseException]
) -> None:
    def leaves(event: str, fields: Mapping[str, Any]) -> None:
        raise kind("broken handler")

    telemetry.attach("leaves", telemetry.EVENTS, leaves)
    try:
        async with Oban(engine, {"q": 1}) as oban:
            for _ in range(2):
                [job_id] = await insert(engine, works.new())
                await until(engine, job_id, "completed")
            assert oban.loops
            assert all(oban.loops.values())
    finally:
        telemetry.detach("leaves")


def test_what_a_handler_does_to_its_fields_is_not_seen_by_the_next_one() -> None:
    def takes(event: str, fields: Any) -> None:
        fields.clear()

    telemetry.attach("test", ["mine.event"], takes)
    telemetry.attach("second", ["mine.event"], lambda event, fields: heard.append((event, dict(fields))))
    try:
        telemetry.execute("mine.event", n=1)
    finally:
        telemetry.detach("second")
        telemetry.detach("test")
    assert heard == [("mine.event", {"n": 1})]


@pytest.mark.parametrize(
    ("events", "handler", "said"),
    [
        ("oban.job.stop", print, r"a list of names of events, got 'oban.job.stop'; write \['oban.job.stop'\]"),
        (["oban.job.finish"], print, "there is no event 'oban.job.finish'; did you mean 'oban.job"),
        (["oban.pruner.prune"], print, "is a span, whose events are oban.pruner.prune.start, .stop and .exception"),
        (["oban.job.stop"], 3, "handler must be a plain function of an event and its fields, got 3"),
        (["oban.job.stop"], asyncio.sleep, "handler must be a plain function .* got <function sleep"),
        (
            ["oban.job.stop"],
            str.upper,
            r"is called as handler\(event, fields\), and that does not fit: too many",
        ),
        ([], print, "expected at least one name of an event, got none"),
    ],
)
def test_what_would_never_be_called_is_refused(events: Any, handler: Any, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        telemetry.attach("wrong", events, handler)


def test_a_program_may_have_events_beside_those_of_the_package() -> None:
    told: list[str] = []
    telemetry.attach("mine", ["app.import.stop"], lambda event, _: told.append(event))
    telemetry.execute("app.import.stop")
    telemetry.detach("mine")
    assert told == ["app.import.stop"]


def test_attaching_twice_replaces_and_detaching_ends() -> None:
    calls: list[int] = []

    def adding(number: int) -> Callable[..., None]:
        def handler(*_: object) -> None:
            calls.append(number)

        return handler

    telemetry.attach("mine", ["oban.fenced"], adding(1))
    telemetry.attach("mine", ["oban.fenced"], adding(2))
    telemetry.execute("oban.fenced", job_id=1, attempt=1, queue="q")
    telemetry.detach("mine")
    telemetry.execute("oban.fenced", job_id=1, attempt=1, queue="q")
    assert calls == [2]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    caplog.set_level(logging.DEBUG, "oban_sqla")
    telemetry.attach_default_logger(level=logging.INFO)

    def parsed(event: str) -> list[dict[str, Any]]:
        found = [json.loads(r.getMessage()) for r in caplog.records if r.getMessage().startswith("{")]
        return [line for line in found if line["event"] == event]

    yield parsed
    telemetry.detach_default_logger()


async def test_the_default_logger_writes_json_without_arguments(
    engine: AsyncEngine, lines: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Oban(engine, {"q": 2}) as oban:
        specs = [worker.options(max_attempts=1, meta={"token": SECRET}).new(SECRET) for worker in (works, fails)]
        # The third has args that its worker refuses.
        await execute(
            engine,
            "INSERT INTO oban_jobs (worker, queue, args, max_attempts) VALUES (:worker, 'q', :args, 1)",
            worker="telemetry.works", args=json.dumps({"word": [SECRET]}),
        )  # fmt: skip
        await oban.enqueue(specs)
        await eventually(lambda: len(lines("oban.job.stop")) + len(lines("oban.job.exception")) == 3)
    [stopped] = lines("oban.job.stop")
    assert (stopped["worker"], stopped["state"]) == ("telemetry.works", "completed")
    assert isinstance(stopped["duration"], float)
    failed = {line["worker"]: line for line in lines("oban.job.exception")}
    assert failed["telemetry.fails"]["error_type"] == "ValueError"
    assert failed["telemetry.fails"]["error_message"] == "what the job says itself"
    assert failed["telemetry.works"]["error_type"] == "InvalidArgs"
    assert "error_message" not in failed["telemetry.works"], "validation may quote a value"
    assert lines("oban.engine.insert_jobs.stop")[-1]["workers"] == ["telemetry.fails", "telemetry.works"]
    ours = [record.getMessage() for record in caplog.records if record.name == "oban_sqla"]
    assert not [line for line in ours if SECRET in line]


def test_levels_of_the_default_logger(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "elsewhere")
    telemetry.attach_default_logger(logging.WARNING, logger=logging.getLogger("elsewhere"))
    try:
        telemetry.execute("oban.job.stop", job_id=1, worker="w", queue="q", state="completed", duration=0.1)
        telemetry.execute("oban.stager.stage.stop", staged_count=1, duration=0.1)
        telemetry.execute("oban.stager.stage.exception", duration=0.1, error=OSError(SECRET))
    finally:
        telemetry.detach_default_logger()
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.DEBUG, logging.ERROR]
    assert SECRET not in caplog.text, "what a driver says may hold values"
