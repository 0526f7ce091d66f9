"""``oban-sqla jobs add``: enqueue a job."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ...control.audit import audited, note, operator
from ...enqueueing.enqueue import enqueue
from ...errors import UnknownWorker, closest
from ...models import JobSpec
from ...workers.registry import workers
from ..database import database_option, on_database, schema_option
from ..json_values import Args
from ..output import json_option, print_json
from ..ranges import Number, Whole
from ..settings import settings
from ..target import load


@click.command(short_help="Enqueue a job.")
@click.argument("worker")
@click.option("--args", type=Args(), default="{}", help="The arguments. Default: {}.")
@click.option(
    "--module",
    metavar="MODULE",
    help="Import this module, and check the arguments by its worker. Default: the one in oban.toml, if any.",
)
@click.option("--queue", metavar="NAME", help="Default: the worker's, with a module; else default.")
@click.option("--priority", type=Whole(0, 9), help="0 is first, 9 is last.")
@click.option("--max-attempts", type=Whole(1, 32_767), help="Attempts before the job is discarded.")
@click.option("--schedule-in", type=Number(min=0), metavar="SECONDS", help="Run it later.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="May be given several times.")
@database_option
@schema_option
@json_option
def add(
    worker: str, args: dict[str, Any], module: str | None, url: str | None, schema: str | None, as_json: bool,
    **given: Any,
) -> None:  # fmt: skip
    """Enqueue a job of WORKER.

    \b
      oban-sqla jobs add app.jobs.send_welcome --args '{"user_id": 7}'
      oban-sqla jobs add app.jobs.report --module app.jobs --schedule-in 60

    Without a module, here or in oban.toml, nothing is imported: the arguments are checked only when
    the job runs, and the options that the worker has in its code do not apply.
    """
    options: dict[str, Any] = {name: value for name, value in given.items() if value not in (None, ())}
    spec = JobSpec(_registered(worker, module), args, **options)

    async def work(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session, session.begin():
            await enqueue(session, spec)
            with audited(operator(), "enqueue", {"worker": spec.worker, "queue": spec.queue}):
                await session.run_sync(lambda sync: note(sync.connection(), int(not spec.conflict)))

    on_database(url, schema, work)
    if as_json:
        fields = {"id": spec.id, "worker": spec.worker, "queue": spec.queue, "state": spec.state}
        print_json({**fields, "conflict": spec.conflict})
    elif spec.conflict:
        click.echo(f"job {spec.id} is the same: it is unique, and was enqueued before")
    else:
        click.echo(f"job {spec.id} is {spec.state} in queue {spec.queue}")


def _registered(worker: str, module: str | None) -> Any:
    """The worker with this name, from `module` or else from the module of the settings; the name itself without one."""
    named: tuple[str, ...] = settings().value("module") or () if module is None else (module,)
    if not named:
        click.echo(f"Nothing is checked, because no module is given that defines {worker}: --module", err=True)
        return worker
    for one in named:
        load(one)
    if (found := workers.get(worker)) is not None:
        return found
    near = closest(worker, workers)
    hint = f"did you mean {near!r}?" if near else f"it registers {', '.join(workers) or 'no workers'}"
    said = f"{', '.join(named)} registers no worker named {worker!r}; {hint}"
    if module is not None:
        raise UnknownWorker(said)
    # It may be a worker of another program, which has its own settings.
    click.echo(f"The arguments are not checked: {said}", err=True)
    return worker
