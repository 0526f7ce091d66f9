"""``oban-sqla queues``: show the queues of the cluster, and change them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypedDict, TypeVar

import click
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import Unpack

from ..control.audit import audited, operator
from ..errors import InvalidOption, unknown
from ..insight.limits import KeyUsage
from ..insight.overview import Overview, QueueOverview
from ..insight.overview import read as read_overview
from ..insight.queues import Member
from ..insight.roster import nodes
from ..insight.roster import read as read_roster
from ..insight.words import listed, span
from ..oban import Oban
from ..options.limits import Partition, partition_of, rate_limit_of
from ..options.whole import whole_from
from ..statements.census import census, census_of_all
from ..statements.statement import Statement
from .database import database_option, on_database, schema_option
from .groups import ListByDefault
from .instance import instance_option
from .output import json_option, print_json, print_table
from .ranges import Whole
from .settings import heartbeat
from .settings.toml import inline

F = TypeVar("F", bound=Callable[..., Any])

LIFTED = "none"
"""The word that lifts a limit of the cluster."""
COUNTED = ("available", "scheduled", "retryable", "executing")
"""The states that are always counted."""
OTHERS = ("suspended", "completed", "cancelled", "discarded")
"""The states that only ``--all`` counts."""


class Where(TypedDict):
    """The options that all commands of this group have."""

    instance: str
    url: str | None
    schema: str | None
    as_json: bool


def _where(command: F) -> F:
    return database_option(schema_option(instance_option(json_option(command))))


def _node_option(command: F) -> F:
    return click.option("--node", metavar="NAME", help="Only on this node. Default: all nodes.")(command)


_queue_argument = click.argument("queue", metavar="NAME")


def _queue_or_all(command: F) -> F:
    every = click.option("--all", "everything", is_flag=True, help="Every queue of the cluster, instead of NAME.")
    return click.argument("queue", metavar="[NAME]", required=False)(every(command))


@click.group(cls=ListByDefault, short_help="Show, pause, scale, start or stop queues.")
def queues() -> None:
    """Show, pause, scale, start or stop queues, on all nodes or on one.

    \b
    Show queues; "queues list --help" explains the columns:
      oban-sqla queues
      oban-sqla queues show media
    Change queues; a change takes effect at once, and outlasts restarts:
      oban-sqla queues pause media
      oban-sqla queues resume media
      oban-sqla queues pause --all
      oban-sqla queues scale media 50 --node worker.1
      oban-sqla queues start late --limit 5
      oban-sqla queues stop late
    """


@queues.command("list", short_help="List all queues (the default).")
@click.option(
    "--all", "everything", is_flag=True, help="Count finished and suspended jobs, too. Reads the whole table."
)
@_where
def list_queues(everything: bool, **where: Unpack[Where]) -> None:
    """List all queues that have jobs or nodes, or that were paused, scaled, started or stopped.

    \b
      oban-sqla queues
      oban-sqla queues list --all --json

    \b
    limit   how many jobs run at once, on all live nodes together
    state   running, paused, partly paused (on some nodes), stopped, or not run: no live node has it
    oldest  for how long the oldest available job has been due
    limits  those of the whole cluster, and how far they are used; only where a queue has any
    """
    overview = _read(where, census_of_all if everything else census)
    states = COUNTED + OTHERS if everything else COUNTED
    if where["as_json"]:
        print_json([_as_dict(queue, states) for queue in overview.queues])
        return
    limited = any(queue.usage for queue in overview.queues)
    columns = ("queue", *states, "limit", "nodes", "state", "oldest", *(["limits"] if limited else []))
    rows = (
        (
            queue.queue,
            *(queue.jobs.get(state, 0) for state in states),
            queue.limit,
            len(nodes(queue.members)),
            queue.state,
            _length(queue.oldest),
            *([queue.usage.text if queue.usage else ""] if limited else []),
        )
        for queue in overview.queues
    )
    print_table(columns, rows, "there are no queues with jobs or nodes")


@queues.command(short_help="Show one queue, node by node.")
@_queue_argument
@_where
def show(queue: str, **where: Unpack[Where]) -> None:
    """Show one queue, node by node.

    \b
      oban-sqla queues show media
    """
    overview = _read(where, census)
    info = overview.find(queue)
    if info is None:
        raise unknown("queue", queue, [info.queue for info in overview.queues])
    if where["as_json"]:
        print_json(_as_dict(info, COUNTED))
        return
    counts = ", ".join(f"{info.jobs.get(state, 0)} {state}" for state in COUNTED)
    waits = "" if info.oldest is None else f"; the oldest has been due for {span(info.oldest)}"
    click.echo(f"{counts}{waits}")
    columns = ("node", "uuid", "limit", "paused", "running", "started", "last heartbeat")
    asked = "stopped" if info.asked_to_stop else "paused" if info.asked_to_pause else None
    hint = "" if asked is None else f", and it is {asked} on all nodes"
    print_table(columns, map(_row, info.members), f"no live node works this queue{hint}")
    if (usage := info.usage) is None:
        return
    click.echo(f"limits of the cluster: {usage.text}")
    if usage.limits.partition is not None:
        print_table(
            ("key", "running", "available", "rate left", "waits"),
            map(_key, usage.keys),
            "no job of a partition runs, and none is suspended",
        )


@queues.command(short_help="Pause a queue, or all.")
@_queue_or_all
@_node_option
@_where
def pause(queue: str | None, everything: bool, node: str | None, **where: Unpack[Where]) -> None:
    """Pause a queue: fetch no more of its jobs until it is resumed. Running jobs go on.

    \b
      oban-sqla queues pause media
      oban-sqla queues pause media --node worker.1
      oban-sqla queues pause --all
    """
    _switch("pause", Oban.pause_queue, Oban.pause_all_queues, queue, everything, node, **where)


@queues.command(short_help="Resume a queue, or all.")
@_queue_or_all
@_node_option
@_where
def resume(queue: str | None, everything: bool, node: str | None, **where: Unpack[Where]) -> None:
    """Resume a paused queue: fetch its jobs again.

    \b
      oban-sqla queues resume media
      oban-sqla queues resume --all
    """
    _switch("resume", Oban.resume_queue, Oban.resume_all_queues, queue, everything, node, **where)


def _switch(
    action: str,
    one: Callable[..., Awaitable[None]],
    every: Callable[..., Awaitable[list[str]]],
    queue: str | None,
    everything: bool,
    node: str | None,
    **where: Unpack[Where],
) -> None:
    """Pause or resume one queue, or all queues."""
    if (queue is None) is not everything:
        raise click.UsageError("Give the NAME of a queue, or --all, and not both.")

    async def ask(oban: Oban) -> list[str] | None:
        return await (every(oban, node=node) if queue is None else one(oban, queue, node=node))

    _ask(action, queue, node, {}, ask, **where)


@queues.command(short_help="Change the limits of a queue.")
@_queue_argument
@click.argument("limit", type=Whole(1, 10_000), required=False)
@click.option("--global-limit", metavar="N", help="Jobs at once in the whole cluster.")
@click.option("--rate-limit", metavar="N/SECONDS", help="Starts in a period, in the whole cluster.")
@click.option("--partition", metavar="BY", help="Keys that take turns; or a TOML table with their limits.")
@_node_option
@_where
def scale(
    queue: str,
    limit: int | None,
    global_limit: str | None,
    rate_limit: str | None,
    partition: str | None,
    node: str | None,
    **where: Unpack[Where],
) -> None:
    """Run at most LIMIT jobs of a queue at once on each node, or change its limits in the whole cluster.

    Running jobs go on. The word "none" lifts a limit of the cluster.

    \b
      oban-sqla queues scale media 50
      oban-sqla queues scale media --global-limit 100 --rate-limit none
      oban-sqla queues scale calls --rate-limit 100/60
      oban-sqla queues scale mails --partition args.tenant_id
      oban-sqla queues scale mails --partition '{by = "args.tenant_id", limit = 3, rate_limit = "5/1"}'
    """
    given: dict[str, Any] = {} if limit is None else {"limit": limit}
    if (limit, global_limit, rate_limit, partition) == (None,) * 4:
        raise click.UsageError("Missing LIMIT, --global-limit, --rate-limit or --partition.")
    if global_limit is not None:
        given["global_limit"] = None if global_limit == LIFTED else _number(global_limit)
    if rate_limit is not None:
        given["rate_limit"] = None if rate_limit == LIFTED else rate_limit_of(rate_limit, "--rate-limit")
    if partition is not None:
        given["partition"] = None if partition == LIFTED else _partition(partition)
    asked = {"limit": limit, "global_limit": global_limit, "rate_limit": rate_limit, "partition": partition}
    _ask("scale", queue, node, asked, lambda oban: oban.scale_queue(queue, node=node, **given), **where)


def _number(text: str) -> int:
    if (number := whole_from(text, digits=19)) is None:
        raise InvalidOption(f"--global-limit: expected a number of jobs, or none, got {text!r}")
    return number


def _partition(text: str) -> Partition:
    return partition_of(inline(text, 'by = "args.tenant_id"') if text.startswith("{") else text, "--partition")


@queues.command(short_help="Start a queue.")
@_queue_argument
@click.option(
    "--limit",
    type=Whole(1, 10_000),
    help="Jobs at once on each node. Default: its last limit, or the configured one.",
)
@_node_option
@_where
def start(queue: str, limit: int | None, node: str | None, **where: Unpack[Where]) -> None:
    """Start a queue: on nodes that are not configured with it, or again after a stop.

    \b
      oban-sqla queues start late --limit 5
    """
    _ask("start", queue, node, {"limit": limit}, lambda oban: oban.start_queue(queue, limit, node=node), **where)


@queues.command(short_help="Stop a queue.")
@_queue_argument
@_node_option
@_where
def stop(queue: str, node: str | None, **where: Unpack[Where]) -> None:
    """Stop a queue until it is started again. Its running jobs have the shutdown grace to end.

    \b
      oban-sqla queues stop late
    """
    _ask("stop", queue, node, {}, lambda oban: oban.stop_queue(queue, node=node), **where)


def _ask(
    action: str,
    queue: str | None,
    node: str | None,
    limits: Mapping[str, int | str | None],
    ask: Callable[[Oban], Awaitable[list[str] | None]],
    **where: Unpack[Where],
) -> None:
    """Ask for a change, and print which live nodes it reaches now.

    :param queue: its name; None for every queue, then `ask` returns their names.
    :param limits: the limits as they were typed; None for a limit that was not given.
    """
    typed = {name: value for name, value in limits.items() if value is not None}
    instance, beat = where["instance"], heartbeat()

    async def work(engine: AsyncEngine) -> tuple[list[str], list[str]]:
        async with engine.connect() as connection:
            roster = await connection.run_sync(read_roster, beat)
        with audited(operator(), f"queue.{action}", {"queue": queue, "node": node, **typed}):
            asked = await ask(Oban(engine, name=instance))
        members = roster.alive if action == "start" or queue is None else roster.of(queue)
        live = sorted(nodes(one for one in members if one.instance == instance and node in (None, one.node)))
        return asked or [], live

    every, live = on_database(where["url"], where["schema"], work)
    if where["as_json"]:
        asked = {"asked": action, "queue": queue, "limit": None, **typed, "node": node}
        print_json({**asked, **({"queues": every} if queue is None else {}), "live_nodes": live})
        return
    if queue is None and not every:
        click.echo(f"there is no queue to {action}: no node runs one, and none was changed at run time")
        return
    with_limits = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in typed.items())
    of = f"every queue ({listed(map(repr, every), 10)})" if queue is None else f"queue {queue!r}"
    what = f"{action} {of}{with_limits and f' with {with_limits}'}"
    target = "all nodes" if node is None else f"node {node!r}"
    reached = f"{len(live)} live node{'s' if len(live) > 1 else ''}: {', '.join(live)}"
    none = f"no live node works {'it' if queue else 'any'}, so it takes effect later"
    click.echo(f"asked: {what} on {target}; {reached if live else none}")


def _read(where: Where, count: Statement) -> Overview:
    instance, beat = where["instance"], heartbeat()

    async def work(engine: AsyncEngine) -> Overview:
        async with engine.connect() as connection:
            return await connection.run_sync(read_overview, instance, beat, count)

    return on_database(where["url"], where["schema"], work)


def _as_dict(queue: QueueOverview, states: tuple[str, ...]) -> dict[str, Any]:
    counts = {state: queue.jobs.get(state, 0) for state in states}
    return {
        "queue": queue.queue,
        **counts,
        "limit": queue.limit,
        "state": queue.state,
        "paused": queue.paused,
        "oldest_seconds": queue.oldest,
        "limits": None if queue.usage is None else queue.usage.as_dict(),
        "nodes": [_member_as_dict(member) for member in queue.members],
    }


def _member_as_dict(member: Member) -> dict[str, Any]:
    return {
        "node": member.node,
        "uuid": str(member.uuid),
        "limit": member.limit or None,
        "paused": member.paused,
        "running": len(member.running),
        "started_at": member.started_at,
        "last_beat": member.last_beat,
        "silent_seconds": member.silent,
    }


def _row(member: Member) -> tuple[object, ...]:
    paused = "yes" if member.paused else "no"
    beat = "" if member.silent is None else f"{span(member.silent)} ago"
    return (member.node, member.uuid, member.limit or None, paused, len(member.running), member.started_at, beat)


def _key(key: KeyUsage) -> tuple[object, ...]:
    return (key.text, key.running, key.waiting, key.left, span(key.wait) if key.wait else "")


def _length(seconds: float | None) -> str:
    return "" if seconds is None else span(seconds)
