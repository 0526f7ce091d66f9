"""Traces by OpenTelemetry."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Batch, Chunk, Job, Oban, Unique, enqueue, enqueue_from, job, otel
from oban_sqla.durable import step
from oban_sqla.testing import mode
from tests.runtime.helpers import insert, load, until

PROVIDER = TracerProvider()
EXPORTER = InMemorySpanExporter()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))
tracer = PROVIDER.get_tracer("test")


@pytest.fixture(autouse=True)
def _instrumented() -> Iterator[None]:
    EXPORTER.clear()
    otel.instrument(PROVIDER)
    yield
    otel.uninstrument()


def spans(name: str) -> list[ReadableSpan]:
    return [span for span in EXPORTER.get_finished_spans() if span.name == name]


def trace_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def span_id(context: trace.SpanContext | None) -> int:
    assert context is not None
    return context.span_id


@job(name="otel.inner")
async def inner() -> None:
    with tracer.start_as_current_span("work in inner"):
        pass


@job(name="otel.outer")
async def outer(oban_url: str = "") -> None:
    await insert(ENGINES[0], inner.new())


@job(name="otel.thread")
def thread() -> None:
    with tracer.start_as_current_span("work in a thread"):
        pass


@job(name="otel.fails", max_attempts=1)
async def fails() -> None:
    raise ValueError("boom")


ENGINES: list[AsyncEngine] = []


async def work(what: str) -> str:
    with tracer.start_as_current_span(f"work in {what}"):
        await asyncio.sleep(0)
    return what


async def breaks() -> None:
    raise ValueError("boom")


@job(name="otel.steps")
async def steps() -> None:
    await asyncio.gather(step("left", work, "left"), step("right", work, "right"))
    with suppress(ValueError):
        await step("broken", breaks)


async def test_each_step_is_a_span_of_its_run(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}):
        [job_id] = await insert(engine, steps.new())
        await until(engine, job_id, "completed")
    [ran] = spans("process otel.steps")
    for name in ("left", "right"):
        [done], [inside] = spans(f"step {name}"), spans(f"work in {name}")
        assert span_id(done.parent) == span_id(ran.context)
        assert span_id(inside.parent) == span_id(done.context)
    [broken] = spans("step broken")
    assert broken.status.status_code is trace.StatusCode.ERROR
    assert ran.status.status_code is trace.StatusCode.UNSET


async def test_a_job_and_what_it_enqueues_belong_to_the_trace_of_who_enqueued_it(engine: AsyncEngine) -> None:
    ENGINES[:] = [engine]
    async with Oban(engine, {"default": 2}):
        with tracer.start_as_current_span("request") as request:
            [job_id] = await insert(engine, outer.new())
        await until(engine, job_id, "completed")
        await until(engine, job_id + 1, "completed")
    [root] = spans("request")
    sent, sent_inside = spans("send default")
    [ran], [ran_inside] = spans("process otel.outer"), spans("process otel.inner")
    [work] = spans("work in inner")
    for child, parent in [(sent, root), (ran, sent), (sent_inside, ran), (ran_inside, sent_inside), (work, ran_inside)]:
        assert child.parent is not None
        assert parent.context is not None
        assert child.parent.span_id == parent.context.span_id, child.name
        assert trace_id(child) == request.get_span_context().trace_id
    assert (sent.kind, ran.kind) == (trace.SpanKind.PRODUCER, trace.SpanKind.CONSUMER)
    assert ran.attributes is not None
    assert ran.attributes["oban.state"] == "completed"
    assert ran.attributes["messaging.message.id"] == str(job_id)


@job(name="otel.callback")
async def callback() -> None: ...


async def test_callbacks_and_jobs_of_a_query_belong_to_the_trace_of_who_enqueued_them(engine: AsyncEngine) -> None:
    with tracer.start_as_current_span("request") as request:
        async with AsyncSession(engine) as session, session.begin():
            rows = select(literal({"mine": 1}, JSONB()).label("meta")).select_from(func.generate_series(1, 2))
            assert await enqueue_from(session, inner, rows) == 2
            session.add(Batch([inner.new()], on_completed=callback.new()))
    async with Oban(engine, {"default": 4}) as oban:
        await oban.until_empty()
    [root] = spans("request")
    sent = spans("send default")
    assert [span_id(span.parent) for span in sent] == [span_id(root.context)] * 3
    counts = [(span.attributes or {})["messaging.batch.message_count"] for span in sent]
    assert counts == [2, 1, 1]
    ran = [*spans("process otel.inner"), *spans("process otel.callback")]
    assert [trace_id(span) for span in ran] == [trace_id(cast(ReadableSpan, request))] * 4
    assert {span_id(span.parent) for span in ran} == {span_id(span.context) for span in sent}


@job(name="otel.chunk", chunk=Chunk(size=3, timeout=60), max_attempts=1)
async def chunk(jobs: list[Job]) -> dict[Job, Exception]:
    with tracer.start_as_current_span("work in a chunk"):
        return {one: ValueError("boom") for one in jobs if one.args["n"] == 1}


async def test_each_job_of_a_chunk_has_a_span_in_the_trace_of_who_enqueued_it(engine: AsyncEngine) -> None:
    traces: dict[int, int] = {}
    for n in range(3):
        with tracer.start_as_current_span(f"request {n}") as request:
            [job_id] = await insert(engine, chunk.new({"n": n}))
            traces[job_id] = trace_id(cast(ReadableSpan, request))
    async with Oban(engine, {"default": 1}):
        for job_id, state in zip(traces, ("completed", "discarded", "completed"), strict=True):
            await until(engine, job_id, state)
    ran = spans("process otel.chunk")
    said = {int(str((span.attributes or {})["messaging.message.id"])): span for span in ran}
    assert {job_id: trace_id(span) for job_id, span in said.items()} == traces
    assert [(said[one].attributes or {})["oban.state"] for one in traces] == ["completed", "discarded", "completed"]
    failed = [said[one].status.status_code is trace.StatusCode.ERROR for one in traces]
    assert failed == [False, True, False]
    [inside] = spans("work in a chunk")
    assert trace_id(inside) == next(iter(traces.values()))


@job(name="otel.runs_another")
async def runs_another() -> None:
    with mode("inline"):
        async with AsyncSession(ENGINES[0]) as session:
            session.add(inner.new())
            await session.commit()


async def test_the_span_of_a_job_outlives_that_of_one_that_it_runs_in_place(engine: AsyncEngine) -> None:
    ENGINES[:] = [engine]
    async with Oban(engine, {"default": 1}):
        [job_id] = await insert(engine, runs_another.new())
        await until(engine, job_id, "completed")
    [outer_run], [inner_run] = spans("process otel.runs_another"), spans("process otel.inner")
    assert outer_run.end_time is not None
    assert inner_run.end_time is not None
    assert outer_run.end_time >= inner_run.end_time
    assert (outer_run.attributes or {})["messaging.message.id"] == str(job_id)


async def test_a_thread_works_in_the_span_of_its_run(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}) as oban:
        [spec] = await oban.enqueue(thread.new())
        assert spec.id is not None
        await until(engine, spec.id, "completed")
    [ran], [work], [sent] = spans("process otel.thread"), spans("work in a thread"), spans("send default")
    assert work.parent == ran.context
    assert ran.parent is not None
    assert sent.context is not None
    assert ran.parent.span_id == sent.context.span_id


async def test_a_failure_is_recorded(engine: AsyncEngine) -> None:
    async with Oban(engine, {"default": 2}):
        [job_id] = await insert(engine, fails.new())
        await until(engine, job_id, "discarded")
    [ran] = spans("process otel.fails")
    assert ran.status.status_code is trace.StatusCode.ERROR
    assert [event.name for event in ran.events] == ["exception"]
    assert "boom" in str((ran.events[0].attributes or {})["exception.message"])


async def test_a_job_without_a_trace_begins_a_new_one(engine: AsyncEngine) -> None:
    otel.uninstrument()
    ids = await insert(engine, inner.new(), inner.options(meta={"otel": "nonsense"}).new())
    otel.instrument(PROVIDER)
    async with Oban(engine, {"default": 2}):
        for job_id in ids:
            await until(engine, job_id, "completed")
    first, second = spans("process otel.inner")
    assert (first.parent, second.parent) == (None, None)
    assert trace_id(first) != trace_id(second)


async def test_the_context_travels_beside_the_users_meta_and_outside_of_uniqueness(engine: AsyncEngine) -> None:
    unique = inner.options(meta={"mine": 1}, unique=Unique(fields=("worker", "meta")))
    first, second = unique.new(), unique.new()
    async with AsyncSession(engine) as session, session.begin():
        with tracer.start_as_current_span("one"):
            await enqueue(session, first)
        with tracer.start_as_current_span("two"):
            await enqueue(session, second)
    assert second.conflict
    assert first.id is not None
    stored: Job = await load(engine, first.id)
    assert stored.meta["mine"] == 1
    assert set(stored.meta["otel"]) == {"traceparent"}


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("otel", "opentelemetry", r"oban-sqla\[otel\]"), ("prometheus", "prometheus_client", r"oban-sqla\[prometheus\]")],
)
def test_without_the_extra_the_import_says_what_to_install(module: str, package: str, extra: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; import oban_sqla; import oban_sqla.{module}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert extra.replace("\\", "") in ran.stderr
