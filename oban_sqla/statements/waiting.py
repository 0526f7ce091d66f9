"""The jobs that wait, for comparing them with the code that is to run them."""

from sqlalchemy import Executable, Text, cast, select

from ..models.job import jobs
from .statement import in_states, statement

WAITING = ("available", "scheduled", "retryable", "suspended")


@statement
def waiting_args() -> Executable:
    """Every job that waits: its id, the name of its worker, and its args as text. Many rows: to be streamed."""
    waits = in_states(jobs.c.state, *WAITING)
    return select(jobs.c.id, cast(jobs.c.worker, Text).label("worker"), cast(jobs.c.args, Text).label("args")).where(
        waits
    )
