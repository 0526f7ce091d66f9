"""``oban-sqla cron``: the crontab of the cluster, read and edited."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, TypeVar, cast

import click
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import Unpack

from ..control.crons import Crons, unknown_entry
from ..errors import InvalidOption
from ..models import CronEntry, JobSpec
from ..runtime.duties.scheduler import LIFETIME
from .database import database_option, on_database, schema_option
from .groups import Listing
from .output import json_option, print_json, print_table

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

REBOOT = "when a node started later leads"


class Where(TypedDict):
    """The options that every command here has."""

    url: str | None
    schema: str | None
    as_json: bool


def _where(command: F) -> F:
    return database_option(schema_option(json_option(command)))


_name_argument = click.argument("name")


class Args(click.ParamType[dict[str, Any]]):
    """A JSON object."""

    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        try:
            read: Any = json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{value!r} is no JSON: {error}", param, ctx)
        if not isinstance(read, dict):
            self.fail(f"expected a JSON object such as '{{\"days\": 7}}', got {value}", param, ctx)
        return read  # pyright: ignore[reportUnknownVariableType]


@click.group(cls=Listing, short_help="See the crontab, and edit it.")
def cron() -> None:
    """See what is due again and again, and edit it, for the whole cluster.

    \b
    The entries, and when each is due:
      oban-sqla cron
      oban-sqla cron next nightly -n 10
    Beside its times, and not at all:
      oban-sqla cron run nightly
      oban-sqla cron pause nightly
    An entry of your own, or another time for one:
      oban-sqla cron put nightly "0 3 * * *" app.reports.build \\
          --args '{"days": 7}' --timezone Europe/Paris
    """


@cron.command("list", short_help="All entries (the default).")
@_where
def list_entries(**where: Unpack[Where]) -> None:
    """List the entries of the crontab. Times are UTC.

    \b
      oban-sqla cron
      oban-sqla cron list --json

    \b
    state  active; paused; resting: no running node has it in its code any more
    last   the planned time of the last job that it made
    next   when it is due; @reboot has no such time
    """
    entries = _on_crons(where, Crons.all)
    now = datetime.now(UTC)
    if where["as_json"]:
        print_json([_as_dict(entry, now) for entry in entries])
        return
    columns = ("name", "expression", "timezone", "worker", "state", "last", "next")
    rows = (
        (
            entry.name,
            entry.expression,
            entry.timezone,
            _worker(entry),
            _state(entry, now),
            entry.last_tick,
            _next(entry, now),
        )
        for entry in entries
    )
    print_table(columns, rows, "the crontab is empty")


@cron.command("next", short_help="When an entry is due.")
@_name_argument
@click.option("-n", "--count", type=click.IntRange(1, 1_000), default=5, show_default=True, help="How many times.")
@_where
def next_times(name: str, count: int, **where: Unpack[Where]) -> None:
    """Print the next instants at which an entry is due, in UTC, also while it rests.

    \b
      oban-sqla cron next nightly -n 10
    """
    entry = _on_crons(where, lambda crons: _entry(crons, name))
    times: list[datetime] = []
    tick = entry.next(datetime.now(UTC))
    while tick is not None and len(times) < count:
        times.append(tick)
        tick = entry.next(tick)
    if where["as_json"]:
        print_json(times)
        return
    print_table(["due"], ([time] for time in times), f"{name} ({entry.expression}): no time; {REBOOT}")


@cron.command(short_help="Enqueue an entry's job now.")
@_name_argument
@_where
def run(name: str, **where: Unpack[Where]) -> None:
    """Enqueue the job of an entry now, beside its times; a paused entry's too.

    \b
      oban-sqla cron run nightly
    """
    spec = _on_crons(where, lambda crons: crons.run_now(name))
    if where["as_json"]:
        print_json({"id": spec.id, "state": spec.state, "conflict": spec.conflict})
        return
    known = "is there already, and it is unique" if spec.conflict else f"is {spec.state}"
    click.echo(f"job {spec.id} of {name!r} ({spec.worker}, queue {spec.queue}) {known}")


@cron.command(short_help="Let an entry rest.")
@_name_argument
@_where
def pause(name: str, **where: Unpack[Where]) -> None:
    """Let an entry rest, also over restarts, until it is resumed.

    \b
      oban-sqla cron pause nightly
    """
    _changed(where, name, lambda crons: crons.pause(name), "is paused")


@cron.command(short_help="The end of a pause.")
@_name_argument
@_where
def resume(name: str, **where: Unpack[Where]) -> None:
    """Let an entry be due again. What it missed meanwhile is not made up for.

    \b
      oban-sqla cron resume nightly
    """
    _changed(where, name, lambda crons: crons.resume(name), "is active")


@cron.command(short_help="Remove an entry.")
@_name_argument
@_where
def delete(name: str, **where: Unpack[Where]) -> None:
    """Remove an entry. One that is in the code comes back at the next start of a node: pause it instead.

    \b
      oban-sqla cron delete nightly
    """

    async def remove(crons: Crons) -> CronEntry:
        entry = await _entry(crons, name)
        await crons.delete(name)
        return entry

    entry = _on_crons(where, remove)
    in_code = entry.declared_at is not None
    if where["as_json"]:
        print_json({"name": name, "deleted": True, "in_code": in_code})
        return
    again = "; it stands in code, so it comes back when a node that has it starts" if in_code else ""
    click.echo(f"{name!r} is deleted{again}")


@cron.command(short_help="Add an entry, or replace it.")
@_name_argument
@click.argument("expression")
@click.argument("worker")
@click.option("--args", "args", type=Args(), help="The job's args, an object. Default: none.")
@click.option("--timezone", default="UTC", show_default=True, help="Of the expression, such as Europe/Paris.")
@click.option("--queue", metavar="NAME", help="Default: default.")
@click.option("--priority", type=int, help="From 0, first, to 9. Default: 0.")
@click.option("--max-attempts", type=int, help="Default: 20.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="May be given several times.")
@click.option("--paused", is_flag=True, help="Let it rest until it is resumed.")
@click.option("--catch-up", is_flag=True, help="Run the last time that no node was up for.")
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
    """Add an entry, or replace the one of that name; no start of a node changes it again.

    \b
      oban-sqla cron put nightly "0 3 * * *" app.reports.build
      oban-sqla cron put nightly @daily app.reports.build --queue slow

    WORKER is only a name here: nothing is imported, so neither it nor its args are checked, and options that the
    worker has in its code (its queue, its attempts) have to be given again.
    """
    spec = JobSpec(worker, args, queue=queue, priority=priority, max_attempts=max_attempts, tags=tags or None)

    async def write(crons: Crons) -> None:
        await crons.put(name, expression, spec, timezone=timezone, paused=paused, catch_up=catch_up)

    _changed(where, name, write, "is paused" if paused else "is active")


def _changed(where: Where, name: str, change: Callable[[Crons], Awaitable[None]], now_it: str) -> None:
    """Change an entry, and say how it is now."""

    async def work(crons: Crons) -> CronEntry:
        await change(crons)
        return await _entry(crons, name)

    entry, now = _on_crons(where, work), datetime.now(UTC)
    if where["as_json"]:
        print_json(_as_dict(entry, now))
        return
    due = _next(entry, now)
    click.echo(f"{name!r} {now_it}" + ("" if due is None else f"; next at {due:%Y-%m-%d %H:%M:%S} UTC"))


def _on_crons(where: Where, work: Callable[[Crons], Awaitable[T]]) -> T:
    async def run(engine: AsyncEngine) -> T:
        return await work(Crons(engine))

    return on_database(where["url"], where["schema"], run)


async def _entry(crons: Crons, name: str) -> CronEntry:
    """The entry of that name.

    :raises InvalidOption: when there is none.
    """
    entries = {entry.name: entry for entry in await crons.all()}
    if name not in entries:
        raise unknown_entry(name, list(entries))
    return entries[name]


def _state(entry: CronEntry, now: datetime) -> str:
    if entry.paused:
        return "paused"
    if entry.declared_at is not None and entry.declared_at < now - timedelta(seconds=LIFETIME):
        return "resting"
    return "active"


def _worker(entry: CronEntry) -> object:
    """The worker's name; None where a stranger left it out."""
    spec: object = entry.spec
    return cast(dict[str, object], spec).get("worker") if isinstance(spec, dict) else None


def _next(entry: CronEntry, now: datetime) -> datetime | None:
    """When an active entry is due; None also for an expression that a stranger wrote and nobody can read."""
    if _state(entry, now) != "active":
        return None
    try:
        return entry.next(now)
    except InvalidOption:
        return None


def _as_dict(entry: CronEntry, now: datetime) -> dict[str, Any]:
    return {
        "name": entry.name,
        "expression": entry.expression,
        "timezone": entry.timezone,
        "worker": _worker(entry),
        "spec": entry.spec,
        "state": _state(entry, now),
        "paused": entry.paused,
        "catch_up": entry.catch_up,
        "in_code": entry.declared_at is not None,
        "last_tick": entry.last_tick,
        "next_tick": _next(entry, now),
    }
