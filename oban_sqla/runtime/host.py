"""What carries runs out: a node, a child process, a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .acks import Ack
from .durable.store import Store
from .executors.executor import Executors, Remote, Remotes
from .journal.journal import APART, Journals
from .resources import NONE, Provider
from .row import Row
from .sessions import Sessions


@dataclass(slots=True)
class Host:
    """What all runs in one place have in common. Made once, because a run is short.

    :ivar executors: where they may run in this process, by the name that a worker asks for.
    :ivar sessions: opens and ends the sessions of jobs that ask for one and run here.
    :ivar resources: gives jobs that run here what else they ask for.
    :ivar journals: opens the journal of a run that tells something. Default: what it tells stays in memory.
    :ivar store: where the steps of jobs are kept; None where none can be.
    :ivar hooks: run around each job, outside the worker's own.
    :ivar remotes: where they may run outside this process, by the name that a worker asks for.
    :ivar log_exceptions: whether the log has what a job raised, with its traceback, or only its type.
    :ivar measure: is told of the end of each run, with its outcome and beginning. Default: nothing is.
    """

    executors: Executors
    sessions: Sessions
    resources: Provider = NONE
    journals: Journals = APART
    store: Store | None = None
    hooks: tuple[object, ...] = ()
    remotes: Remotes = field(default_factory=dict[str, Remote])
    log_exceptions: bool = True
    measure: Callable[[Row, Ack, float], None] | None = None
