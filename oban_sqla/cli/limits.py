"""``oban-sqla limits``: tries out a rate limit on past jobs."""

from __future__ import annotations

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from ..insight.simulation import Simulation, Waits
from ..insight.simulation import simulate as read_simulation
from ..insight.words import span
from ..options.fields import listed_in
from ..options.limits import Partition, rate_limit_of
from .database import database_option, on_database, schema_option
from .output import json_option, print_json
from .ranges import Number


@click.group(short_help="Try out a rate limit.")
def limits() -> None:
    """Try out a rate limit before it is set.

    \b
      oban-sqla limits simulate calls --rate 100/60

    Queues are shown and changed by `oban-sqla queues`.
    """


@limits.command(short_help="How long jobs would have waited with a rate.")
@click.argument("queue")
@click.option("--rate", required=True, metavar="N/SECONDS", help="Starts that a period allows.")
@click.option("--by", multiple=True, metavar="FIELD", help="Each key has the rate: worker, args.…, meta.…")
@click.option(
    "--last",
    type=Number(1, 31 * 86_400),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How far to look back.",
)
@database_option
@schema_option
@json_option
def simulate(
    queue: str, rate: str, by: tuple[str, ...], last: float, url: str | None, schema: str | None, as_json: bool
) -> None:
    """Let the jobs of the last hour start again with a rate, and say how long they would have waited.

    \b
      oban-sqla limits simulate calls --rate 100/60
      oban-sqla limits simulate mails --rate 5/1 --by args.tenant_id
      oban-sqla limits simulate calls --rate 500/3600 --last 86400

    Each job counts once, at its last attempt, if its row is still there: see the pruning. Nothing is changed.
    """
    limit = rate_limit_of(rate, "--rate")
    fields = Partition([field for one in by for field in listed_in(one) or [one]]).fields if by else ()

    async def work(engine: AsyncEngine) -> Simulation:
        async with engine.connect() as connection:
            return await connection.run_sync(read_simulation, queue, limit, last=last, by=fields)

    found = on_database(url, schema, work)
    if as_json:
        print_json({"queue": queue, "rate": str(limit), "by": list(fields), **found.as_dict()})
        return
    if not found.jobs:
        click.echo(f"no job of queue {queue!r} has started within {span(last)}, or all of them were pruned")
        return
    cut = f", the newest {found.jobs:,} of them" if found.is_cut else ""
    each = f" of one {', '.join(fields)}" if fields else ""
    click.echo(f"jobs that started within {span(last)}: {found.jobs:,}{cut}")
    click.echo(f"most starts in {limit.seconds:g} s{each}: {found.busiest:,}")
    click.echo(f"held back by {limit}: {found.held:,}, {found.held / found.jobs:.0%}")
    click.echo(f"waited in fact: {_text(found.now)}")
    click.echo(f"would have waited for the rate: {_text(found.then)}")


def _text(waits: Waits) -> str:
    return f"median {span(waits.median)}, 95 % below {span(waits.p95)}, longest {span(waits.longest)}"
