"""Prints every row with its goal: ``python -m benchmarks [--pairs 5] [--only WORD] [--json FILE]``.

Figures are medians over interleaved pairs: the yardstick, then ours, again and again. On a shared machine only the
ratios mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import children, rows, sessions
from benchmarks.setting import Setting, median, setting


@dataclass(frozen=True)
class Row:
    """A line of the table: which figure has to reach what."""

    name: str
    measure: Callable[[Setting], Awaitable[rows.Figures]]
    figure: str
    goal: float
    at_least: bool = True
    pairs: int | None = None

    def holds(self, value: float) -> bool:
        return value >= self.goal if self.at_least else value <= self.goal


def _drain(concurrency: int, prefetch: int = 0) -> Callable[[Setting], Awaitable[rows.Figures]]:
    return lambda setting: rows.drain(setting, concurrency, prefetch=prefetch)


TABLE = (
    # First, because autovacuum has nothing to do yet, whose transactions would be counted.
    Row("statements a second at rest, 20 queues", rows.at_rest, "statements", 1.5, at_least=False, pairs=1),
    Row("start: importing, beside SQLAlchemy, asyncpg and pydantic", rows.imported, "ratio", 1.6, at_least=False),
    Row("start: Oban.start(), ms", rows.started, "start", 80, at_least=False),
    Row("start: from its call to the first line of a job, ms", rows.started, "first", 60, at_least=False),
    Row("drain, concurrency 10", _drain(10), "ratio", 1.15),
    Row("drain, concurrency 50", _drain(50), "ratio", 0.95),
    Row("drain, concurrency 100", _drain(100), "ratio", 0.8),
    Row("drain, concurrency 10, prefetch 100", _drain(10, prefetch=100), "ratio", 1.5),
    Row("drain, two processes, concurrency 50", rows.drain_two, "ratio", 0.8),
    Row("drain beside 1,000,000 finished and 200,000 scheduled", rows.drain_with_history, "ratio", 0.9, pairs=3),
    Row("commits a job, concurrency 10", _drain(10), "commits_ours", 0.22, at_least=False, pairs=2),
    Row("client CPU above the loop's, µs a job, concurrency 100", _drain(100), "cpu_above", 30, at_least=False),
    Row("memory of a node after 20,000 jobs, MB", rows.memory, "resident", 60, at_least=False, pairs=1),
    Row("session.add(spec); commit: time, beside a row's", sessions.beside_a_row, "ratio", 1.0, at_least=False),
    Row("what one spec adds to such a transaction", sessions.added_to_a_transaction, "added", 0.25, at_least=False),
    Row("oban.enqueue(spec), beside one round trip", rows.insert_single, "ratio", 0.85),
    Row("enqueue of 20,000 specs, made and written", rows.insert_bulk, "ratio", 0.45),
    Row("session.add_all of 20,000 specs", rows.insert_add_all, "ratio", 0.38),
    Row('16 inserting tasks, against notify="off"', rows.insert_concurrent, "ratio", 0.9),
    Row("latency, from session.add to the first line", sessions.latency, "ratio", 1.5, at_least=False),
    Row("latency, from the commit on", rows.latency, "ratio", 1.1, at_least=False),
    Row("latency, other runtime", lambda s: rows.latency(s, other_process=True), "ratio", 1.3, at_least=False),
    Row("200 jobs of 20 ms in two children, wall clock", children.children, "ratio", 1.15, at_least=False, pairs=3),
    Row("a scheduled job starts late by, ms", rows.lateness, "median", 50, at_least=False, pairs=1),
)


async def main(pairs: int, only: str, file: Path | None) -> None:
    results: list[dict[str, object]] = []
    async with setting() as where:
        version = await where.raw.fetchval("SHOW server_version")
        fsync = await where.raw.fetchval("SHOW fsync")
        print(f"PostgreSQL {version}, fsync {fsync}, Python {platform.python_version()}, medians of {pairs} pairs\n")
        print(f"{'':54} {'yardstick':>10} {'ours':>10} {'figure':>8}   goal")
        for row in TABLE:
            if only.lower() not in row.name.lower():
                continue
            runs = [await row.measure(where) for _ in range(row.pairs or pairs)]
            figures = {name: median([run[name] for run in runs]) for name in runs[0]}
            value = figures[row.figure]
            sign, word = ("≥", "") if row.at_least else ("≤", "")
            verdict = "" if row.holds(value) else "   NOT REACHED"
            beside = [f"{figures[side]:10,.1f}" if side in figures else " " * 10 for side in ("loop", "ours")]
            print(
                f"{row.name:54} {beside[0]} {beside[1]} {value:8.2f}   {sign} {row.goal:g}{word}{verdict}", flush=True
            )
            results.append({"row": row.name, "goal": row.goal, "value": value, "figures": figures, "runs": runs})
        if file is not None:
            meta = {"at": datetime.now(UTC).isoformat(), "postgresql": version, "fsync": fsync, "pairs": pairs}
            file.write_text(json.dumps({**meta, "python": platform.python_version(), "rows": results}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="interleaved pairs a row (default 5)")
    parser.add_argument("--only", default="", help="rows whose name has this word")
    parser.add_argument("--json", type=Path, dest="file", help="write the figures there too")
    options = parser.parse_args()
    logging.getLogger("oban_sqla").setLevel(logging.ERROR)  # queues without workers, on purpose
    asyncio.run(main(options.pairs, options.only, options.file))
