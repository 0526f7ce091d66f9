"""Traces by OpenTelemetry: ``oban_sqla.otel.instrument()``. Needs the extra ``otel``.

Enqueueing is a producer span, every run of a job is a consumer span, every step that it does is a span in that, and the
context is stored in the job's meta, under ``"otel"``: a job, and the jobs that it enqueues, belong to the trace that
enqueued it. Arguments are not recorded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy.exc import DBAPIError

from . import telemetry
from .models import JobSpec
from .telemetry.database_error import described, of_database
from .workers.context import current_job, running

try:
    from opentelemetry import context, propagate, trace
except ImportError as error:
    raise ImportError("oban_sqla.otel needs OpenTelemetry: pip install 'oban-sqla[otel]'") from error

META_KEY = "otel"
"""Where in a job's meta the context travels, as its propagator wrote it (``traceparent``, …)."""

_HANDLER = "oban_sqla.otel"
_INSERTS = ("oban.engine.insert_jobs", "oban.batch.insert")
_QUERY = "oban.engine.insert_query"
_STEP = "oban.step"
_RUN_EVENTS = ("oban.job.start", "oban.job.stop", "oban.job.exception")

_Open = tuple[trace.Span, Token[context.Context]]


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of a job's function, or of one that takes a chunk of jobs.

    :ivar by: the run that makes it.
    :ivar spans: those that are open, by the ids of the jobs.
    :ivar token: takes the first one's back from being the current one.
    """

    by: object
    spans: dict[int, trace.Span]
    token: Token[context.Context]


_calls: ContextVar[tuple[_Call, ...]] = ContextVar("oban_sqla_otel_calls")
"""The calls that are under way here, the innermost last: a job may run others in place."""
_steps: ContextVar[tuple[_Open, ...]] = ContextVar("oban_sqla_otel_steps")
_queries: ContextVar[tuple[trace.Span, ...]] = ContextVar("oban_sqla_otel_queries")


def instrument(tracer_provider: trace.TracerProvider | None = None) -> None:
    """Start to record spans. Calling it again replaces the provider.

    :param tracer_provider: an OpenTelemetry ``TracerProvider``. Default: the global one.
    """
    tracer = trace.get_tracer("oban_sqla", tracer_provider=tracer_provider)
    inserts = _Inserts(tracer)
    telemetry.attach(_HANDLER, _whole(*_INSERTS), inserts)
    telemetry.attach(_HANDLER, _whole(_QUERY), _Queries(tracer))
    telemetry.attach(_HANDLER, _RUN_EVENTS, _Runs(tracer))
    telemetry.attach(_HANDLER, _whole(_STEP), _Steps(tracer))


def uninstrument() -> None:
    """Stop recording spans. Does nothing if :func:`instrument` was not called."""
    telemetry.detach(_HANDLER)


def _whole(*spans: str) -> list[str]:
    return [f"{span}.{end}" for span in spans for end in ("start", "stop", "exception")]


class _Inserts:
    """A producer span for the specs that are written at once, and for the callbacks of a batch."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._open: dict[int, trace.Span] = {}

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        specs: Sequence[JobSpec] = fields["specs"]
        if event.endswith(".start"):
            self._open[id(specs)] = self._start(specs)
        elif (span := self._open.pop(id(specs), None)) is not None:
            if (error := fields.get("error")) is not None:
                _fail(span, error)
            elif len(specs) == 1 and specs[0].id is not None:
                span.set_attribute("messaging.message.id", str(specs[0].id))
            span.end()

    def _start(self, specs: Sequence[JobSpec]) -> trace.Span:
        queues = sorted({spec.queue for spec in specs})
        span, carrier = _send(self._tracer, ",".join(queues), {"messaging.batch.message_count": len(specs)})
        if carrier:
            for spec in specs:
                spec.meta_json = json.dumps(spec.meta | {META_KEY: carrier}, ensure_ascii=False)
        return span


