"""Giving back: jobs that nobody runs become available again."""

from sqlalchemy import BigInteger, Executable, func, select, update

from ..models.job import jobs
from .ack import PRODUCER
from .statement import array, ids, parameter, state, statement


@statement
def reconcile() -> Executable:
    """Jobs executing under `producer` that it does not hold: it never heard of having fetched them.

    Their attempt is given back. Returns their ids.
    """
    lost = (
        select(jobs.c.id)
        .where(
            jobs.c.state == state("executing"),
            jobs.c.queue == parameter("queue"),
            jobs.c.attempted_by[PRODUCER] == parameter("producer"),
            jobs.c.id != func.all(array("held", BigInteger)),
        )
        .with_for_update(skip_locked=True)
    )
    back = {jobs.c.state: state("available"), jobs.c.attempt: func.greatest(jobs.c.attempt - 1, 0)}
    still = (jobs.c.id == func.any(ids(lost))) & (jobs.c.state == state("executing"))
    return update(jobs).where(still).values(back).returning(jobs.c.id)
