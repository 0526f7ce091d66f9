"""Relationships of mapped classes to jobs: whether each has the index that it needs."""

from __future__ import annotations

from collections.abc import Iterator

from ...models.relationship import related_paths
from ...statements.indexes import built_indexes
from .database import Database
from .finding import Finding, ok, warning


def relationships(database: Database) -> Iterator[Finding]:
    """The indexes of each ``job_relationship`` that this process knows."""
    paths = {f"{path.name}_index": path for path in related_paths()}
    there = set(built_indexes.execute(database.connection, names=[*paths]).scalars()) if paths else set[str]()
    findings = [
        warning(
            f"job_relationship({paths[name].text!r}) has no index",
            "loading it, and a condition on it, read the whole table of jobs",
            f"add to a revision of Alembic: migrations.index_jobs(op, {paths[name].text!r}, concurrently=True)",
        )
        for name in sorted(paths.keys() - there)
    ]
    count = f"{len(paths)} paths" if len(paths) != 1 else "1 path"
    yield from findings or [
        ok(f"{count} of job_relationship known here, with an index each" if paths else "no job_relationship known here")
    ]
