"""Sending signals to jobs, in the caller's transaction or in a new one."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from ..enqueueing.sessions import SomeAsyncSession, SomeSession, current_session
from ..enqueueing.signals import send_signal
from ..enqueueing.writer import jobs_connection
from ..models import Job, JobSpec
from ..models.node import Node
from ..options.encryption import using
from .audit import note
from .verbs import Verbs


class SignalVerbs(Verbs):
    """The verb of an :class:`Oban` for jobs that wait for a signal."""

    async def signal(
        self,
        target: Job | JobSpec | Node[Any] | int,
        name: str,
        payload: Any = None,
        session: SomeAsyncSession | SomeSession | None = None,
    ) -> bool:
        """Send a signal to a job, which takes it by :func:`oban_sqla.durable.wait_for`.

        A signal is kept until the job asks for it, and taken once. Sending it locks nothing, and wakes a job that
        sleeps until it comes.

        :param target: a job's id, a :class:`Job`, a flushed spec, or a node of a flushed workflow.
        :param name: of the signal, for which the job waits.
        :param payload: what the job gets; any value that JSON can represent, up to 1 MiB. Default None.
        :param session: an ``AsyncSession`` or ``Session``: the signal is part of its transaction, and sent with its
            commit. A ``Session`` blocks while it writes the signal. Default: a separate transaction.
        :returns: False if the job has finished or does not exist: then nothing is sent.
        :raises InvalidOption: for a target, a name or a session of another type.
        :raises InvalidArgs: for a payload that JSON can't represent.
        :raises DatabaseUnavailable: when the node's connection was lost on the way, and whether the signal was sent is
            not known; or when the database can't be reached, and it was not. The message says which.
        """
        if session is not None:
            found = current_session(session, "session")
            with using(self.config.encryption):
                if isinstance(found, Session):
                    return _send(found, target, name, payload)
                return await found.run_sync(_send, target, name, payload)
        node = self._node
        if node is not None and node.runs_here and node.notify == "auto" and not node.signals.is_busy:
            with using(self.config.encryption):
                return await node.signals.send(target, name, payload)
        # It is one statement: a transaction around it would be two more round trips.
        async with self._engines.transaction({"isolation_level": "AUTOCOMMIT"}) as own:
            return await own.run_sync(_send, target, name, payload)


def _send(session: Session, target: Job | JobSpec | Node[Any] | int, name: str, payload: Any) -> bool:
    session.flush()
    sent = send_signal(session, target, name, payload)
    note(jobs_connection(session), int(sent))
    return sent
