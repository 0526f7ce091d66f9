"""What lets no other job of a chain begin: a job whose turn it is, or a discarded one that holds the chain."""

from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal_column

from ..models.job import jobs
from .statement import in_states, state


def holds_chain(of: Any = jobs) -> ColumnElement[bool]:
    """Whether a chain waits until this job is retried, deleted or cancelled; false for a job that is in none.

    :param of: the table of jobs, or an alias of it. Default: the table.
    """
    return func.coalesce(is_holding(of), literal_column("false"))


def is_holding(of: Any = jobs) -> ColumnElement[bool]:
    """The same beside a condition that the job is in a chain; null for one that is in none.

    :param of: the table of jobs, or an alias of it. Default: the table.
    """
    return and_(
        of.c.state == state("discarded"), func.left(of.c.chain_key, literal_column("2")) == literal_column("'h|'")
    )


def has_turn(of: Any = jobs) -> ColumnElement[bool]:
    """Whether this job of a chain has its turn, and has not ended.

    :param of: the table of jobs, or an alias of it. Default: the table.
    """
    return in_states(of.c.state, "available", "scheduled", "retryable", "executing")
