"""``oban-sqla flows``: lists workflows, shows one as a tree, and changes a whole one."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ..control.audit import audited, operator
from ..control.flows import lacks
from ..insight.flows import Node, age, page, tree
from ..insight.words import span
from ..models import Workflow
from ..oban import Oban
from ..statements.flows import node_of, retryable_in
from .database import database_option, on_database, schema_option
from .groups import ListByDefault
from .ids import FlowId
from .jobs.signalling import payload_options, send_audited
from .output import ago, json_option, print_json, print_table
from .ranges import Whole
from .text import printable

MARKS = {
    "completed": "✓",
    "executing": "▶",
    "cancelled": "-",
    "discarded": "✗",
    "failed": "✗",
    "retryable": "!",
}
"""The mark of each state; waiting nodes have a dot."""

_COLOURS = {"completed": "green", "executing": "cyan", "discarded": "red", "failed": "red", "retryable": "yellow"}

STATES = ("executing", "completed", "failed", "cancelled")
EVERY = 1.0
"""Seconds between two looks of ``--watch``."""


@click.group(cls=ListByDefault, short_help="List, show and change workflows.")
def flows() -> None:
    """List, show and change workflows. Without a command it lists them.

    \b
      oban-sqla flows
      oban-sqla flows show 12 --watch
      oban-sqla flows retry 12 --from-node store
    """


@flows.command("list", short_help="List workflows, newest first.")
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@click.option("--limit", type=Whole(1, 1_000), default=20, show_default=True, help="The largest number to print.")
@click.option("--before", type=FlowId(), metavar="ID", help="Only workflows with a lower id, for the next page.")
@database_option
@schema_option
@json_option
def list_(
    state: str | None, limit: int, before: int | None, url: str | None, schema: str | None, as_json: bool
) -> None:
    """List workflows, newest first, with the number of their jobs per state.

    \b
      oban-sqla flows list --state failed
      oban-sqla flows list --json
    """

    async def load(engine: AsyncEngine) -> list[dict[str, Any]]:
        async with AsyncSession(engine) as session:
            return await page(session, limit, state, before)

    found = on_database(url, schema, load)
    if as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    print_table(
        ("id", "name", "state", "jobs", "took", "when"),
        (
            (
                row["id"],
                row["name"],
                row["state"],
                _counts(row["jobs"]),
                span(age(row, now)),
                ago(row["inserted_at"], now),
            )
            for row in found
        ),
        "no matching workflows" if state or before else "there are no workflows",
    )


@flows.command(short_help="Show a workflow as a tree.")
@click.argument("flow_id", metavar="ID", type=FlowId())
@click.option("--watch", is_flag=True, help="Go on until the workflow has finished; JSON is printed then.")
@database_option
@schema_option
@json_option
def show(flow_id: int, watch: bool, url: str | None, schema: str | None, as_json: bool) -> None:
    """Show the workflow ID with its jobs, and the workflows inside it.

    \b
      oban-sqla flows show 12
      oban-sqla flows show 12 --watch

    The exit code is 0, or 1 when there is no such workflow.
    """

    async def load(engine: AsyncEngine) -> Node | None:
        async with engine.connect() as connection:
            return await connection.run_sync(tree, flow_id)

    shown = ""
    while True:
        found = on_database(url, schema, load)
        if found is None:
            raise click.ClickException(f"there is no workflow {flow_id}")
        drawn = "" if as_json else "\n".join(_drawn(found))
        if drawn != shown:
            if watch and shown:
                click.clear()
            click.echo(drawn)
            shown = drawn
        if not watch or found.state != "executing":
            break
        time.sleep(EVERY)  # nothing else is to be done between two looks
    if as_json:
        print_json(found.as_dict())


@flows.command(short_help="Cancel all that has not finished.")
@click.argument("flow_id", metavar="ID", type=FlowId())
@database_option
@schema_option
def cancel(flow_id: int, url: str | None, schema: str | None) -> None:
    """Cancel all jobs of the workflow ID that have not finished, also in workflows inside it.

    \b
      oban-sqla flows cancel 12

    A running job is asked to stop. Finished jobs stay as they are.
    """
    target = {"workflow": flow_id}
    _change(url, schema, "cancel", target, lambda oban, flow: oban.cancel(flow), "cancelled, or asked to stop")


@flows.command(short_help="Run again what failed, or all from a node on.")
@click.argument("flow_id", metavar="ID", type=FlowId())
@click.option("--from-node", metavar="NAME", help="This node, and all that comes after it, completed jobs too.")
@database_option
@schema_option
def retry(flow_id: int, from_node: str | None, url: str | None, schema: str | None) -> None:
    """Run the failed jobs of the workflow ID again, and what they had cancelled.

    \b
      oban-sqla flows retry 12
      oban-sqla flows retry 12 --from-node store
    """
    target = {"workflow": flow_id, "node": from_node}
    done = "waiting for their turn"
    changed = _change(url, schema, "retry", target, lambda oban, flow: oban.retry(flow, from_node=from_node), done)
    if not changed and (ids := on_database(url, schema, lambda engine: _retryable(engine, flow_id))):
        command = " ".join(["oban-sqla jobs retry", *map(str, ids)])
        click.echo(f"to run now what waits for its next attempt: `{command}`", err=True)


@flows.command(short_help="Send a signal to a node.")
@click.argument("flow_id", metavar="ID", type=FlowId())
@click.argument("node")
@click.argument("name")
@payload_options
@database_option
@schema_option
def signal(flow_id: int, node: str, name: str, payload: Any, url: str | None, schema: str | None) -> None:
    """Send the signal NAME to the job of NODE in the workflow ID.

    \b
      oban-sqla flows signal 12 approval approved '{"by": "ann"}'

    The exit code is 1 when that job has finished, or there is none.
    """

    async def send(engine: AsyncEngine) -> str | None:
        async with AsyncSession(engine) as session:
            if await session.get(Workflow, flow_id) is None:
                return f"there is no workflow {flow_id}"
            connection = await session.connection()
            found: Any = connection.run_sync(lambda plain: node_of.execute(plain, flow=flow_id, names=[node]).all())
            ids = [int(row[1]) for row in await found]
            if not ids:
                said = await connection.run_sync(lacks, flow_id, node)
                return f"workflow {flow_id} {said}; `oban-sqla flows show {flow_id}` lists them"
        if ids[0] < 0:
            return (
                f"node {node!r} is a workflow; send it to one of its nodes: `oban-sqla flows show {-ids[0]}` lists them"
            )
        sent = await send_audited(engine, ids[0], name, payload)
        return None if sent else f"node {node!r} (job {ids[0]}) has finished; nothing was sent"

    if (refused := on_database(url, schema, send)) is not None:
        raise click.ClickException(refused)
    click.echo(f"sent {name!r} to {node!r}")


def _change(
    url: str | None,
    schema: str | None,
    verb: str,
    target: dict[str, Any],
    make: Callable[[Oban, Workflow], Awaitable[int]],
    done: str,
) -> int:
    flow_id = target["workflow"]

    async def work(engine: AsyncEngine) -> int | None:
        async with AsyncSession(engine) as session:
            flow = await session.get(Workflow, flow_id)
        with audited(operator(), f"flow.{verb}", target):
            return None if flow is None else await make(Oban(engine), flow)

    changed = on_database(url, schema, work)
    if changed is None:
        raise click.ClickException(f"there is no workflow {flow_id}")
    click.echo(f"{changed:,} {'job is' if changed == 1 else 'jobs are'} {done}")
    return changed


async def _retryable(engine: AsyncEngine, flow: int) -> list[int]:
    async with engine.connect() as connection:
        return [*await connection.scalars(retryable_in(flow).limit(10))]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))


def _drawn(root: Node) -> Iterator[str]:
    yield printable(f"workflow {root.id} {root.name!r}: ") + _state(root.state)
    yield from _below(root, "")


def _below(node: Node, indent: str) -> Iterator[str]:
    for place, inner in enumerate(node.nodes):
        is_last = place == len(node.nodes) - 1
        after = f"  after {', '.join(inner.after)}" if inner.after else ""
        error = f"  {inner.error}" if inner.error and inner.state != "completed" else ""
        mark = click.style(MARKS.get(inner.state, "·"), fg=_COLOURS.get(inner.state))
        name = printable(f"{inner.name} ({inner.kind} {inner.id}) ")
        branch = "└─" if is_last else "├─"
        yield f"{indent}{branch} {mark} {name}{_state(inner.state)}{printable(after + error)}"
        yield from _below(inner, indent + ("   " if is_last else "│  "))


def _state(state: str) -> str:
    return click.style(state, fg=_COLOURS.get(state))
