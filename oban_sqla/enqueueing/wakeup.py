"""Which nodes hear that jobs were committed: the runtimes of this process, by database and schema.

NOTIFY inside a transaction takes a lock on the whole database while the commit is flushed, which costs busy writers
four to seven times their throughput. Where a runtime of this process serves the same database and schema, the commit
tells it directly, and it tells the other nodes on another connection. Elsewhere the transaction notifies.
"""

from __future__ import annotations

import json
import math
import os
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from sqlalchemy import Connection, Engine, Pool, TwoPhaseTransaction
from sqlalchemy.orm import Session

from ..errors import InvalidOption
from ..models import JobSpec
from ..models.kind import Kind
from ..options.encryption import Encryption
from ..statements.identify import Identity, identify, schema_of
from ..statements.notify import notify
from ..statements.wire import INSERTED, NEWS, STAGED, channel
from ..telemetry import queue_logger as logger
from ..types import JobState
from .binds import FOR_WRITING
from .driver import is_autocommit

Notify = Literal["auto", "transaction", "off"]


class Runtime(Protocol):
    """What a started runtime offers to the sessions of its process. Its methods may be called from any thread."""

    identity: Identity

    @property
    def notify(self) -> Notify: ...

    @property
    def pool(self) -> Pool: ...

    @property
    def schema(self) -> str | None: ...

    @property
    def encryption(self) -> Encryption | None: ...

    @property
    def can_be_woken(self) -> bool:
        """Whether its event loop runs. Else the transaction notifies, and it hears of that when it runs again."""
        ...

    def inserted(self, queues: Iterable[str]) -> None:
        """Jobs of these queues are available."""
        ...

    def soon(self) -> None:
        """A job will be due within seconds."""
        ...

    def news(self) -> None:
        """There are news of flows, batches, chains or signals."""
        ...


_started: list[Runtime] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_started.clear)  # their loops run in the parent


def serve(runtime: Runtime) -> None:
    """From now on commits wake `runtime`."""
    _started.append(runtime)


def unserve(runtime: Runtime) -> None:
    """The end of :func:`serve`."""
    if runtime in _started:
        _started.remove(runtime)


def runtime_for(connection: Connection) -> Runtime | None:
    """The runtime of this process that serves the database and the schema of `connection`, if there is one."""
    if not _started:
        return None
    schema = schema_of(connection)
    served = [runtime for runtime in _started if runtime.schema == schema and runtime.can_be_woken]
    for runtime in served:
        if runtime.pool is connection.engine.pool:
            return runtime
    if not served:
        return None
    identity = _identity(connection, {runtime.identity for runtime in served})
    return next((runtime for runtime in served if runtime.identity == identity), None)


_identities: weakref.WeakKeyDictionary[Engine, tuple[Identity, float]] = weakref.WeakKeyDictionary()
_REFRESH = 60.0


def _identity(connection: Connection, served: set[Identity]) -> Identity:
    known, asked = _identities.get(connection.engine, (("", ""), -math.inf))
    # Another answer than the runtimes' may only be old: the server was restarted since.
    if known not in served and time.monotonic() - asked > _REFRESH:
        row = identify.execute(connection).one()
        known = (row.server, row.database)
        _identities[connection.engine] = (known, time.monotonic())
    return known


SOON = 5.0
"""Seconds: a job due within this time is announced to the stager, which may be asleep until later."""


_TO_WAKE, _NEWS = "oban_sqla.to_wake", "oban_sqla.news"


def note_wake_ups(specs: Iterable[JobSpec], queues: set[str], soon: set[str]) -> None:
    """Add to `queues` those that have new available jobs, and to `soon` those with jobs that are due in a moment."""
    last: Kind = ()
    for spec in specs:
        if not spec.conflict:
            if spec.state == JobState.AVAILABLE:
                if spec.kind is not last:  # thousands in a row share one
                    queues.add(spec.queue)
                    last = spec.kind
            elif spec.state != JobState.SUSPENDED and _is_soon(spec):
                soon.add(spec.queue)


def _is_soon(spec: JobSpec) -> bool:
    if spec.scheduled_at is not None:
        return spec.scheduled_at.timestamp() - time.time() <= SOON
    return (spec.schedule_in or 0.0) <= SOON


def announce(session: Session, connection: Connection, queues: set[str], soon: set[str]) -> None:
    """See to it that the commit of `session` wakes `queues`, and the stager for the jobs of `soon`."""
    runtime = runtime_for(connection)
    mode = _elsewhere if runtime is None else runtime.notify
    if mode == "off":
        return
    if runtime is not None and mode == "auto" and _is_committed_by(session, connection):
        noted: dict[Runtime, tuple[set[str], set[str]]] = session.info.setdefault(_TO_WAKE, {})
        before = noted.setdefault(runtime, (set(), set()))
        before[0].update(queues)
        before[1].update(soon)
        return
    schema = schema_of(connection)
    messages = [(INSERTED, queue) for queue in sorted(queues)] + [(STAGED, queue) for queue in sorted(soon)]
    notify_at_commit(
        connection,
        channels=[channel(name, schema) for name, _ in messages],
        payloads=[json.dumps({"queue": queue}) for _, queue in messages],
    )


