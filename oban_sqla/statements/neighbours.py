"""The jobs that belong together with a job: of its workflow, its batch, its chain, or its entry of the crontab."""

from __future__ import annotations

from typing import Any
from typing import cast as cast_to

from sqlalchemy import BigInteger, ColumnElement, Executable, Select, Text, cast, literal_column, select
from sqlalchemy import literal as value

from ..models.job import jobs
from .statement import parameter, statement

CRON_NAME: ColumnElement[str] = jobs.c.meta.op("->>", return_type=Text())(literal_column("'cron_name'"))


@statement
def groups_of() -> Executable:
    """To what the job `id` belongs: the ids of its workflow and batch, and the name of its entry of the crontab."""
    columns = (jobs.c.workflow_id, jobs.c.batch_id, jobs.c.chain_key, CRON_NAME.label("cron_name"))
    return select(*columns).where(jobs.c.id == parameter("id", BigInteger))


def members(name: str, of: object, limit: int) -> Select[Any]:
    """The newest jobs of a group, at most `limit`: id, worker, state.

    :param name: ``"workflow_id"``, ``"batch_id"`` or ``"cron_name"``.
    """
    is_one: ColumnElement[bool]
    if name == "cron_name":
        is_one = jobs.c.meta.bool_op("?")(literal_column("'cron_name'")) & (value(of, Text()) == CRON_NAME)
    else:
        is_one = jobs.c[name] == value(of, BigInteger())
    columns: list[Any] = [jobs.c.id, cast(jobs.c.worker, Text).label("worker"), cast(jobs.c.state, Text).label("state")]
    query = cast_to("Select[Any]", select(*columns))
    return query.where(is_one).order_by(jobs.c.id.desc()).limit(limit)
