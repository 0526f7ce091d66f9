"""Changes of queues: pause, resume, start, stop, scale; suspend their starts, or let them start again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response

from ...options.limits import Partition, rate_limit_of
from ..ask import Ask, Content, Wrong
from .form import Form

Make = Callable[[Form, str, str | None], Awaitable[None]]


async def change_queue(ask: Ask, fields: Mapping[str, list[str]]) -> Content | Response:
    """Change a queue, on all nodes or on one."""
    form = Form(ask, fields)
    form.allow("queues", "change queues")
    queue, verb, node = form.needed("queue"), form.needed("verb"), form.text("node")
    if (change := _CHANGES.get(verb)) is None:
        raise Wrong(f"verb: expected {', '.join(_CHANGES)}; got {verb!r}")
    target: dict[str, Any] = {"queue": queue, "node": node}
    target |= {name: value for name in _FIELDS if (value := form.text(name)) is not None}
    with form.audited(f"queue.{verb}", target):
        async with ask.place.connection():
            await change(form, queue, node)
    return form.done(f"queue.{verb}", 1)


async def _pause(form: Form, queue: str, node: str | None) -> None:
    await form.ask.place.oban.pause_queue(queue, node=node)


async def _resume(form: Form, queue: str, node: str | None) -> None:
    await form.ask.place.oban.resume_queue(queue, node=node)


async def _start(form: Form, queue: str, node: str | None) -> None:
    await form.ask.place.oban.start_queue(queue, form.number("limit"), node=node)


async def _stop(form: Form, queue: str, node: str | None) -> None:
    await form.ask.place.oban.stop_queue(queue, node=node)


async def _scale(form: Form, queue: str, node: str | None) -> None:
    """Set the limit of each node."""
    await form.ask.place.oban.scale_queue(queue, form.number("limit"), node=node)


async def _limit(form: Form, queue: str, _node: str | None) -> None:
    """Set the limits of the cluster. A blank field removes its limit."""
    rate, by = form.text("rate_limit"), form.names("partition")
    given: dict[str, Any] = {
        "global_limit": form.number("global_limit"),
        "rate_limit": None if rate is None else rate_limit_of(rate, "rate_limit"),
    }
    if form.text("with_partition") is not None:
        given["partition"] = _partition(form, by) if by else None
    await form.ask.place.oban.scale_queue(queue, **given)


def _partition(form: Form, by: list[str]) -> Partition:
    rate = form.text("partition_rate")
    return Partition(
        by=by,
        limit=form.number("partition_limit"),
        rate_limit=None if rate is None else rate_limit_of(rate, "partition_rate"),
        burst=form.text("burst") is not None,
    )


async def _suspend(form: Form, queue: str, _node: str | None) -> None:
    seconds = form.number("seconds")
    if seconds is None:
        raise Wrong("seconds: for how long?")
    await form.ask.place.oban.limiter(queue).suspend(seconds)


async def _reset(form: Form, queue: str, _node: str | None) -> None:
    await form.ask.place.oban.limiter(queue).reset()


_FIELDS = ("limit", "global_limit", "rate_limit", "partition", "partition_limit", "partition_rate", "seconds")
_CHANGES: Mapping[str, Make] = {
    "pause": _pause,
    "resume": _resume,
    "start": _start,
    "stop": _stop,
    "scale": _scale,
    "limit": _limit,
    "suspend": _suspend,
    "reset": _reset,
}