def _is_committed_by(session: Session, connection: Connection) -> bool:
    """Whether the commit of `session` is that of its jobs. One on a Connection may be joined to a transaction that
    outlives its commit, or is rolled back after it; and in autocommit the jobs are committed already."""
    return isinstance(session.get_bind(**FOR_WRITING), Engine) and not is_autocommit(connection)


def announce_news(session: Session, connection: Connection) -> None:
    """See to it that a releaser looks for news when `session` has committed: what it wrote may make something possible.

    For changes that a trigger tells of. Once for each transaction is enough, and more do no harm.
    """
    runtime = runtime_for(connection)
    mode = _elsewhere if runtime is None else runtime.notify
    if mode == "off":
        return
    if runtime is not None and mode == "auto" and _is_committed_by(session, connection):
        session.info.setdefault(_NEWS, set()).add(runtime)
        return
    notify_at_commit(connection, channels=[channel(NEWS, schema_of(connection))], payloads=["{}"])


def signal_channel(session: Session, connection: Connection) -> str | None:
    """Where to tell of a signal when the transaction of `session` commits; None to tell nothing.

    The node on which the job waits with its slot in hand has to hear of it. A job that sleeps is woken by any node, and
    one of this process does that at once.
    """
    runtime = runtime_for(connection)
    if (_elsewhere if runtime is None else runtime.notify) == "off":
        return None
    if runtime is not None and _is_committed_by(session, connection):
        session.info.setdefault(_NEWS, set()).add(runtime)
    if isinstance(connection.get_transaction(), TwoPhaseTransaction):
        return None  # one that is prepared can't notify
    return channel(NEWS, schema_of(connection))


def notify_at_commit(connection: Connection, channels: Sequence[str], payloads: Sequence[str]) -> None:
    """Notify when the transaction of `connection` commits. One that is prepared can't: polling finds the jobs."""
    if not isinstance(connection.get_transaction(), TwoPhaseTransaction):
        notify.execute(connection, channels=list(channels), payloads=list(payloads))


_elsewhere: Literal["transaction", "off"] = "transaction"


def use_notify(mode: Literal["transaction", "off"]) -> None:
    """Choose how a commit wakes nodes in a process in which no started :class:`Oban` serves the session's database.

    A transaction that is prepared for a two-phase commit never notifies.

    :param mode: ``"transaction"``, the default: the transaction sends one ``NOTIFY`` per queue. ``"off"``: nothing is
        sent, and jobs wait for the next poll of a node.
    :raises InvalidOption: for anything else.
    """
    global _elsewhere
    if mode not in ("transaction", "off"):
        raise InvalidOption(f'use_notify: expected "transaction" or "off", got {mode!r}')
    _elsewhere = mode


def announce_anew(session: Session) -> None:
    """Before `session` commits: see to it that the commit is heard of although a runtime for which it was noted has
    stopped meanwhile."""
    noted: dict[Runtime, tuple[set[str], set[str]]] = session.info.get(_TO_WAKE, {})
    news: set[Runtime] = session.info.get(_NEWS, set())
    for runtime in [one for one in {*noted, *news} if one not in _started or not one.can_be_woken]:
        connection = session.connection(bind_arguments=FOR_WRITING)
        if (wakes := noted.pop(runtime, None)) is not None:
            announce(session, connection, *wakes)
        if runtime in news:
            news.remove(runtime)
            announce_news(session, connection)


def wake_noted(session: Session) -> None:
    """Wake the runtimes for what `session` has just committed."""
    if _TO_WAKE in session.info:
        noted: dict[Runtime, tuple[set[str], set[str]]] = session.info.pop(_TO_WAKE)
        for runtime, (queues, soon) in noted.items():
            try:
                if queues:
                    runtime.inserted(queues)
                if soon:
                    runtime.soon()
            except Exception:  # the jobs are committed: polling finds them
                logger.exception("waking the runtime for queues %s failed", sorted(queues | soon))
    runtimes: set[Runtime] = session.info.pop(_NEWS, set())
    for runtime in runtimes:
        try:
            runtime.news()
        except Exception:  # the news are committed: polling finds them
            logger.exception("waking the runtime for news failed")


def forget_noted(session: Session) -> None:
    """Forget what :func:`announce` noted for a transaction that has ended."""
    session.info.pop(_TO_WAKE, None)
    session.info.pop(_NEWS, None)
