"""Events about jobs and nodes, for metrics, traces and logs. Names and fields are Oban's.

============================ =========================================================================================
event                        fields
============================ =========================================================================================
``oban.job.start``           ``job_id worker queue attempt max_attempts node``
``oban.job.stop``            the same, ``state`` (the job's new state), ``duration`` and ``queue_time``
``oban.job.exception``       the same, and ``error``, the exception
``oban.producer.get``        a span: ``queue demand``, then ``count``
``oban.producer.ack``        a span: ``count``
``oban.stager.stage``        a span: ``staged_count``
``oban.engine.insert_jobs``  a span: ``specs``, those that are written at once
``oban.leader.election``     a span: ``leader``, whether this node leads
``oban.lifeline.rescue``     a span: ``rescued_count``
``oban.pruner.prune``        a span: ``pruned_count``
``oban.scheduler.evaluate``  a span: ``enqueued_count``
``oban.queue.shutdown``      ``queue elapsed orphaned``: a queue was stopped; ids of the jobs that it gave up
``oban.fenced``              ``job_id attempt queue``: a run finished after its job had been given to another run.
                             ``oban.job.stop`` may follow, with the state ``"fenced"``
============================ =========================================================================================

A span is two events: its name with ``.start``, then with ``.stop`` or, if it raised, ``.exception``. The second event
also has ``duration``; ``.exception`` also has ``error``. All times are seconds (oban-py's are nanoseconds).

No event contains arguments of jobs, except that ``specs`` are whole. A handler runs where the event happens, on the
event loop or in the thread of a flush, so it must be quick. If it raises, the error is logged and the handler stays
attached.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .errors import InvalidArgs

logger = logging.getLogger("oban_sqla")

Handler = Callable[[str, Mapping[str, Any]], None]

SPANS = (
    "oban.producer.get",
    "oban.producer.ack",
    "oban.stager.stage",
    "oban.engine.insert_jobs",
    "oban.leader.election",
    "oban.lifeline.rescue",
    "oban.pruner.prune",
    "oban.scheduler.evaluate",
)
JOB_EVENTS = ("oban.job.start", "oban.job.stop", "oban.job.exception")
EVENTS = (
    *JOB_EVENTS,
    *(f"{span}.{end}" for span in SPANS for end in ("start", "stop", "exception")),
    "oban.queue.shutdown",
    "oban.fenced",
)
"""The names of all events."""

_DEFAULT_LOGGER = "oban_sqla.default_logger"
_handlers: dict[str, tuple[tuple[str, Handler], ...]] = {}


def attach(id: str, events: Iterable[str], handler: Handler) -> None:
    """Call a handler on events: ``attach("slow jobs", ["oban.job.stop"], warn_if_slow)``.

    :param id: a name for :func:`detach`. A handler that was attached to an event under the same name is replaced.
    :param events: names of events, such as ``"oban.job.stop"`` or ``"oban.producer.get.stop"``.
    :param handler: called as ``handler(event, fields)``, with the name of the event and a dict of its fields.
    """
    for event in events:
        others = (entry for entry in _handlers.get(event, ()) if entry[0] != id)
        _handlers[event] = (*others, (id, handler))


def detach(id: str) -> None:
    """Remove the handlers that were attached under a name. Does nothing if there are none.

    :param id: the name given to :func:`attach`.
    """
    for event, handlers in list(_handlers.items()):
        _handlers[event] = tuple(entry for entry in handlers if entry[0] != id)


def listened(event: str) -> bool:
    """Whether an event has handlers; if not, its fields need not be prepared.

    :param event: the name of the event.
    """
    return bool(_handlers.get(event))


def execute(event: str, **fields: Any) -> None:
    """Call the handlers of an event.

    :param event: the name of the event.
    :param fields: its fields.
    """
    for id, handler in _handlers.get(event, ()):
        try:
            handler(event, fields)
        except Exception:
            logger.exception("the telemetry handler %r raised on %s", id, event)


class Span:
    """What :func:`span` returns. A class, because a generator would cost a short statement more than the rest of it."""

    __slots__ = ("_began", "_fields", "_more", "_name")

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self._name = name
        self._fields = fields
        self._more: dict[str, Any] = {}

    def __enter__(self) -> dict[str, Any]:
        if listened(event := f"{self._name}.start"):
            execute(event, **self._fields)
        self._began = time.perf_counter()
        return self._more

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if listened(event := f"{self._name}.{'stop' if error is None else 'exception'}"):
            fields = self._fields | self._more | {"duration": time.perf_counter() - self._began}
            execute(event, **fields, **({} if error is None else {"error": error}))


def span(name: str, **fields: Any) -> Span:
    """Emit events at the start and the end of a block: ``with span("oban.stager.stage") as more: …``.

    :param name: the name of the span, and the first part of the names of its events.
    :param fields: the fields of all its events.
    :returns: a context manager that gives a dict; its items are added to the fields of the last event.
    """
    return Span(name, fields)


def attach_default_logger(
    level: int = logging.INFO, *, logger: logging.Logger = logger, events: Iterable[str] | None = None
) -> None:
    """Log events as lines of JSON: events of jobs at `level`, failures of the runtime as errors, others as debug.

    A line has the name of the event and its fields. It never contains arguments or meta of jobs. Of an exception it has
    the type, and the message if the job itself raised it. Calling this again replaces the default logger.

    :param level: the level for events of jobs. Default ``logging.INFO``.
    :param logger: the logger to use. Default: the package's, ``oban_sqla``. No handlers are added to it.
    :param events: names of the events to log. Default: all.
    """

    def log(event: str, fields: Mapping[str, Any]) -> None:
        if event.startswith("oban.job."):
            at = level
        else:
            at = logging.ERROR if event.endswith(".exception") else logging.DEBUG
        if logger.isEnabledFor(at):
            logger.log(at, "%s", json.dumps({"event": event} | _plain(fields), ensure_ascii=False, default=str))

    attach(_DEFAULT_LOGGER, EVENTS if events is None else events, log)


def detach_default_logger() -> None:
    """Stop logging events. Does nothing if :func:`attach_default_logger` was not called."""
    detach(_DEFAULT_LOGGER)


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that may be logged."""
    plain = {name: value for name, value in fields.items() if name not in ("error", "specs")}
    for name in ("duration", "queue_time"):
        if name in plain:
            plain[name] = round(plain[name], 6)
    if "specs" in fields:
        plain["workers"] = sorted({spec.worker for spec in fields["specs"]})
    if (error := fields.get("error")) is not None:
        plain["error_type"] = type(error).__name__
        # The messages of drivers and of validation may hold values that are none of the log's business.
        if "worker" in fields and not isinstance(error, InvalidArgs):
            plain["error_message"] = str(error)
    return plain


__all__ = ["EVENTS", "Handler", "attach", "attach_default_logger", "detach", "detach_default_logger"]
