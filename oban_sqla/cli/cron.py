"""``oban-sqla cron``: the crontab of the cluster, read and edited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypedDict, TypeVar

import click
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import Unpack

from ..control.audit import audited, operator
from ..control.crons import Crons
from ..insight.crons import CronInfo, describe, find, ticks
from ..models import CronEntry, JobSpec
from .database import database_option, on_database, schema_option
from .groups import ListByDefault
from .json_values import Args
from .output import json_option, print_json, print_table
from .ranges import Whole

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

REBOOT = "due when a node that starts later leads"


class Where(TypedDict):
    """The options that all commands of this group have."""

    url: str | None
    schema: str | None
    as_json: bool


def _where(command: F) -> F:
    return database_option(schema_option(json_option(command)))


_name_argument = click.argument("name")


@click.group(cls=ListByDefault, short_help="Show and edit the crontab.")
def cron() -> None:
    """Show and edit the crontab of the cluster.

    \b
    List the entries, and print when one is due:
      oban-sqla cron
      oban-sqla cron next nightly -n 10
    Enqueue the job of an entry now, and pause an entry:
      oban-sqla cron run nightly
      oban-sqla cron pause nightly
    Add an entry, or replace one:
      oban-sqla cron put nightly "0 3 * * *" app.reports.build \\
          --args '{"days": 7}' --timezone Europe/Paris
    """


@cron.command("list", short_help="List all entries (the default).")
@_where
def list_entries(**where: Unpack[Where]) -> None:
    """List the entries of the crontab. Times are UTC.

    \b
      oban-sqla cron
      oban-sqla cron list --json

    \b
    state  active; paused; or resting: inactive, because no running node has it in its code
    last   the planned time of its last job
    next   when it is due; @reboot has no such time
    """
    now = datetime.now(UTC)
    entries = [describe(entry, now) for entry in _on_crons(where, Crons.all)]
    if where["as_json"]:
        print_json([entry.as_dict() for entry in entries])
        return
    columns = ("name", "expression", "timezone", "worker", "state", "last", "next")
    rows = (
        (
            entry.name,
            entry.expression,
            entry.timezone,
            entry.worker,
            entry.state,
            entry.last_tick,
            entry.next_tick,
        )
        for entry in entries
    )
    print_table(columns, rows, "the crontab is empty")


@cron.command("next", short_help="Print when an entry is due.")
@_name_argument
@click.option("-n", "--count", type=Whole(1, 1_000), default=5, show_default=True, help="How many times to print.")
@_where
def next_times(name: str, count: int, **where: Unpack[Where]) -> None:
    """Print the next times at which an entry is due, in UTC, also when it is paused.

    \b
      oban-sqla cron next nightly -n 10
    """
    entry = _on_crons(where, lambda crons: _entry(crons, name))
    times = ticks(entry, datetime.now(UTC), count)
    if where["as_json"]:
        print_json(times)
        return
    print_table(["due"], ([time] for time in times), f"{name} ({entry.expression}): no fixed time; {REBOOT}")


@cron.command(short_help="Enqueue an entry's job now.")
@_name_argument
@_where
def run(name: str, **where: Unpack[Where]) -> None:
    """Enqueue the job of an entry now, in addition to its times. Works for a paused entry, too.

    \b
      oban-sqla cron run nightly
    """
    spec = _on_crons(where, lambda crons: crons.run_now(name), "run", name)
    if where["as_json"]:
        print_json({"id": spec.id, "state": spec.state, "conflict": spec.conflict})
        return
    outcome = "is unique, and exists already" if spec.conflict else f"is {spec.state}"
    click.echo(f"job {spec.id} of {name!r} ({spec.worker}, queue {spec.queue}) {outcome}")


@cron.command(short_help="Pause an entry.")
@_name_argument
@_where
def pause(name: str, **where: Unpack[Where]) -> None:
    """Pause an entry until it is resumed. The pause outlasts restarts.

    \b
      oban-sqla cron pause nightly
    """
    _changed(where, name, "pause", lambda crons: crons.pause(name))


@cron.command(short_help="Resume an entry.")
@_name_argument
@_where
def resume(name: str, **where: Unpack[Where]) -> None:
    """Resume a paused entry. Times that it missed meanwhile are not made up for.

    \b
      oban-sqla cron resume nightly
    """
    _changed(where, name, "resume", lambda crons: crons.resume(name))


@cron.command(short_help="Delete an entry.")
@_name_argument
@_where
def delete(name: str, **where: Unpack[Where]) -> None:
    """Delete an entry. An entry in the code comes back when a node starts: pause it instead.

    \b
      oban-sqla cron delete nightly
    """

    async def remove(crons: Crons) -> CronEntry:
        entry = await _entry(crons, name)
        await crons.delete(name)
        return entry

    entry = _on_crons(where, remove, "delete", name)
    in_code = entry.declared_at is not None
    if where["as_json"]:
        print_json({"name": name, "deleted": True, "in_code": in_code})
        return
    again = "; it is in the code of a node, so it comes back when such a node starts" if in_code else ""
    click.echo(f"{name!r} is deleted{again}")


@cron.command(short_help="Add or replace an entry.")
@_name_argument
@click.argument("expression")
@click.argument("worker")
@click.option("--args", "args", type=Args(), help="The args of the job, a JSON object. Default: none.")
@click.option("--timezone", default="UTC", show_default=True, help="Time zone of the expression, such as Europe/Paris.")
@click.option("--queue", metavar="NAME", help="Queue of the job. Default: default.")
@click.option("--priority", type=int, help="Priority of the job, 0 (first) to 9. Default: 0.")
@click.option("--max-attempts", type=int, help="Attempts of the job. Default: 20.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag of the job. May be repeated.")
@click.option("--paused", is_flag=True, help="Add it as paused.")
@click.option("--catch-up", is_flag=True, help="Run the last missed time when a node is up again.")
@_where
def put(
    name: str,
    expression: str,
    worker: str,
    args: dict[str, Any] | None,
    timezone: str,
    queue: str | None,
    priority: int | None,
    max_attempts: int | None,
    tags: tuple[str, ...],
    paused: bool,
    catch_up: bool,
    **where: Unpack[Where],
) -> None:
    """Add an entry, or replace the entry of that name. Starting nodes don't change it any more.

    \b
      oban-sqla cron put nightly "0 3 * * *" app.reports.build
      oban-sqla cron put nightly @daily app.reports.build --queue slow

    WORKER is only a name here: nothing is imported. So neither the worker nor its args are checked,
    and options that the worker has in its code (queue, attempts) have to be given again.
    """
    spec = JobSpec(worker, args, queue=queue, priority=priority, max_attempts=max_attempts, tags=tags or None)

    async def write(crons: Crons) -> None:
        await crons.put(name, expression, spec, timezone=timezone, paused=paused, catch_up=catch_up)

    _changed(where, name, "put", write)


def _changed(where: Where, name: str, verb: str, change: Callable[[Crons], Awaitable[None]]) -> None:
    """Change an entry, and print its new state."""

    async def work(crons: Crons) -> CronEntry:
        await change(crons)
        return await _entry(crons, name)

    entry: CronInfo = describe(_on_crons(where, work, verb, name), datetime.now(UTC))
    if where["as_json"]:
        print_json(entry.as_dict())
        return
    due = "" if entry.next_tick is None else f"; next at {entry.next_tick:%Y-%m-%d %H:%M:%S} UTC"
    why = ": no running node has it in its code" if entry.state == "resting" else ""
    click.echo(f"{name!r} is {entry.state}{why}{due}")


def _on_crons(where: Where, work: Callable[[Crons], Awaitable[T]], verb: str = "", name: str = "") -> T:
    """What `work` returns for the crontab.

    :param verb: the change, for the audit. Default: nothing is changed.
    :param name: the entry that is changed.
    """

    async def run(engine: AsyncEngine) -> T:
        if not verb:
            return await work(Crons(engine))
        with audited(operator(), f"cron.{verb}", {"cron": name}):
            return await work(Crons(engine))

    return on_database(where["url"], where["schema"], run)


async def _entry(crons: Crons, name: str) -> CronEntry:
    """The entry with this name.

    :raises InvalidOption: when there is none.
    """
    return find(await crons.all(), name)
