"""The job that a caller means."""

from __future__ import annotations

from ..errors import InvalidOption
from ..models import Job, JobSpec
from ..models.checks import is_id
from ..models.node import Node
from ..options.instance import told


def id_of(what: str, target: object) -> int:
    """The id of a job that was committed.

    :param what: who asks, for the error.
    :param target: a :class:`Job`, a spec, a :class:`Node`, or an id.
    :raises InvalidOption: for anything else, and for a job without an id.
    """
    job_id: object = target.id if isinstance(target, Job | JobSpec | Node) else target
    if not is_id(job_id):
        given = told(target)  # pyright: ignore[reportUnknownArgumentType]
        hint = "; of a list take one: [spec] = await oban.enqueue(…)" if isinstance(target, list | tuple) else ""
        if hint and what == "result":
            hint += ", or wait for all of them: oban.results(specs)"
        raise InvalidOption(
            f"{what}: expected the id of a job, or one that was enqueued and committed, got {given}{hint}"
        )
    return job_id
