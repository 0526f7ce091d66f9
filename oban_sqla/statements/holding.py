"""Chains that a discarded job holds."""

from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal_column

from ..models.job import jobs
from .statement import state


def holds_chain(of: Any = jobs) -> ColumnElement[bool]:
    """Whether a chain waits until this job is retried, deleted or cancelled.

    :param of: the table of jobs, or an alias of it. Default: the table.
    """
    held = func.left(of.c.chain_key, literal_column("2")) == literal_column("'h|'")
    return func.coalesce(and_(of.c.state == state("discarded"), held), literal_column("false"))
