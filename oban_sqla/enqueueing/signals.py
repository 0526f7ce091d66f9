"""Signals for jobs, as part of a session's transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from ..errors import InvalidOption
from ..models import Job, JobSpec
from ..models.checks import check_name
from ..models.node import Node
from ..options.encryption import seal
from ..options.payload import encode_value
from ..statements.steps import addressee, send
from ..workers.sealing import encrypts
from .wakeup import announce_signal
from .writer import jobs_connection


def send_signal(session: Session, target: Job | JobSpec | Node[Any] | int, name: str, payload: Any) -> bool:
    """Send the signal `name` with `payload` when `session` commits.

    :returns: False if the job has finished or is not there.
    :raises InvalidOption: for a target or name of another type, and for a job with encrypted args without keys.
    :raises InvalidArgs: for a payload that JSON can't carry.
    """
    job_id = target.id if isinstance(target, Job | JobSpec | Node) else target
    if not isinstance(job_id, int) or isinstance(job_id, bool):
        raise InvalidOption(
            f"signal: expected the id of a job, or one that was enqueued and flushed, got {target!r}; a signal goes to "
            "one job"
        )
    check_name("signal", name)
    text = encode_value(payload, "the payload")
    connection = jobs_connection(session)
    if (to := addressee.execute(connection, id=job_id).one_or_none()) is None:
        return False
    if to.is_sealed or encrypts(to.worker):  # its row tells it also where the worker is not known
        text = seal(to.worker, text)
    given = {"job_id": job_id, "name": name, "payload": text}
    if send.execute(connection, **given).first() is None:
        return False
    announce_signal(connection, job_id)
    return True
