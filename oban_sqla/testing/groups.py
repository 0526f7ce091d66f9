"""What `drain` does for jobs that belong to others: with chunks, with batches, and with news."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from .. import telemetry
from ..errors import InvalidOption
from ..runtime.group_of import GROUPS, asked_by
from ..runtime.releaser import Released, report_end_of_batch, report_end_of_flow
from ..runtime.row import Row
from ..statements.drain import callbacks_after, cancelled_since
from ..statements.releases import ended_batches, release_here
from ..workers.registry import workers
from .sessions import connection_of

_CLOCK = text("SELECT CAST(timezone('UTC', clock_timestamp()) AS text)")


def release(session: Session, queues: list[str] | None, among: list[int] | None) -> tuple[bool, Sequence[int]]:
    """Act on the news of flows, batches and chains.

    :param queues: those of the jobs that may run; None for all.
    :param among: the ids of jobs that may run; callbacks of batches are added. None for all.
    :returns: whether that has made jobs available, and the ids of those that it has cancelled.
    """
    connection = connection_of(session)
    began = connection.scalar(_CLOCK)
    found, left = False, -1
    while True:
        done = Released(release_here.execute(connection).all())
        for ended in done.flows:
            report_end_of_flow(ended)
        found |= done.count > 0 or done.has_scheduled
        if done.left in (0, left):  # what is left waits for something else
            break
        left = done.left
    if telemetry.listened("oban.batch.stop"):
        for batch in ended_batches.execute(connection, xid=None, since=began):
            report_end_of_batch(batch)
    cancelled = cancelled_since.execute(connection, since=began, queues=queues, among=among).scalars().all()
    if found and among is not None:
        among += callbacks_after.execute(connection, id=max(among, default=0)).scalars()
    return found, cancelled


def most_with(row: Row) -> int:
    """How many more jobs run in one call with the one in `row`."""
    worker = workers.chunked.get(row.worker)
    return 0 if worker is None or worker.chunk is None else worker.chunk.size - 1


def groups_asked(row: Row) -> list[Any]:
    """Which of :class:`Batch` and :class:`Workflow` the function of a job asks for."""
    return [] if (worker := workers.get(row.worker)) is None else asked_by(worker)


def groups_of(session: Session, row: Row) -> dict[Any, object]:
    """The batch and the workflow of a job, as far as it asks for them, by their classes; for one that it has not, the
    error with which it fails on a node, too."""
    given: dict[Any, object] = {}
    for kind in groups_asked(row):
        load = GROUPS[kind]
        with Session(connection_of(session), join_transaction_mode="create_savepoint") as own:
            try:
                given[kind] = load(own, row)
            except InvalidOption as error:
                given[kind] = error
    return given
