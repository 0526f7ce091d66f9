"""Events: their names, their handlers, and spans, which are two events."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from inspect import iscoroutinefunction
from typing import Any

from ..errors import InvalidOption, misfit, nearest
from .log_error import log_error

_logger = logging.getLogger("oban_sqla.telemetry")

Handler = Callable[[str, Mapping[str, Any]], None]

SPANS = (
    "oban.producer.get",
    "oban.producer.ack",
    "oban.stager.stage",
    "oban.engine.insert_jobs",
    "oban.engine.insert_query",
    "oban.batch.insert",
    "oban.leader.election",
    "oban.lifeline.rescue",
    "oban.prioritizer.raise",
    "oban.pruner.prune",
    "oban.releaser.release",
    "oban.scheduler.evaluate",
    "oban.step",
)
JOB_EVENTS = ("oban.job.start", "oban.job.stop", "oban.job.exception")
EVENTS = (
    *JOB_EVENTS,
    *(f"{span}.{end}" for span in SPANS for end in ("start", "stop", "exception")),
    "oban.workflow.stop",
    "oban.batch.stop",
    "oban.sleep",
    "oban.wait",
    "oban.signal",
    "oban.progress",
    "oban.chunk.stop",
    "oban.queue.shutdown",
    "oban.queue.suspend",
    "oban.fenced",
    "oban.lifeline.discard",
)
"""The names of all events."""

_handlers: dict[str, tuple[tuple[str, Handler], ...]] = {}


def attach(id: str, events: Iterable[str], handler: Handler) -> None:
    """Call a handler on events: ``attach("slow jobs", ["oban.job.stop"], warn_if_slow)``.

    :param id: a name for :func:`detach`. A handler that was attached to an event under the same name is replaced.
    :param events: a list of names of events, such as ``"oban.job.stop"`` or ``"oban.producer.get.stop"``. A name
        that does not begin with ``oban.`` is that of an event of your program.
    :param handler: called as ``handler(event, fields)``, with the name of the event and a dict of its fields. A plain
        function.
    :raises InvalidOption: for no event, one that does not exist, or a handler that can't be called as it will be.
    """
    names = _checked(events)
    if not callable(handler) or iscoroutinefunction(handler):
        raise InvalidOption(f"attach: handler must be a plain function of an event and its fields, got {handler!r}")
    if (why := misfit(handler, "event", "fields")) is not None:
        raise InvalidOption(f"attach: {handler!r} is called as handler(event, fields), and that does not fit: {why}")
    for event in names:
        others = (entry for entry in _handlers.get(event, ()) if entry[0] != id)
        _handlers[event] = (*others, (id, handler))


def _checked(events: Iterable[str]) -> list[str]:
    if isinstance(events, str):
        raise InvalidOption(f"attach: expected a list of names of events, got {events!r}; write [{events!r}]")
    names = list(events)
    if not names:
        raise InvalidOption("attach: expected at least one name of an event, got none, so nothing would be handled")
    for name in names:
        if name in SPANS:
            raise InvalidOption(f"attach: {name!r} is a span, whose events are {name}.start, .stop and .exception")
        if name.startswith("oban.") and name not in EVENTS:
            raise InvalidOption(f"attach: there is no event {name!r}; {nearest(name, EVENTS, by_end=False)}")
    return names


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
            handler(event, fields.copy())  # what one handler does to it is not the next one's concern
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit and CancelledError, which would end the loop that tells it
            log_error(_logger, error, "the telemetry handler %r raised on %s", id, event)


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
