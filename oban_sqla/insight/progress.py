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
    """The progress of those of the jobs `ids` that have told any."""
    rows = await session.execute(select(Job.id, Job.progress).where(Job.id.in_(list(ids)), Job.progress.is_not(None)))
    return {job_id: said for job_id, said in rows if said is not None}


def words(progress: Progress) -> str:
    """``3 of 12 (25%), reading``: in one line."""
    done = f"{progress.done:,}"
    if (fraction := progress.fraction) is not None:
        done += f" of {progress.total:,} ({fraction:.0%})"
    return done if progress.note is None else f"{done}, {' '.join(progress.note.split())}"


def bar(progress: Progress) -> str:
    """``[#####---------------]``; empty where the job did not say how much there is to do."""
    if (fraction := progress.fraction) is None:
        return ""
    filled = round(fraction * WIDTH)
    return f"[{'#' * filled}{'-' * (WIDTH - filled)}]"


def share(progress: Progress | None) -> str:
    """``25%``, or what is done where there is no total; empty for a job that told nothing."""
    if progress is None:
        return ""
    return f"{progress.done:,}" if progress.fraction is None else f"{progress.fraction:.0%}"
