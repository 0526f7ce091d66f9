"""How far jobs have come, in words and as a bar."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..models import Job
from ..models.progress import Progress

WIDTH = 20
"""Characters of a bar."""


async def progress_of(session: AsyncSession, ids: Iterable[int]) -> dict[int, Progress]:
    """The progress of the jobs `ids`, by id; jobs that have told none are missing."""
    rows = await session.execute(select(Job.id, Job.progress).where(Job.id.in_(list(ids)), Job.progress.is_not(None)))
    return {job_id: said for job_id, said in rows if said is not None}


def words(progress: Progress) -> str:
    """The progress in one line: ``3 of 12 (25%), reading``."""
    done = f"{progress.done:,}"
    if (fraction := progress.fraction) is not None:
        done += f" of {progress.total:,} ({fraction:.0%})"
    return done if progress.note is None else f"{done}, {' '.join(progress.note.split())}"


def bar(progress: Progress) -> str:
    """``[#####---------------]``; empty when the job has told no total."""
    if (fraction := progress.fraction) is None:
        return ""
    filled = round(fraction * WIDTH)
    return f"[{'#' * filled}{'-' * (WIDTH - filled)}]"


def share(progress: Progress | None) -> str:
    """``25%``, or the number that is done when there is no total; empty for a job without progress."""
    if progress is None:
        return ""
    return f"{progress.done:,}" if progress.fraction is None else f"{progress.fraction:.0%}"
