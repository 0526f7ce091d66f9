"""The index of a place in the JSON of jobs, for `job_relationship` and for queries of users."""

from __future__ import annotations

from ..options.job_path import JobPath
from .live import drop_invalid


def create(prefix: str, path: JobPath, *, concurrently: bool) -> list[str]:
    """The statements that index a path.

    The index is partial, so that jobs without the key cost nothing. The planner does not use a partial index's own
    statistics for joins, and would read the whole table: hence the statistics beside it.
    """
    how = "CONCURRENTLY IF NOT EXISTS" if concurrently else "IF NOT EXISTS"
    index, statistics = f"{path.name}_index", f"{path.name}_stats"
    return [
        drop_invalid(prefix, [index], in_transaction=not concurrently),
        f"CREATE INDEX {how} {index} ON {prefix}oban_jobs (({path.sql})) WHERE ({path.sql}) IS NOT NULL",
        f"CREATE STATISTICS IF NOT EXISTS {prefix}{statistics} ON ({path.sql}) FROM {prefix}oban_jobs",
        f"ANALYZE {prefix}oban_jobs",
    ]


def drop(prefix: str, path: JobPath, *, concurrently: bool) -> list[str]:
    """The statements that take them away again."""
    how = "CONCURRENTLY IF EXISTS" if concurrently else "IF EXISTS"
    return [
        f"DROP STATISTICS IF EXISTS {prefix}{path.name}_stats",
        f"DROP INDEX {how} {prefix}{path.name}_index",
    ]
