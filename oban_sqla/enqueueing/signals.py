"""Signals for jobs, as part of a session's transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from ..errors import InvalidOption
from ..models import Job, JobSpec
from ..models.checks import check_name
from ..options.payload import encode_value
from ..statements.steps import send
from .wakeup import announce_signal
from .writer import jobs_connection


def send_signal(session: Session, target: Job | JobSpec | int, name: str, payload: Any) -> bool:
    """Send the signal `name` with `payload` when `session` commits.

    :returns: False if the job has finished or is not there.
    :raises InvalidOption: for a target or name of another type.
    :raises InvalidArgs: for a payload that JSON can't carry.
    """
    job_id = target.id if isinstance(target, Job | JobSpec) else target
    if not isinstance(job_id, int) or isinstance(job_id, bool):
        raise InvalidOption(
            f"signal: expected the id of a job, or one that was enqueued and flushed, got {target!r}; a signal goes to "
            "one job"
        )
    given = {"job_id": job_id, "name": check_name("signal", name), "payload": encode_value(payload, "the payload")}
    connection = jobs_connection(session)
    if send.execute(connection, **given).first() is None:
        return False
    announce_signal(connection, job_id)
    return True