class _Queries:
    """A producer span for the jobs that one call of :func:`enqueue_from` makes."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        queries = _queries.get(())
        if event.endswith(".start"):
            span, carrier = _send(self._tracer, fields["queue"], {"oban.worker": fields["worker"]})
            if carrier:
                fields["meta"][META_KEY] = carrier
            _queries.set((*queries, span))
        elif queries:  # else it had begun before it was instrumented
            span = queries[-1]
            _queries.set(queries[:-1])
            if (error := fields.get("error")) is not None:
                _fail(span, error)
            else:
                span.set_attribute("messaging.batch.message_count", fields["count"])
            span.end()


def _send(tracer: trace.Tracer, queues: str, attributes: Mapping[str, Any]) -> tuple[trace.Span, dict[str, str]]:
    """A producer span, and what leads from the jobs to it."""
    given = {
        "messaging.system": "oban",
        "messaging.operation.type": "send",
        "messaging.destination.name": queues,
        **attributes,
    }
    span = tracer.start_span(f"send {queues}", kind=trace.SpanKind.PRODUCER, attributes=given)
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context=trace.set_span_in_context(span))
    return span, carrier


class _Runs:
    """A consumer span for a run, the current one while the job runs. Of the jobs of a chunk the first one's is that."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        job_id, calls = fields["job_id"], _calls.get(())
        if event.endswith(".start"):
            span, by = self._start(fields), running.get()
            if calls and calls[-1].by is by:
                calls[-1].spans[job_id] = span
                return
            token = context.attach(trace.set_span_in_context(span))
            _calls.set((*calls, _Call(by, {job_id: span}, token)))
            return
        call = next((call for call in reversed(calls) if job_id in call.spans), None)
        if call is None:
            return  # it had begun before it was instrumented
        span = call.spans.pop(job_id)
        if not call.spans:
            _calls.set(tuple(one for one in calls if one is not call))
            context.detach(call.token)
        span.set_attribute("oban.state", fields["state"])
        if (error := fields.get("error")) is not None:
            _fail(span, error)
        span.end()

    def _start(self, fields: Mapping[str, Any]) -> trace.Span:
        attributes: dict[str, Any] = {
            "messaging.system": "oban",
            "messaging.operation.type": "process",
            "messaging.destination.name": fields["queue"],
            "messaging.message.id": str(fields["job_id"]),
            "oban.worker": fields["worker"],
            "oban.attempt": fields["attempt"],
            "oban.max_attempts": fields["max_attempts"],
        }
        return self._tracer.start_span(
            f"process {fields['worker']}", _sent_from(), trace.SpanKind.CONSUMER, attributes=attributes
        )


class _Steps:
    """A span for a step; it is the current one while the step's function runs. A step that is done already has none."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        if event.endswith(".start"):
            attributes = {"messaging.message.id": str(fields["job_id"]), "oban.worker": fields["worker"]}
            span = self._tracer.start_span(f"step {fields['step']}", attributes=attributes)
            _steps.set((*_steps.get(()), (span, context.attach(trace.set_span_in_context(span)))))
            return
        if not (steps := _steps.get(())):
            return  # it had begun before it was instrumented
        span, token = steps[-1]
        _steps.set(steps[:-1])
        context.detach(token)
        if (error := fields.get("error")) is not None:
            _fail(span, error)
        span.end()


def _sent_from() -> context.Context:
    meta: object = current_job().meta
    carrier = cast(dict[str, object], meta).get(META_KEY) if isinstance(meta, dict) else None
    known = cast(dict[str, object], carrier) if isinstance(carrier, dict) else {}
    # Nothing here goes on from the context in which the node happened to be started.
    return propagate.extract(known, context=context.Context())


def _fail(span: trace.Span, error: BaseException) -> None:
    if of_database(error):  # its text and its traceback have the arguments of jobs
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        message = described(error) if isinstance(error, DBAPIError) else type(error).__name__
        span.add_event("exception", {"exception.type": kind, "exception.message": message})
    else:
        span.record_exception(error)
    span.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))


__all__ = ["instrument", "uninstrument"]
