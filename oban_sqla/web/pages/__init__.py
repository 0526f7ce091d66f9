"""The pages by their paths. A path that ends with a slash is followed by the rest of the address, such as an id.

Belongs here: what a page reads, and the context of its template. Does not: statements and what they mean (see
`insight`), and what forms change (see `web.actions`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.responses import Response

from ..ask import Ask, Content
from .audit import audit
from .crons import crons
from .failures import failures
from .flows import flow, flows
from .job import edit, job, new
from .jobs import jobs
from .nodes import nodes
from .overview import overview
from .queues import queue, queues
from .system import system

PAGES: Mapping[str, Callable[[Ask, str], Awaitable[Content | Response]]] = {
    "": overview,
    "jobs": jobs,
    "job/": job,
    "edit/": edit,
    "new": new,
    "queues": queues,
    "queue": queue,
    "flows": flows,
    "flow/": flow,
    "failures": failures,
    "crons": crons,
    "nodes": nodes,
    "audit": audit,
    "system": system,
}

__all__ = ["PAGES"]
