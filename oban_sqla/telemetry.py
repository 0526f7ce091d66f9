"""Events about what the queue does, for metrics, traces and logs of your own. Names and fields are Oban's.

======================== =============================================================================================
event                    fields
======================== =============================================================================================
``oban.job.start``       ``job_id worker queue attempt max_attempts node``
``oban.job.stop``        the same, ``state`` (what became of the job), ``duration`` and ``queue_time`` in seconds
``oban.job.exception``   the same, and ``error``, the exception
``oban.producer.get``    ``queue demand count duration``
``oban.producer.ack``    ``count fenced duration``
``oban.stager.stage``    ``count duration``
``oban.fenced``          ``job_id attempt queue``: a run finished after its job had been given to another one
======================== =============================================================================================

Arguments of jobs are in none of them. A handler runs where the event happens, so it must be quick; what it raises is
logged, and the handler stays attached.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

logger = logging.getLogger("oban_sqla")

Handler = Callable[[str, Mapping[str, Any]], None]

_handlers: dict[str, tuple[tuple[str, Handler], ...]] = {}


def attach(id: str, events: Iterable[str], handler: Handler) -> None:
    """Call ``handler(event, fields)`` for each of `events`.

    :param id: a name of yours, for :func:`detach`.
    """
    for event in events:
        _handlers[event] = (*_handlers.get(event, ()), (id, handler))


def detach(id: str) -> None:
    """Stop calling the handlers that were attached under `id`."""
    for event, handlers in list(_handlers.items()):
        _handlers[event] = tuple(entry for entry in handlers if entry[0] != id)


def listened(event: str) -> bool:
    """Whether anybody wants `event`; saves the hot path from preparing it."""
    return bool(_handlers.get(event))


def execute(event: str, **fields: Any) -> None:
    """Call the handlers of `event`."""
    for id, handler in _handlers.get(event, ()):
        try:
            handler(event, fields)
        except Exception:
            logger.exception("the telemetry handler %r raised on %s", id, event)
