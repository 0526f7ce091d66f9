"""Numbers of jobs in sentences."""

from __future__ import annotations


def counted_jobs(count: int) -> str:
    """``1 job``, ``1,200 jobs``."""
    return "1 job" if count == 1 else f"{count:,} jobs"
