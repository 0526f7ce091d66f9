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

Target = Job | JobSpec | Node[Any] | int


def send_signal(session: Session, target: Target, name: str, payload: Any) -> bool:
    """Send the signal `name` with `payload` when `session` commits.

    :returns: False if the job has finished or is not there.
    :raises InvalidOption: for a target or name of another type, and for a job with encrypted args without keys.
    :raises InvalidArgs: for a payload that JSON can't carry.
    """
    given = signal_of(target, name, payload)
    connection = jobs_connection(session)
    given["channel"] = signal_channel(session, connection)
    to = send.execute(connection, **given).one_or_none()
    if to is not None and not to.is_sent:
        to = send.execute(connection, **sealed_for(to.worker, given)).one_or_none()
    if to is None:
        return False
    report_signal(given)
    return True


def signal_of(target: Target, name: str, payload: Any, *, origin: str | None = None) -> dict[str, Any]:
    """The parameters of :data:`send` for a signal, but for the channel.

    :param origin: the node of the sender, which does not act on the notification. Default None: each node does.
    :raises InvalidOption: for a target or name of another type.
    :raises InvalidArgs: for a payload that JSON can't carry.
    """
    job_id = target.id if isinstance(target, Job | JobSpec | Node) else target
    if not is_id(job_id):
        raise InvalidOption(
            f"signal: expected the id of a job, or one that was enqueued and flushed, got {told(target)}; a signal "
            "goes to one job"
        )
    check_name("signal", name)
    return {
        "job_id": job_id,
        "name": name,
        "payload": encode_value(payload, "the payload"),
        "sealed": False,
        "encrypting": list(workers.encrypted),
        "notice": json.dumps({"job_id": job_id, "from": origin}),
    }


def sealed_for(worker: str, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters `given` with the payload encrypted for a job of `worker`, which this process need not know.

    :raises InvalidOption: when there are no keys.
    """
    return given | {"payload": seal(worker, given["payload"]), "sealed": True}


def report_signal(given: dict[str, Any]) -> None:
    """A signal with these parameters is sent, or will be with the commit: ``oban.signal``."""
    telemetry.execute("oban.signal", job_id=given["job_id"], signal=given["name"])
