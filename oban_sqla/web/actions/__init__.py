"""What forms are sent to, by their paths.

Belongs here: reading the fields of a form, refusing those who may not send it, and where to go from it. Does not: the
change itself (see `control`), and the form (see `web.templates`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.responses import Response

from ..ask import Ask, Content
from .crons import change_cron
from .flows import change_flow
from .jobs import change_jobs
from .queues import change_queue
from .single import change_options, enqueue_job, send_signal

ACTIONS: Mapping[str, Callable[[Ask, Mapping[str, list[str]]], Awaitable[Content | Response]]] = {
    "do/jobs": change_jobs,
    "do/edit": change_options,
    "do/signal": send_signal,
    "do/enqueue": enqueue_job,
    "do/queue": change_queue,
    "do/cron": change_cron,
    "do/flow": change_flow,
}

__all__ = ["ACTIONS"]
