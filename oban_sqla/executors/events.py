"""The telemetry of a job in a child: its node calls the handlers, in the context of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any

from .. import telemetry
from ..workers.registry import workers
from . import wire
from .errand import ChildError, as_fields

LISTENER = "oban_sqla.executors"
TRAVELS = (
    *(f"oban.{span}.{end}" for span in ("step", "engine.insert_query") for end in ("start", "stop", "exception")),
    "oban.sleep",
    "oban.wait",
    "oban.signal",
)
"""The events of a child that can be written as JSON. The specs of ``oban.engine.insert_jobs`` can't."""


def forward(send: Callable[[bytes], None]) -> None:
    """Send events to the node from now on.

    Events to which a module of the program has attached a handler here are left out: it would be called in both
    processes.
    """

    def handler(event: str, fields: Mapping[str, Any]) -> None:
        error = fields.get("error")
        if isinstance(error, BaseException):
            worker = workers.get(str(fields.get("worker")))
            fields = {**fields, "error": as_fields(error, worker is not None and worker.encrypted)}
        send(wire.message(wire.EVENT, event=event, fields=fields))

    telemetry.attach(LISTENER, [event for event in TRAVELS if not telemetry.listened(event)], handler)


def emit(event: str, fields: dict[str, Any], context: Context | None) -> None:
    """Tell the handlers of this process an event of a child.

    :param context: of the run, which a handler may have made part of a trace; None when the run has ended.
    """
    if not telemetry.listened(event):
        return
    error: dict[str, Any] | None = fields.get("error")
    if error is not None:
        fields["error"] = ChildError(error["kind"], error["message"], error["trace"])
    if context is None:
        telemetry.execute(event, **fields)
    else:
        context.run(telemetry.execute, event, **fields)
