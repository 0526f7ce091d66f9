"""Whether the code can still run the waiting jobs: workers may be renamed, and parameters may have changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import InvalidArgs, InvalidOption, KeyMissing, closest
from ..statements.waiting import waiting_args
from ..workers.loosened import loosened
from ..workers.registry import workers

CHUNK = 2_000
"""Rows that are fetched at once."""
MOST_IDS = 10
"""Most ids of a misfit."""


@dataclass(slots=True)
class Misfit:
    """Waiting jobs of one worker that the code can't run, for one reason.

    :ivar worker: the name of the worker in their rows.
    :ivar reason: why they can't run, and what to do.
    :ivar jobs: how many there are.
    :ivar ids: the ids of the first :data:`MOST_IDS`.
    """

    worker: str
    reason: str
    jobs: int = 0
    ids: list[int] = field(default_factory=list[int])

    def as_dict(self) -> dict[str, Any]:
        """The misfit as a dict that ``json.dumps`` accepts."""
        return {"worker": self.worker, "reason": self.reason, "jobs": self.jobs, "ids": self.ids}


@dataclass(frozen=True, slots=True)
class Queued:
    """The waiting jobs, compared with the workers that are registered in this process.

    :ivar jobs: how many jobs were read.
    :ivar misfits: the jobs that can't run, in groups; the largest group first.
    """

    jobs: int
    misfits: tuple[Misfit, ...]


def compare(connection: Connection) -> Queued:
    """Validate the arguments of every waiting job. This reads the whole table once."""
    found: dict[tuple[str, str], Misfit] = {}
    count = 0
    with connection.execute(waiting_args.core, execution_options={"yield_per": CHUNK}) as rows:
        for row in rows:
            count += 1
            if (reason := _misfit(row.worker, row.args, row.results)) is None:
                continue
            misfit = found.setdefault((row.worker, reason), Misfit(row.worker, reason))
            misfit.jobs += 1
            misfit.ids = sorted([*misfit.ids, row.id])[:MOST_IDS]
    return Queued(count, tuple(sorted(found.values(), key=lambda one: (-one.jobs, one.worker, one.reason))))


async def check(engine: AsyncEngine) -> Queued:
    """Compare the waiting jobs in the database of `engine` with the workers of this process."""
    async with engine.connect() as connection:
        return await connection.run_sync(compare)


def _misfit(name: str, args: str, results: Sequence[str] | None) -> str | None:
    """Why a job can't run; None when it can.

    :param results: the arguments that are results of other jobs.
    """
    worker = workers.get(name)
    if worker is None:
        near = closest(name, workers)
        advice = f"; did you mean {near!r}? give that one aliases=[{name!r}]" if near else ""
        return f"no worker of this name is registered{advice}"
    if worker.arguments is None:
        return None  # a class reads the args itself
    try:
        if not results:
            worker.load(args)
        elif worker.upcast is None:  # an upcast would get null in place of a result
            loosened(worker.arguments, frozenset(results)).load_json(args)
    except (InvalidArgs, InvalidOption, KeyMissing) as error:
        return str(error)
    except Exception as error:  # raised by upcast, a function of the user
        return f"{worker.name}: upcast raises {type(error).__name__}: {error}"
    return None
