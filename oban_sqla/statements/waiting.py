"""The jobs that wait, for comparing them with the code that is to run them."""

from sqlalchemy import Executable, Text, case, cast, func, literal_column, select, true
from sqlalchemy.dialects.postgresql import JSONB

from ..models.dependency import deps
from ..models.job import jobs
from .statement import in_states, state, statement

WAITING = ("available", "scheduled", "retryable", "suspended")


@statement
def waiting_args() -> Executable:
    """Every job that waits: its id, the name of its worker, its args as text, and the names of those that are null
    until another job has given its result. Many rows: to be streamed."""
    pair = func.jsonb_array_elements(deps.c.refs).table_valued("value").render_derived().alias("pair")
    first = cast(pair.c.value, JSONB).op("#>>")(literal_column("'{0,0}'"))
    of_job = deps.c.job_id == jobs.c.id
    results = select(func.array_agg(first)).select_from(deps.join(pair, true())).where(of_job).correlate(jobs)
    is_unfilled = (jobs.c.state == state("suspended")) & jobs.c.remaining.is_not(None)
    return select(
        jobs.c.id,
        cast(jobs.c.worker, Text).label("worker"),
        cast(jobs.c.args, Text).label("args"),
        case((is_unfilled, results.scalar_subquery())).label("results"),
    ).where(in_states(jobs.c.state, *WAITING))
