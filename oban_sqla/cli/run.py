"""``oban-sqla run``: runs one job in the foreground."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Container

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from ..control.foreground import run_job
from ..models import use_schema
from ..oban import Oban
from ..options.sessionmakers import SessionMaker
from . import logs
from .database import checked, database_option, schema_option
from .engines import on_objects, on_url
from .ids import JobId
from .settings import settings
from .start import load_all
from .target import named_targets


class _Every(Container[str]):
    """The names of all queues."""

    def __contains__(self, _queue: object) -> bool:
        return True


@click.command(short_help="Run one job in the foreground.")
@click.argument("job_id", metavar="ID", type=JobId())
@click.argument("targets", metavar="[MODULE[:ATTRIBUTE]]...", nargs=-1)
@database_option
@schema_option
@click.option("--log-level", type=click.Choice(logs.LEVELS), help="What to log, on stderr. Default: info.")
def run(job_id: int, targets: tuple[str, ...], url: str | None, schema: str | None, log_level: str | None) -> None:
    """Import MODULE and run the job ID at once, in this process and its main thread.

    \b
      oban-sqla run 1234 app.jobs
      oban-sqla run 1234                   # the module in oban.toml

    breakpoint() in the job works. The job must wait: it runs whatever its time, its queue and the
    limits of that, and its outcome is written as by a node. No node takes it meanwhile. Its timeout
    applies, and so do the resources, hooks, keys and job_logs of your Oban. After Ctrl-C it is
    available again. The exit code is 0 if it completed or snoozed, else 1.
    """
    file = settings()
    logs.configure(log_level or file.value("log_level") or "info")
    named = named_targets(targets, file, "the @job function, as in `oban-sqla run 1234 app.jobs`")
    if schema is not None:
        use_schema(schema)
    loaded, _ = load_all(named)
    engine: AsyncEngine
    makers: list[SessionMaker]
    if isinstance(loaded, Oban):
        engine, makers = loaded.engine, list(loaded.config.sessionmaker)
    else:
        engine, makers = on_objects(loaded) if loaded else on_url(url, _Every(), 1)
    runtime = loaded if isinstance(loaded, Oban) else None
    state = asyncio.run(_run(engine, tuple(makers), job_id, runtime, schema))
    click.echo(f"job {job_id} is {state}")
    sys.exit(0 if state in ("completed", "scheduled", "deleted") else 1)


async def _run(
    engine: AsyncEngine, makers: tuple[SessionMaker, ...], job_id: int, runtime: Oban | None, schema: str | None
) -> str:
    try:
        await checked(engine, schema)
        return await run_job(engine, makers, job_id, None if runtime is None else runtime.config, runtime)
    finally:
        await engine.dispose()
