"""Changes the options of a waiting job, sends a signal to a job, and enqueues a job."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ...control.audit import note
from ...enqueueing.enqueue import enqueue
from ...errors import ObanError
from ...models import JobSpec
from ...models.job import jobs as table
from ...workers.registry import workers
from ..ask import Ask, Content, Wrong, no_job
from .form import Form


async def change_options(ask: Ask, fields: Mapping[str, list[str]]) -> Content | Response:
    """Change options of a job that waits. The worker stays the same."""
    form = Form(ask, fields)
    form.allow("edit", "edit jobs")
    id = form.number("id")
    if id is None:
        raise Wrong("Which job?")
    changes: dict[str, Any] = {}
    for name, read in (("priority", form.number), ("max_attempts", form.number), ("queue", form.text)):
        if form.was_changed(name):
            changes[name] = read(name)
            if changes[name] is None:
                raise Wrong(f"{name}: the field is blank; fill it in, or go back to leave it as it is")
    if (at := form.text("scheduled_at")) is not None:
        changes["scheduled_at"] = _time(at)
    if form.was_changed("tags"):
        changes["tags"] = form.names("tags")
    for name in ("args", "meta"):
        if form.was_changed(name):
            if (given := form.json_object(name)) is None:
                raise Wrong(f"{name}: expected a JSON object, such as {{}}; the field is blank")
            changes[name] = given
    if not changes:
        await _state_of(ask, id)
        raise Wrong("Nothing was changed: every field is as it was shown.")
    with form.audited("edit", {"ids": [id], "changes": sorted(changes)}):
        async with ask.place.connection():
            changed = await ask.place.oban.update(id, **changes)
    if not changed:
        raise Wrong(
            f"Job {id} was not changed: it is {await _state_of(ask, id)}, and only jobs that wait can be changed."
        )
    return form.done("edit", changed, f"job/{id}")


async def send_signal(ask: Ask, fields: Mapping[str, list[str]]) -> Content | Response:
    """Send a signal to a job that has not finished."""
    form = Form(ask, fields)
    form.allow("edit", "edit jobs")
    id, name = form.number("id"), form.needed("name")
    if id is None:
        raise Wrong("Which job?")
    payload = form.json_value("payload")
    with form.audited("signal", {"ids": [id], "signal": name}):
        async with ask.place.connection(), AsyncSession(ask.place.engine) as session, session.begin():
            sent = await ask.place.oban.signal(id, name, payload, session)
    if not sent:
        raise Wrong(f"Nothing was sent: job {id} is {await _state_of(ask, id)}.")
    return form.done("signal", 1, f"job/{id}")


async def enqueue_job(ask: Ask, fields: Mapping[str, list[str]]) -> Content | Response:
    """Enqueue a job. If this process knows the worker, it checks the arguments."""
    form = Form(ask, fields)
    form.allow("enqueue", "enqueue jobs")
    name = form.needed("worker")
    options: dict[str, Any] = {
        "queue": form.text("queue"),
        "priority": form.number("priority"),
        "max_attempts": form.number("max_attempts"),
        "tags": form.names("tags") or None,
        "schedule_in": form.number("schedule_in"),
    }
    args = form.json_object("args")
    spec = JobSpec(workers.get(name) or name, args or {}, **{n: o for n, o in options.items() if o is not None})
    with form.audited("enqueue", {"worker": name, "queue": form.text("queue")}):
        async with ask.place.connection(), AsyncSession(ask.place.engine) as session, session.begin():
            await enqueue(session, spec)
            await session.run_sync(lambda sync: note(sync.connection(), int(not spec.conflict)))
    if spec.id is None:
        raise ObanError("the job was not enqueued")
    return form.done("enqueue", int(not spec.conflict), f"job/{spec.id}")


async def _state_of(ask: Ask, id: int) -> str:
    """The state of a job.

    :raises NotFound: when the job is gone.
    """
    query = select(table.c.state).where(table.c.id == id)
    state: str | None = await ask.place.read(lambda connection: connection.scalar(query))
    if state is None:
        raise no_job(id)
    return state


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Wrong(f"scheduled_at: expected a time such as 2026-11-26T14:00, got {text!r}") from None
    try:
        return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
    except OverflowError:
        raise Wrong(f"scheduled_at: expected a time of the years 1 to 9999 in UTC, got {text!r}") from None
