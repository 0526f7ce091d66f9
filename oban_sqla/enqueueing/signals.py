"""Signals for jobs, as part of a session's transaction."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.orm import Session

from .. import telemetry
from ..errors import InvalidOption
from ..models import Job, JobSpec
from ..models.checks import check_name, is_id
from ..models.node import Node
from ..options.encryption import seal
from ..options.instance import told
from ..options.payload import encode_value
from ..statements.steps import send
from ..workers.registry import workers
from .wakeup import signal_channel
from .writer import jobs_connection


def send_signal(session: Session, target: Job | JobSpec | Node[Any] | int, name: str, payload: Any) -> bool:
    """Send the signal `name` with `payload` when `session` commits.

    :returns: False if the job has finished or is not there.
    :raises InvalidOption: for a target or name of another type, and for a job with encrypted args without keys.
    :raises InvalidArgs: for a payload that JSON can't carry.
    """
    job_id = target.id if isinstance(target, Job | JobSpec | Node) else target
    if not is_id(job_id):
        raise InvalidOption(
            f"signal: expected the id of a job, or one that was enqueued and flushed, got {told(target)}; a signal "
            "goes to one job"
        )
    check_name("signal", name)
    text = encode_value(payload, "the payload")
    connection = jobs_connection(session)
    given: dict[str, Any] = {
        "job_id": job_id,
        "name": name,
        "channel": signal_channel(session, connection),
        "notice": json.dumps({"job_id": job_id}),
        "encrypting": list(workers.encrypted),
    }
    to = send.execute(connection, **given, payload=text, sealed=False).one_or_none()
    if to is not None and not to.is_sent:  # its payload has to be encrypted; its row says so also of unknown workers
        to = send.execute(connection, **given, payload=seal(to.worker, text), sealed=True).one_or_none()
    if to is None:
        return False
    telemetry.execute("oban.signal", job_id=job_id, signal=name)
    return True
