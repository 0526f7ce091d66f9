"""``oban-sqla bench``: how fast a database and this machine are."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from .output import json_option, print_json, print_table
from .ranges import Whole
from .scratch import Scratch, on_scratch, scratch_option

if TYPE_CHECKING:
    from .measures import Server, Spread, Throughput

SCHEMA = "oban_bench"
CONCURRENCY = (10, 50, 100)
MOST_SINGLE = 300
"""Most jobs that are enqueued one by one."""
MOST_LATENCIES = 200
"""Most jobs whose latency is measured."""


@click.command(short_help="Measure this database and machine.")
@scratch_option
@click.option(
    "--jobs",
    type=Whole(10, 1_000_000),
    default=20_000,
    show_default=True,
    help="Jobs to enqueue in bulk, and to run.",
)
@click.option(
    "--concurrency",
    type=Whole(1, 1_000),
    multiple=True,
    metavar="N",
    help="Jobs to run at once. May be repeated. Default: 10, 50 and 100.",
)
@json_option
def bench(url: str | None, jobs: int, concurrency: tuple[int, ...], as_json: bool) -> None:
    """Measure how many jobs per second can be enqueued and run, and how soon a job starts.

    \b
      oban-sqla bench                # on a temporary PostgreSQL
      oban-sqla bench --database-url postgresql://localhost/app
      oban-sqla bench --jobs 100000 --concurrency 50 --json

    The jobs do nothing, so it measures the queue itself. They are enqueued in bulk once for each
    number to run at once, and the fastest of these counts; all else is measured once. It takes
    about half a minute, and keeps the database and one processor busy. To use your database, name
    it with --database-url (the environment and oban.toml don't count). It works in the schema
    oban_bench, which must not exist, and drops it at the end.
    """
    with _progress() as progress:
        figures = on_scratch(url, SCHEMA, lambda scratch: _measure(scratch, jobs, concurrency or CONCURRENCY, progress))
    if as_json:
        print_json(figures.as_dict())
    else:
        _print(figures)


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that was measured, and where."""

    server: Server
    client: dict[str, str]
    bulk: Throughput
    single: tuple[Throughput, Spread]
    drains: dict[int, Throughput]
    latencies: dict[str, Spread]

    def as_dict(self) -> dict[str, Any]:
        """The figures as ``json.dumps`` accepts them; times in milliseconds."""
        one_by_one, commits = self.single
        return {
            "server": asdict(self.server),
            "client": self.client,
            "enqueue": {"bulk": _as_dict(self.bulk), "single": {**_as_dict(one_by_one), **_spread(commits)}},
            "run": [{"concurrency": number, **_as_dict(drain)} for number, drain in self.drains.items()],
            "commit_to_start": {how: _spread(spread) for how, spread in self.latencies.items()},
        }


Progress = Callable[[str, float], None]
"""Called with what is being done, and the share that is done, from 0 to 1."""


async def _measure(scratch: Scratch, jobs: int, concurrency: tuple[int, ...], progress: Progress) -> Figures:
    from . import measures  # which registers workers

    def report(what: str) -> Callable[[float], None]:
        progress(what, 0.0)
        return lambda done: progress(what, done)

    server = await measures.server(scratch)
    single = await measures.single(scratch, min(jobs, MOST_SINGLE), report("enqueueing one by one"))
    bulks: list[Throughput] = []
    drains: dict[int, Throughput] = {}
    for number in concurrency:
        report(f"enqueueing {jobs:,} jobs in bulk")
        bulks.append(await measures.bulk(scratch, jobs))
        drains[number] = await measures.drain(scratch, number, jobs, report(f"running {number} at once"))
    latencies = {
        name: await measures.latency(
            scratch, runtime, min(jobs, MOST_LATENCIES), report(f"from commit to start, {title}")
        )
        for name, title, runtime in (
            ("same_process", "same process", measures.same_process),
            ("by_notification", "by notification", measures.by_notification),
        )
    }
    client = {
        "python": platform.python_version(),
        "oban_sqla": __version__,
        "driver": scratch.engine.dialect.driver,
        "loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
    }
    return Figures(server, client, max(bulks, key=lambda bulk: bulk.per_second), single, drains, latencies)


def _print(figures: Figures) -> None:
    server, client = figures.server, figures.client
    click.echo(
        f"PostgreSQL {server.version}: fsync {server.fsync}, synchronous_commit {server.synchronous_commit}, "
        f"round trip {server.round_trip_ms:.2f} ms"
    )
    click.echo(
        f"oban-sqla {client['oban_sqla']}, Python {client['python']}, {client['driver']}, event loop of "
        f"{client['loop']}, one process"
    )
    click.echo()
    one_by_one, commits = figures.single
    rows: list[tuple[object, ...]] = [
        ("enqueue in bulk", figures.bulk.jobs, round(figures.bulk.per_second), None, None),
        ("enqueue one by one, a transaction each", one_by_one.jobs, round(one_by_one.per_second), *_rounded(commits)),
    ]
    for number, drain in figures.drains.items():
        rows.append((f"run, {number} at once", drain.jobs, round(drain.per_second), None, None))
    for name, spread in figures.latencies.items():
        rows.append((f"commit to start, {name.replace('_', ' ')}", spread.values, None, *_rounded(spread)))
    print_table(("", "jobs", "jobs/s", "p50 ms", "p99 ms"), rows, "")


def _rounded(spread: Spread) -> tuple[float, float]:
    return round(spread.p50, 2), round(spread.p99, 2)


def _as_dict(throughput: Throughput) -> dict[str, float]:
    return {**asdict(throughput), "jobs_per_second": throughput.per_second}


def _spread(spread: Spread) -> dict[str, float]:
    return {"values": spread.values, "p50_ms": spread.p50, "p99_ms": spread.p99}


@contextmanager
def _progress() -> Generator[Progress, None, None]:
    """A bar on stderr, if that is a terminal and rich is installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn
        from rich.progress import Progress as Bars
    except ImportError:
        yield lambda what, done: None
        return
    console = Console(stderr=True)
    columns = "{task.description}", BarColumn()
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("starting", total=1.0)
        yield lambda what, done: bars.update(bar, description=what, completed=done)
