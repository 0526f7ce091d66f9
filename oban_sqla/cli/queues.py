"""``oban-sqla queues``: how the queues of the cluster are, and asking for something else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, TypedDict, TypeVar

import click
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import Unpack

from ..errors import InvalidOption, nearest
from ..insight.overview import Overview, QueueNode, QueueOverview
from ..insight.overview import read as read_overview
from ..insight.roster import read as read_roster
from ..oban import Oban
from ..options.heartbeat import Heartbeat
from ..statements.census import census, census_of_all
from ..statements.statement import Statement
from .database import database_option, on_database, schema_option
from .groups import ListByDefault
from .instance import instance_option
from .output import json_option, print_json, print_table, span

F = TypeVar("F", bound=Callable[..., Any])

COUNTED = ("available", "scheduled", "retryable", "executing")
"""The states that are always counted."""
OTHERS = ("suspended", "completed", "cancelled", "discarded")
"""Those that only ``--all`` counts."""


class Where(TypedDict):
    """The options that every command here has."""

    instance: str
    url: str | None
    schema: str | None
    as_json: bool


def _where(command: F) -> F:
    return database_option(schema_option(instance_option(json_option(command))))


def _node_option(command: F) -> F:
    return click.option("--node", metavar="NAME", help="Only on this node. Default: on all nodes.")(command)


_queue_argument = click.argument("queue", metavar="NAME")


@click.group(cls=ListByDefault, short_help="See queues, and pause, scale, start or stop them.")
def queues() -> None:
    """See queues, and pause, scale, start or stop them, on all nodes or one.

    \b
    How they are; "queues list --help" explains the columns:
      oban-sqla queues
      oban-sqla queues show media
    What is asked counts at once, and lasts over restarts until the opposite:
      oban-sqla queues pause media
      oban-sqla queues resume media
      oban-sqla queues scale media 50 --node worker.1
      oban-sqla queues start late --limit 5
      oban-sqla queues stop late
    """


@queues.command("list", short_help="All queues (the default).")
@click.option(
    "--all", "everything", is_flag=True, help="Count finished and suspended jobs, too: reads the whole table."
)
@_where
def list_queues(everything: bool, **where: Unpack[Where]) -> None:
    """List all queues that have jobs or nodes, or of which something was asked.

    \b
      oban-sqla queues
      oban-sqla queues list --all --json

    \b
    limit   how many jobs run at once, on all live nodes together
    paused  whole: on all of its nodes; partly: on some of them
    oldest  for how long the oldest available job has been due
    """
    found = _read(where, census_of_all if everything else census)
    states = COUNTED + OTHERS if everything else COUNTED
    if where["as_json"]:
        print_json([_as_dict(queue, states) for queue in found.queues])
        return
    columns = ("queue", *states, "limit", "nodes", "paused", "oldest")
    rows = (
        (
            queue.queue,
            *(queue.jobs.get(state, 0) for state in states),
            queue.limit,
            len(queue.nodes),
            queue.paused,
            _length(queue.oldest),
        )
        for queue in found.queues
    )
    print_table(columns, rows, "no queue has a job or a node")


@queues.command(short_help="One queue, node by node.")
@_queue_argument
@_where
def show(queue: str, **where: Unpack[Where]) -> None:
    """Show one queue, node by node.

    \b
      oban-sqla queues show media
    """
    found = _read(where, census)
    info = found.find(queue)
    if info is None:
        names = [known.queue for known in found.queues]
        raise InvalidOption(f"unknown queue {queue!r}: {nearest(queue, names)}")
    if where["as_json"]:
        print_json(_as_dict(info, COUNTED))
        return
    counts = ", ".join(f"{info.jobs.get(state, 0)} {state}" for state in COUNTED)
    waits = "" if info.oldest is None else f"; the oldest has been due for {span(info.oldest)}"
    click.echo(f"{counts}{waits}")
    columns = ("node", "uuid", "limit", "paused", "running", "started", "last beat")
    rest = ", and it was paused on all nodes" if info.asked_to_pause else ""
    print_table(columns, map(_row, info.nodes), f"no live node works it{rest}")


@queues.command(short_help="Fetch no more of its jobs.")
@_queue_argument
@_node_option
@_where
def pause(queue: str, node: str | None, **where: Unpack[Where]) -> None:
    """Fetch no more jobs of a queue; what runs goes on. Lasts until it is resumed.

    \b
      oban-sqla queues pause media
      oban-sqla queues pause media --node worker.1
    """
    _ask("pause", queue, node, None, lambda oban: oban.pause_queue(queue, node=node), **where)


@queues.command(short_help="The end of a pause.")
@_queue_argument
@_node_option
@_where
def resume(queue: str, node: str | None, **where: Unpack[Where]) -> None:
    """Fetch the jobs of a queue again.

    \b
      oban-sqla queues resume media
    """
    _ask("resume", queue, node, None, lambda oban: oban.resume_queue(queue, node=node), **where)


@queues.command(short_help="Run more or fewer jobs at once.")
@_queue_argument
@click.argument("limit", type=click.IntRange(1, 10_000))
@_node_option
@_where
def scale(queue: str, limit: int, node: str | None, **where: Unpack[Where]) -> None:
    """Run at most LIMIT jobs of a queue at once on each node; what runs goes on.

    \b
      oban-sqla queues scale media 50
    """
    _ask("scale", queue, node, limit, lambda oban: oban.scale_queue(queue, limit, node=node), **where)


@queues.command(short_help="Work it on more nodes, or again.")
@_queue_argument
@click.option(
    "--limit", type=click.IntRange(1, 10_000), help="Jobs at once on each node. Default: as asked or configured before."
)
@_node_option
@_where
def start(queue: str, limit: int | None, node: str | None, **where: Unpack[Where]) -> None:
    """Work a queue on nodes that are not configured with it, too, or again after a stop.

    \b
      oban-sqla queues start late --limit 5
    """
    _ask("start", queue, node, limit, lambda oban: oban.start_queue(queue, limit, node=node), **where)


@queues.command(short_help="Work it no more.")
@_queue_argument
@_node_option
@_where
def stop(queue: str, node: str | None, **where: Unpack[Where]) -> None:
    """Work a queue no more; its running jobs have the nodes' grace to end. Lasts until it is started.

    \b
      oban-sqla queues stop late
    """
    _ask("stop", queue, node, None, lambda oban: oban.stop_queue(queue, node=node), **where)


def _ask(
    action: str,
    queue: str,
    node: str | None,
    limit: int | None,
    ask: Callable[[Oban], Awaitable[None]],
    **where: Unpack[Where],
) -> None:
    """Ask, and say on how many live nodes that counts now."""
    instance = where["instance"]

    async def work(engine: AsyncEngine) -> list[str]:
        async with engine.connect() as connection:
            before = await connection.run_sync(read_roster, Heartbeat())
        await ask(Oban(engine, name=instance))
        concerned = before.alive if action == "start" else before.of(queue)
        return sorted({member.node for member in concerned if member.name == instance and node in (None, member.node)})

    live = on_database(where["url"], where["schema"], work)
    if where["as_json"]:
        print_json({"asked": action, "queue": queue, "limit": limit, "node": node, "live_nodes": live})
        return
    what = f"{action} queue {queue!r}{'' if limit is None else f' with limit {limit}'}"
    whom = "all nodes" if node is None else f"node {node!r}"
    count = f"{len(live)} live node{'s' if len(live) > 1 else ''}: {', '.join(live)}"
    nobody = "no live node is concerned; it counts as soon as one is"
    click.echo(f"asked: {what} on {whom}; {count if live else nobody}")


def _read(where: Where, count: Statement) -> Overview:
    async def work(engine: AsyncEngine) -> Overview:
        async with engine.connect() as connection:
            return await connection.run_sync(read_overview, where["instance"], count)

    return on_database(where["url"], where["schema"], work)


def _as_dict(queue: QueueOverview, states: tuple[str, ...]) -> dict[str, Any]:
    counts = {state: queue.jobs.get(state, 0) for state in states}
    return {
        "queue": queue.queue,
        **counts,
        "limit": queue.limit,
        "paused": queue.paused,
        "oldest_seconds": queue.oldest,
        "nodes": [_node_as_dict(node) for node in queue.nodes],
    }


def _node_as_dict(node: QueueNode) -> dict[str, Any]:
    values = asdict(node)
    del values["queue"]
    return values | {"silent_seconds": values.pop("silent")}


def _row(node: QueueNode) -> tuple[object, ...]:
    paused = "yes" if node.paused else "no"
    beat = "" if node.silent is None else f"{span(max(node.silent, 0.0))} ago"
    return (node.node, node.uuid, node.limit, paused, node.running, node.started_at, beat)


def _length(seconds: float | None) -> str:
    return "" if seconds is None else span(max(seconds, 0.0))
