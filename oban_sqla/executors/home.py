"""The child's side of its node: logging, wake-ups, sessions and steps work as in the node."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import traceback
from collections.abc import Coroutine, Iterable
from contextvars import copy_context
from typing import Any

from sqlalchemy import Pool
from sqlalchemy.pool import NullPool

from ..enqueueing.wakeup import Notify, serve
from ..errors import InvalidOption
from ..models.base import use_schema
from ..options.encryption import Encryption
from ..options.sessionmakers import SessionMaker, maker_for, named_kind
from ..runtime.journal.job_log import JobLog
from ..runtime.verdict import Stop
from ..statements.identify import Identity
from ..telemetry import JobFilter
from ..workers import context
from ..workers.registry import workers
from . import wire
from .asking import Asking
from .events import forward
from .perform import Performer
from .setup import load_sessionmaker
from .slots import SlotsOfNode
from .telling import Telling
from .traces import attached


class Home:
    """The child's side of its node.

    :param setup: what the node has told it first.
    :param connection: the socket to the node.
    """

    def __init__(self, setup: dict[str, Any], connection: socket.socket) -> None:
        self._setup = setup
        self._connection = connection
        self._sending = threading.Lock()
        """Held to write a frame whole."""
        self._runner = asyncio.Runner()
        """One event loop for the child's life, because an engine belongs to its loop."""
        self._makers: list[SessionMaker] = []
        """Filled by `_sessionmakers`, when the first job asks for one."""
        level, most_lines = setup["job_logs"] or (0, 0)
        self.telling = Telling(lambda told: self.send(wire.message(wire.TELL, **told)), most_lines)
        """Sends what jobs tell while they run."""
        self._job_log = JobLog(self.telling, level) if most_lines else None
        self.steps = Asking(self.send)
        """Asks the node, which keeps the steps of jobs."""
        self._statm = _opened("/proc/self/statm") if setup["tells_memory"] else None
        """Read after each call, and kept open: reading alone is four times as fast as opening and reading."""
        self.performer = Performer(
            driver=self._drive,
            makers=self._sessionmakers,
            slots=SlotsOfNode(self.send),
            traced=attached,
            journals=self.telling,
            store=self.steps,
        )
        """Runs the calls."""
        self._handler = _Forwarding(self)
        self._handler.addFilter(JobFilter())

    def prepare(self) -> None:
        """Set up what has to be in place before the program's modules are imported."""
        context.in_child = True
        root = logging.getLogger()
        root.addHandler(self._handler)
        if self._job_log is not None:
            root.addHandler(self._job_log)
        for name, level in self._setup["levels"].items():
            logging.getLogger(name).setLevel(level)
        if (schema := self._setup["default_schema"]) is not None:
            use_schema(schema)
        serve(_Node(self, tuple(self._setup["identity"]), self._setup["schema"]))

    def check(self) -> None:
        """Check that the imports have registered every worker.

        :raises InvalidOption: for a worker that is missing, is another function, or asks for a session that no
            sessionmaker makes.
        """
        for name, origin in self._setup["workers"].items():
            worker = workers.get(name)
            if worker is None or worker.origin != origin:
                found = "is not registered" if worker is None else f"is {worker.origin}"
                raise InvalidOption(
                    f"in a child process the worker {name!r} {found}, in its node it is {origin}; "
                    "register it whenever its module is imported, not under a condition"
                )
        self._check_sessions()
        # A program that has configured logging has done so in the child, too; then the node need not log the records.
        root = logging.getLogger()
        if any(handler not in (self._handler, self._job_log) for handler in root.handlers):
            root.removeHandler(self._handler)
        forward(self.send)

    def _check_sessions(self) -> None:
        for name in self._setup["workers"]:
            worker = workers[name]
            kind = worker.session_kind
            if kind is None and not worker.entities:
                continue
            makers = self._sessionmakers()  # raises when a name does not lead to a sessionmaker
            if kind is not None and maker_for(kind, makers) is None:
                raise InvalidOption(
                    f"the process worker {name!r} asks for a session of the kind {named_kind(kind)}, and "
                    f"{', '.join(self._setup['sessions'])} makes none; name another one: "
                    'Processes(sessionmaker="module:name")'
                )

    def stop(self, reason: str) -> None:
        """Ask the call under way to stop, or the one that was read last.

        :param reason: the value of a :class:`Stop`.
        """
        self.performer.stop(Stop(reason))

    def send(self, frame: bytes) -> None:
        """Send a frame; waits while the node is slow to read."""
        with self._sending:
            self._connection.sendall(frame)

    def memory(self) -> int:
        """Bytes of resident memory now; 0 where that can't be read, and where no limit asks for it."""
        if self._statm is None:
            return 0
        try:
            return int(os.pread(self._statm, 100, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return 0

    def _drive(self, work: Coroutine[Any, Any, Any]) -> Any:
        # In the present context. Without it every coroutine would run in the context of the first job.
        return self._runner.run(work, context=copy_context())

    def _sessionmakers(self) -> list[SessionMaker]:
        if not self._makers:
            self._makers = [load_sessionmaker(name) for name in self._setup["sessions"]]
        return self._makers


def _opened(path: str) -> int | None:
    """A file descriptor to read the file; None when there is no such file."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


class _Node:
    """Stands for the node's runtime: a commit in this child wakes the node."""

    def __init__(self, home: Home, identity: Identity, schema: str | None) -> None:
        self.identity = identity
        self.schema = schema
        self.notify: Notify = "auto"
        self.encryption: Encryption | None = None
        # It never connects. It is only compared with the pools of this process, and equals none of them.
        self.pool: Pool = NullPool(lambda: None)  # type: ignore[arg-type]  # what would connect
        self._home = home

    @property
    def can_be_woken(self) -> bool:
        """True, because the event loop of the node runs."""
        return True

    def inserted(self, queues: Iterable[str]) -> None:
        self._home.send(wire.message(wire.WOKE, queues=sorted(queues), soon=False))

    def soon(self) -> None:
        self._home.send(wire.message(wire.WOKE, queues=[], soon=True))

    def news(self) -> None:
        self._home.send(wire.message(wire.WOKE, queues=[], soon=False))


class _Forwarding(logging.Handler):
    """Sends log records to the node, which logs them as its own."""

    def __init__(self, home: Home) -> None:
        super().__init__()
        self._home = home

    def emit(self, record: logging.LogRecord) -> None:
        try:
            trace = "" if not record.exc_info else "".join(traceback.format_exception(*record.exc_info))
            extra = {name: value for name, value in vars(record).items() if name not in _USUAL and _is_plain(value)}
            message = wire.message(
                wire.LOG,
                name=record.name,
                level=record.levelno,
                message=record.getMessage(),
                created=record.created,
                path=record.pathname,
                line=record.lineno,
                function=record.funcName,
                trace=trace or record.exc_text or "",
                extra=extra,
            )
            self._home.send(message)
        except Exception:
            self.handleError(record)


_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool | None)
