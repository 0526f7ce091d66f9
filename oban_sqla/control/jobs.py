"""Changing jobs from outside: cancel, retry, delete and update, in the caller's transaction or in a new one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Label, Row, Select, inspect, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.orm.util import identity_key
from typing_extensions import TypedDict, Unpack

from ..enqueueing._sqlalchemy import has_criteria
from ..enqueueing.binds import reading_where_it_writes
from ..enqueueing.sessions import SomeAsyncSession, current_session
from ..enqueueing.wakeup import SOON, announce, announce_news, notify_at_commit
from ..enqueueing.writer import jobs_connection
from ..errors import InvalidOption, refuse_unknown
from ..models import Batch, Job, JobSpec, Workflow
from ..models.base import utc_now
from ..models.checks import is_id
from ..models.columns import options_of
from ..models.job import mapped
from ..models.kind import OPTIONS, checked
from ..models.node import Node
from ..options.encryption import using
from ..options.instance import is_instance, told
from ..options.payload import encode
from ..statements import change as statements
from ..statements.change import Targets
from ..statements.flows import jobs_of
from ..statements.identify import schema_of
from ..statements.statement import seconds_from
from ..statements.wire import signal_channel
from ..types import UTCDateTime
from ..workers.registry import workers
from ..workers.sealing import encrypts, sealed_args
from . import flows
from .audit import note
from .batches import batch_id, delete_batch, lock_batch
from .chained import refuse_other_chain
from .verbs import Verbs

One = int | Job | JobSpec[Any] | Node[Any]
Target = One | Iterable[One] | Select[Any] | Workflow | Batch
"""Which jobs: an id, a job, a spec that was flushed, a node, any number of these, ``select(Job)…``, a workflow, or a
batch."""


class Changes(TypedDict, total=False):
    """What :meth:`Oban.update` can change."""

    queue: str
    priority: int
    max_attempts: int
    tags: Sequence[str]
    meta: Mapping[str, Any]
    args: Mapping[str, Any]
    scheduled_at: datetime
    schedule_in: float | timedelta


CHANGES = (*(name for name, option in OPTIONS.items() if option.changes), "args")
MOST_SIGNALS = 1_000
"""Nodes of other programs are told of so many cancelled jobs at once; ours look for themselves."""


class JobVerbs(Verbs):
    """The verbs of :class:`Oban` that change jobs."""

    async def cancel(self, target: Target, session: SomeAsyncSession | None = None) -> int:
        """Cancel jobs: waiting ones at once, running ones within a second on any node.

        A coroutine is cancelled; a plain function learns of it from :func:`oban_sqla.cancelled`. The job becomes
        ``cancelled``, with an error that says so. A job that finishes anyway keeps its outcome; one that would be
        retried is cancelled instead.

        :param target: an id, a :class:`Job`, a flushed spec, a :class:`Node`, an iterable of these, a
            ``select(Job)…``, a :class:`Workflow` or a :class:`Batch`.
        :param session: an ``AsyncSession``: the change is part of its transaction, and takes effect with its commit.
            Default: a separate transaction.
        :returns: the number of jobs changed. Finished jobs are not changed.
        :raises InvalidOption: for a target or session of another type.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        return await self._run(session, self._cancel, target)

    async def retry(
        self, target: Target, session: SomeAsyncSession | None = None, *, from_node: str | None = None
    ) -> int:
        """Make jobs available now, finished ones too. A job without attempts left gets one more.

        Of a workflow the cancelled and discarded jobs run again, also in workflows inside it. Each waits for whatever
        is not completed at that moment. Of a batch, those that are completed stay so.

        :param target: an id, a :class:`Job`, a flushed spec, a :class:`Node`, an iterable of these, a
            ``select(Job)…``, a :class:`Workflow` or a :class:`Batch`.
        :param session: an ``AsyncSession``: the change is part of its transaction, and takes effect with its commit.
            Default: a separate transaction.
        :param from_node: of a workflow, the name of a node: that one and all that comes after it run again, completed
            jobs too. Default: only what failed.
        :returns: the number of jobs changed. Available, executing and suspended jobs are not changed.
        :raises InvalidOption: for a target or session of another type, or an unknown node.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        if from_node is not None and not isinstance(target, Workflow):
            raise InvalidOption(f"retry: from_node is for a Workflow, got {target!r}")
        return await self._run(session, lambda session, target: _retry(session, target, from_node), target)

    async def delete(self, target: Target, session: SomeAsyncSession | None = None) -> int:
        """Delete jobs, except running ones; a batch together with its jobs, if none of them runs.

        :param target: an id, a :class:`Job`, a flushed spec, a :class:`Node`, an iterable of these, a
            ``select(Job)…``, a :class:`Workflow` or a :class:`Batch`.
        :param session: an ``AsyncSession``: the change is part of its transaction, and takes effect with its commit.
            Default: a separate transaction.
        :returns: the number of jobs deleted. Executing jobs are not deleted.
        :raises InvalidOption: for a target or session of another type.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        return await self._run(session, _delete, target)

    async def update(self, target: Target, session: SomeAsyncSession | None = None, **changes: Unpack[Changes]) -> int:
        """Change options of jobs that neither run nor have finished: ``await oban.update(job, priority=0)``.

        A unique job keeps the key with which it was inserted. The key of a chain can't be changed.

        :param target: an id, a :class:`Job`, a flushed spec, a :class:`Node`, an iterable of these, a
            ``select(Job)…``, a :class:`Workflow` or a :class:`Batch`.
        :param session: an ``AsyncSession``: the change is part of its transaction, and takes effect with its commit.
            Default: a separate transaction.
        :param queue: the name of another queue.
        :param priority: 0 (first) to 9 (last).
        :param max_attempts: 1 to 32,767, but not less than the attempts already made.
        :param tags: strings; they replace the present tags.
        :param meta: a dict; it replaces the present meta, apart from what the package has noted there.
        :param args: a dict; it replaces the present args.
        :param scheduled_at: an aware datetime before which the job does not run.
        :param schedule_in: the same as seconds or a timedelta from now.
        :returns: the number of jobs changed. Executing and finished jobs are not changed.
        :raises InvalidOption: for a misspelt option, a value out of range, args or meta of another chain than the job
            waits in, or a target or session of another type.
        :raises InvalidArgs: for args that don't fit the jobs' worker, or args or meta that JSON can't represent.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        refuse_unknown(changes, CHANGES, "update")
        if not changes:
            raise InvalidOption(f"update: no changes were given; expected some of {', '.join(CHANGES)}")
        values = checked({name: value for name, value in changes.items() if name != "args"}, "update")
        if "args" in changes:
            values["args"] = changes["args"]
        return await self._run(session, lambda session, target: _update(session, target, values), target)

    async def _run(
        self, session: SomeAsyncSession | None, change: Callable[[Session, Target], int], target: Target
    ) -> int:
        if session is not None:
            second: object = session
            if is_id(second) or isinstance(second, Job | JobSpec | Workflow | Batch | Node):
                raise InvalidOption(
                    f"expected one target and then a session, got {second!r} too; give several as a list"
                )
            found = current_session(session, "session")
            if not isinstance(found, AsyncSession):
                raise InvalidOption(f"session: expected an AsyncSession, got {session!r}")
            with using(self.config.encryption):
                return await found.run_sync(_noted, change, target)
        async with self._engines.transaction() as own:
            changed = await own.run_sync(_noted, change, target)
        if (here := self._node) is not None:
            here.asked()
        return changed

    def _cancel(self, session: Session, target: Target) -> int:
        if isinstance(target, Workflow):
            return flows.cancel(session, target, self._cancel_jobs)
        return self._cancel_jobs(session, target)

    def _cancel_jobs(self, session: Session, target: Any) -> int:
        rows = _execute(session, target, statements.cancel)
        executing = [row.id for row in rows if row.state == "executing"]
        if executing and self.config.notify != "off":
            connection = jobs_connection(session)
            payloads = [json.dumps({"action": "pkill", "job_id": job_id}) for job_id in executing[:MOST_SIGNALS]]
            channel = signal_channel(schema_of(connection))
            notify_at_commit(connection, channels=[channel] * len(payloads), payloads=payloads)
        return len(rows)


def _noted(session: Session, change: Callable[[Session, Target], int], target: Target) -> int:
    changed = change(session, target)
    note(jobs_connection(session), changed)
    return changed


def _retry(session: Session, target: Target, from_node: str | None) -> int:
    if isinstance(target, Workflow):
        return flows.retry(session, target, from_node)
    if isinstance(target, Batch):
        target = select(Job).where(Job.batch_id == batch_id(target), ~Job.state.in_(["completed", "available"]))
    rows = _execute(session, target, statements.retry)
    if rows:
        announce(session, jobs_connection(session), {row.queue for row in rows}, set())
    return len(rows)


def _delete(session: Session, target: Target) -> int:
    if isinstance(target, Workflow):
        return flows.delete(session, target)
    if isinstance(target, Batch):
        lock_batch(session, target)
    rows = _execute(session, target, statements.remove)
    for job in _loaded(session, rows):
        session.expunge(job)
    if isinstance(target, Batch):
        delete_batch(session, target)
    return len(rows)


def _update(session: Session, target: Target, changes: Mapping[str, Any]) -> int:
    targets, connection = _flushed(session, target)
    values = _values(connection, targets, changes)
    keyed: dict[str, Any] = {"args": values["args"]} if "args" in changes else {}
    if "meta" in changes:
        keyed["meta"] = json.loads(changes["meta"])
    refuse_other_chain(connection, targets, keyed)
    rows = _changed(session, connection.execute(statements.change(targets, values)))
    queues = {row.queue for row in rows if row.state == "available"}
    soon_at = datetime.now(UTC) + timedelta(seconds=SOON)
    soon = {row.queue for row in rows if row.state == "scheduled" and row.scheduled_at <= soon_at}
    if queues or soon:
        announce(session, connection, queues, soon)
    return len(rows)


def _execute(session: Session, target: Target, build: Callable[[Targets], Any]) -> Sequence[Row[Any]]:
    targets, connection = _flushed(session, target)
    return _changed(session, connection.execute(build(targets)))


def _flushed(session: Session, target: Target) -> tuple[Targets, Connection]:
    """The targets, after what the session has pending was written: the jobs may be among it."""
    session.flush()
    return _targets(target), jobs_connection(session)


def _targets(target: Target) -> Targets:
    if isinstance(target, Workflow):
        return jobs_of(flows.flow_id(target))
    if isinstance(target, Batch):
        return select(Job.id).where(Job.batch_id == batch_id(target))
    if isinstance(target, Select):
        if has_criteria(target):
            raise InvalidOption("select(Job): with_loader_criteria(…) does not hold here; write it as a .where(…)")
        return target if _selects_ids(target) else _ids_of(target)
    if isinstance(target, int | Job | JobSpec | Node):
        return [_id(target)]
    if isinstance(target, str) or is_instance(target) or not isinstance(cast(object, target), Iterable):
        raise _no_target(target)
    return [_id(one) for one in cast(Iterable[object], target)]


def _id(target: object) -> int:
    match target:
        case int() if is_id(target):
            return target
        case Job(id=int(id)) | JobSpec(id=int(id)) | Node(id=int(id)):
            return id
        case Node(spec=None):
            raise InvalidOption(f"{target!r} is a workflow inside another; give that: its `sub`")
        case Job() | JobSpec() | Node():
            raise InvalidOption(f"{target!r} has not been enqueued: flush or commit its session first")
        case _:
            raise _no_target(target)


def _no_target(target: object) -> InvalidOption:
    return InvalidOption(
        "expected a job's id, a Job, a JobSpec, a Node, a list of these, select(Job)…, a Workflow or a Batch, got "
        f"{told(target)}"
    )


def _selects_ids(chosen: Select[Any]) -> bool:
    """Whether `chosen` selects ids of jobs: a column of that name, unless it is the one of another mapped class."""
    if chosen.selected_columns.keys() != ["id"]:
        return False
    [column] = chosen.column_descriptions
    entity: Any = column.get("entity")
    is_named = isinstance(cast(object, column["expr"]), Label)
    return entity is None or is_named or inspect(entity).mapper.class_ is Job


def _ids_of(chosen: Select[Any]) -> Select[Any]:
    """`chosen`, a select of jobs, as a select of their ids."""
    columns = chosen.column_descriptions
    entity = cast(Any, columns[0].get("entity") if len(columns) == 1 else None)
    if entity is None or inspect(entity).mapper.class_ is not Job:
        names = ", ".join(
            str(column["name"] if column["expr"] is column.get("entity") else column["expr"]) for column in columns
        )
        raise InvalidOption(f"expected select(Job) with any conditions, got a select of {names}")
    # An alias has its own column; the id of Job itself would add the whole table.
    return chosen.with_only_columns(entity.id, maintain_column_froms=True)


def _changed(session: Session, result: Any) -> Sequence[Row[Any]]:
    """The rows that were changed; jobs that the session has loaded are as they are now."""
    rows: Sequence[Row[Any]] = result.all()
    if any(row.composed for row in rows):
        announce_news(session, jobs_connection(session))
    if rows and len(rows[0]) > 2 and (loaded := _loaded(session, rows)):
        fresh = select(Job).where(Job.id.in_([job.id for job in loaded])).execution_options(populate_existing=True)
        with reading_where_it_writes(session):
            session.scalars(fresh).all()
    return rows


def _loaded(session: Session, rows: Sequence[Row[Any]]) -> list[Job]:
    identities: Any = session.identity_map
    jobs = (identities.get(identity_key(Job, row.id)) for row in rows)
    return [job for job in jobs if isinstance(job, Job)]


def _values(connection: Connection, targets: Targets, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What is SET in the columns.

    :param changes: as :func:`checked` returned them, and the args as they were given.
    """
    values = {
        column.name: option.value(changes[option.name])
        for column in mapped
        for option in options_of(column)
        if option.name in changes
    }
    if "schedule_in" in changes:
        values["scheduled_at"] = utc_now() + seconds_from(literal(changes["schedule_in"]))
    elif "scheduled_at" in changes:
        values["scheduled_at"] = literal(changes["scheduled_at"], UTCDateTime())
    if "args" in changes:
        values["args"] = _args(connection, targets, changes["args"])
    return values


def _args(connection: Connection, targets: Targets, args: Mapping[str, Any]) -> Any:
    """`args` as the worker of the jobs takes them. Those of different workers are checked by each, and stored as given.

    :raises InvalidArgs: when they don't fit, or JSON can't carry them.
    """
    names = connection.scalars(statements.workers_of(targets)).all()
    encrypting = [name for name in names if encrypts(name)]
    if encrypting and len(names) > 1:
        raise InvalidOption(
            f"update(args=): the jobs are of several workers, and {encrypting[0]!r} encrypts its arguments; "
            "update the jobs of one worker at a time"
        )
    registered = [worker for name in names if (worker := workers.get(name)) is not None]
    checked = [worker.checked_args(args) for worker in registered]
    stored = checked[0] if len(names) == len(checked) == 1 else args
    text = encode(stored, "args", JobSpec.max_args_bytes)
    if encrypting:
        text = sealed_args(encrypting[0], text)
    return json.loads(text)
